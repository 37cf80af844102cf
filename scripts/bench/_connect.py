"""The Kafka Connect source beside the feed: a standalone worker of Kafka's own, and a reader of its topic."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from _install import Missing, jars
from _machine import CACHE
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.scripts import ScriptFailure
from tests.support.services import start

VERSION = "1.5.5"
_KAFKA = "3.9.1"
_JAR = CACHE / "kafka-connect" / "connector.jar"


def prepare() -> Path:
    """The jars of a worker. Raises ``Missing``: Maven's central repository does not have the connector itself."""
    if not _JAR.exists():
        raise Missing(
            f"kafka-connect-elasticsearch-source {VERSION} is not in Maven's central repository: build it from its own "
            f"source (mvn package) and put the jar with dependencies at {_JAR}"
        )
    return jars("connect", f"org.apache.kafka:connect-runtime:{_KAFKA}", f"org.apache.kafka:connect-json:{_KAFKA}")


class Connect:
    """A worker that polls an index every ``milliseconds`` for what is beyond its cursor, the largest ``field`` so far.

    ``on_match`` is called for what comes into its topic.
    """

    def __init__(
        self, folder: Path, url: str, index: str, milliseconds: int, pattern: bytes,
        on_match: Callable[[bytes, int], None], field: str = "updated_at",
    ) -> None:  # fmt: skip
        try:
            kafka = start("kafka")
        except ScriptFailure as error:
            raise Missing(str(error)) from error
        self._broker = f"{kafka.host}:{kafka.port}"
        self._folder = folder
        self._topic = f"bench-{index}"
        self._pattern = re.compile(pattern)
        self._on_match = on_match
        self._over = threading.Event()
        at = urlsplit(url)
        worker = {
            "bootstrap.servers": self._broker,
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "offset.storage.file.filename": folder / "offsets",
            "offset.flush.interval.ms": "1000",
            "listeners": "http://127.0.0.1:0",
        }
        connector = {
            "name": "bench",
            "connector.class": "com.github.dariobalinzo.ElasticSourceConnector",
            "tasks.max": "1",
            "es.host": at.hostname,
            "es.port": at.port,
            "index.names": index,
            "topic.prefix": "bench-",
            "incrementing.field.name": field,
            "fieldname_converter": "nop",
            "poll.interval.ms": milliseconds,
        }
        for name, keys in (("worker", worker), ("connector", connector)):
            text = "".join(f"{key}={value}\n" for key, value in keys.items())
            (folder / f"{name}.properties").write_text(text)
        self._command = [
            "java", "-Xmx512m", "-cp", f"{prepare()}/*:{_JAR}", "org.apache.kafka.connect.cli.ConnectStandalone",
            str(folder / "worker.properties"), str(folder / "connector.properties"),
        ]  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Connect:
        self._admin = AdminClient({"bootstrap.servers": self._broker})
        self._admin.create_topics([NewTopic(self._topic, 1, 1)])[self._topic].result(30)
        self._log = (self._folder / "worker.log").open("wb")
        self._process = subprocess.Popen(self._command, cwd=self._folder, stdout=self._log, stderr=self._log)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._over.set()
        self._reader.join()
        self._log.close()
        with suppress(Exception):
            self._admin.delete_topics([self._topic])[self._topic].result(30)

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._process.pid

    def _read(self) -> None:
        consumer = Consumer(
            {"bootstrap.servers": self._broker, "group.id": self._topic, "auto.offset.reset": "earliest",
             "enable.auto.commit": False}
        )  # fmt: skip
        consumer.subscribe([self._topic])
        try:
            while not self._over.is_set():
                message = consumer.poll(0.2)
                now = time.monotonic_ns()
                if message is not None and message.error() is None:
                    for match in self._pattern.finditer(message.value() or b""):
                        self._on_match(match[1], now)
        finally:
            consumer.close()
