"""`scripts/services up kafka`: one Kafka node in KRaft mode, its jars from Maven; plain, TLS, and TLS with SASL."""

from __future__ import annotations

import os
import secrets
import shutil
import struct
import subprocess
import sys
import tempfile
from base64 import urlsafe_b64encode
from pathlib import Path

from _engines_machine import OLD_JAVA, Build, need_java
from _host import say
from _instance import Record
from _services_machine import ROOT, ServiceError, locked, need_program
from _services_server import Kind, ask, run

VERSION = "3.9.1"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>esfeed</groupId><artifactId>kafka-jars</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""
LOG_LEVELS = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


class Kafka(Kind):
    name = "kafka"
    ports = ("port", "tls_port", "sasl_port", "controller_port")

    def version(self) -> str:
        return VERSION

    def need(self) -> None:
        self._java()
        self._jars()

    def _java(self) -> Path:
        return need_java(Build(self.name, "", VERSION, OLD_JAVA, "java")) / "bin/java"

    def _jars(self) -> Path:
        """A folder with Kafka and all that it needs, which every instance shares."""
        target = ROOT / "dist" / f"kafka-{VERSION}"
        if target.is_dir():
            return target
        with locked("fetch"):
            if target.is_dir():
                return target
            mvn = need_program(self.name, "mvn", ("maven",))
            say(f"kafka: fetching {VERSION}")
            target.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                Path(scratch, "pom.xml").write_text(POM)
                options = [
                    "-q",
                    "-B",
                    "-Dstyle.color=never",
                    "-DincludeScope=runtime",
                    f"-DoutputDirectory={scratch}/jars",
                ]
                command = [str(mvn), *options, "dependency:copy-dependencies"]
                if subprocess.run(command, cwd=scratch, stdout=sys.stderr, check=False).returncode:
                    raise ServiceError("kafka: mvn could not fetch it; its own words stand above")
                shutil.move(f"{scratch}/jars", target)
        return target

    def _run(self, folder: Path, main: str, heap: str) -> list[str]:
        # Without the optimising compiler it is up sooner, at less peak throughput.
        options = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={folder}/tmp"]
        return [str(self._java()), *options, LOG_LEVELS, "-cp", f"{self._jars()}/*", main]

    def urls(self, record: Record) -> Record:
        return {
            "url": f"127.0.0.1:{record['port']}",
            "tls_url": f"127.0.0.1:{record['tls_port']}",
            "sasl_url": f"127.0.0.1:{record['sasl_port']}",
        }

    def prepare(self, folder: Path, record: Record) -> None:
        self.configure(folder, record)
        name = urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "a")
        scram = f"SCRAM-SHA-512=[name={record['username']},password={record['password']}]"
        words = ["format", "-t", name, "-c", str(folder / "config/server.properties"), "--add-scram", scram]
        run(self, [*self._run(folder, "kafka.tools.StorageTool", "128m"), *words])

    def configure(self, folder: Path, record: Record) -> None:
        certificates = folder / "certs"
        node = "".join((certificates / f"node.{ending}").read_text() for ending in ("key", "pem"))
        (folder / "config/node.pem").write_text(node)
        (folder / "config/node.pem").chmod(0o600)
        (folder / "config/server.properties").write_text(
            "".join(f"{key}={value}\n" for key, value in self._properties(folder, record).items())
        )

    def _properties(self, folder: Path, record: Record) -> dict[str, str]:
        listeners = {"PLAIN": "port", "TLS": "tls_port", "SASL": "sasl_port"}
        served = ",".join(f"{name}://127.0.0.1:{record[port]}" for name, port in listeners.items())
        user, password = record["username"], record["password"]
        jaas = "org.apache.kafka.common.security.{} required {};"
        plain = jaas.format("plain.PlainLoginModule", f'user_{user}="{password}"')
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{record['controller_port']}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{served},CONTROLLER://127.0.0.1:{record['controller_port']}",
            "advertised.listeners": served,
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,TLS:SSL,SASL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAIN",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.sasl.plain.sasl.jaas.config": plain,
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": jaas.format("scram.ScramLoginModule", ""),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "config/node.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "certs/ca.pem"),
            "ssl.client.auth": "requested",
            "log.dirs": str(folder / "data"),
            "num.partitions": "3",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "background.threads": "2",
            "log.cleaner.dedupe.buffer.size": "4194304",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            **record["settings"],
        }

    def command(self, folder: Path, record: Record) -> list[str]:
        heap = os.environ.get("ESFEED_KAFKA_HEAP", "256m")
        return [*self._run(folder, "kafka.Kafka", heap), str(folder / "config/server.properties")]

    def ready(self, record: Record) -> bool:
        # An ApiVersions request, version 0: it is answered once the broker takes requests; 0 is "no error".
        request = struct.pack(">hhih", 18, 0, 1, -1)
        told = ask(record["port"], struct.pack(">i", len(request)) + request)
        return told[4:10] == struct.pack(">ih", 1, 0)
