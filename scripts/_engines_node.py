"""One engine as `scripts/engines` runs it: its folder and record, its command line, its start and its end."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import re
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import _engines_security
from _engines_machine import ROOT, Build
from _host import EngineError, as_engine_user, give_to_engine_user
from _instance import Instance, Record, free_ports, interrupted

START_SECONDS = 180  # two cores may be starting eight engines at once
STOP_SECONDS = 20


@dataclass(frozen=True)
class Engine(Instance):
    """One running (or ended) engine, in its folder under ROOT/run."""

    build: Build
    label: str

    @property
    def key(self) -> str:
        return f"{self.build.name}-{self.label}"

    @property
    def folder(self) -> Path:
        return ROOT / "run" / self.key

    @property
    def tag(self) -> str:
        """On the command line of each of its processes, so that a reused pid is never taken for it."""
        return f"-Desfeed.instance={self.folder}"

    def pid(self) -> int | None:
        """The live process: the recorded one, or the one that the engine itself noted (see `launch_command`)."""
        numbers = [str(self.record().get("pid", ""))]
        with contextlib.suppress(OSError):
            numbers.append((self.folder / "logs/pid").read_text().strip())
        return next((int(number) for number in numbers if number.isdigit() and self.is_ours(int(number))), None)

    def alive(self) -> bool:
        return self.pid() is not None

    def is_ours(self, pid: int) -> bool:
        try:
            return self.tag in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return False

    def answers(self, query: str = "") -> bool:
        record = self.record()
        request = urllib.request.Request(f"{record.get('url', 'http://127.0.0.1')}/_cluster/health{query}")
        if record.get("username"):
            credentials = f"{record['username']}:{record['password']}".encode()
            request.add_header("Authorization", f"Basic {base64.b64encode(credentials).decode()}")
        try:
            authority = record.get("ca_certs")
            context = ssl.create_default_context(cafile=authority) if authority else None  # slow to make
            # An empty ProxyHandler: a proxy named in the environment has no business with loopback.
            handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
                return bool(answer.status == 200)
        except (OSError, http.client.HTTPException):
            return False


def node_settings(instance: Engine, record: Record) -> dict[str, str]:
    build, folder = instance.build, instance.folder
    transport = "transport.tcp.port" if build.name in ("es2", "es5", "es6") else "transport.port"
    settings = {
        "cluster.name": f"esfeed-{instance.key}",
        "node.name": build.name,
        "network.host": "127.0.0.1",
        "http.port": str(record["http_port"]),
        transport: str(record["transport_port"]),
        "path.data": str(folder / "data"),
        "path.logs": str(folder / "logs"),
        "path.repo": str(folder / "snapshots"),
        "cluster.routing.allocation.disk.threshold_enabled": "false",  # a nearly full disk must not fail a test
    }
    if build.name == "es2":  # knows no single-node discovery; by default it would ask the neighbouring ports
        settings["discovery.zen.ping.unicast.hosts"] = f"127.0.0.1:{record['transport_port']}"
    else:
        settings["discovery.type"] = "single-node"
    if build.securable and build.distribution == "elasticsearch":
        settings["xpack.security.enabled"] = str(record["security"]).lower()
    if record["security"]:
        settings |= _engines_security.SETTINGS[build.distribution]
    return {**settings, **record["settings"]}


def jvm_options(instance: Engine) -> list[str]:
    heap = os.environ.get("ESFEED_ENGINE_HEAP", "512m")
    # Without the optimising compiler eight engines are up in 28 s instead of 48 on two cores, at less peak throughput.
    chosen = os.environ.get("ESFEED_ENGINE_JAVA_OPTS", "-XX:TieredStopAtLevel=1").split()
    logs, temporary = instance.folder / "logs", instance.folder / "tmp"
    return [
        f"-Xms{heap}",
        f"-Xmx{heap}",
        "-XX:-AlwaysPreTouch",  # take memory only as it is used
        "-XX:-HeapDumpOnOutOfMemoryError",
        f"-XX:ErrorFile={logs}/hs_err_%p.log",
        f"-Djava.io.tmpdir={temporary}",
        *chosen,
        instance.tag,
    ]


def engine_environment(instance: Engine, java: Path) -> dict[str, str]:
    prefix = "OPENSEARCH" if instance.build.distribution == "opensearch" else "ES"
    temporary = str(instance.folder / "tmp")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": temporary,
        "LIBFFI_TMPDIR": temporary,
        f"{prefix}_TMPDIR": temporary,
        f"{prefix}_JAVA_HOME": str(java),
        f"{prefix}_PATH_CONF": str(instance.folder / "config"),
        f"{prefix}_JAVA_OPTS": " ".join(jvm_options(instance)),
        "CLI_JAVA_OPTS": instance.tag,
    }


def launch_command(instance: Engine, java: Path, settings: dict[str, str]) -> list[str]:
    build = instance.build
    if build.launch != "java":
        program = str(build.home / "bin" / build.distribution)
        # From 8 on the script is a JVM that starts the node's. With -d it leaves once the node is up; -p notes its pid.
        daemon = ["-d", "-p", str(instance.folder / "logs/pid")] if build.launch == "daemon" else []
        return [program, *daemon, *(f"-E{key}={value}" for key, value in settings.items())]
    # The start scripts of 2.x to 6.x ask for flags that Java 17 no longer knows.
    opened = ("java.lang", "java.util", "java.io", "sun.nio.ch")
    flags = "-Djava.awt.headless=true -Djna.nosys=true -Djava.security.manager=allow -Dlog4j2.disable.jmx=true"
    netty = "-Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true"
    command = [str(java / "bin/java"), *jvm_options(instance), *flags.split(), *netty.split()]
    command += [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in opened]
    command += [f"-Des.path.home={build.home}", f"-Des.path.conf={instance.folder / 'config'}"]
    command += ["-cp", f"{build.home}/lib/*", "org.elasticsearch.bootstrap.Elasticsearch"]
    if build.name == "es2":
        return [*command, "start", *(f"-Des.{key}={value}" for key, value in settings.items())]
    return [*command, *(f"-E{key}={value}" for key, value in settings.items())]


def lay_folder(instance: Engine) -> None:
    """An empty folder with the engine's own settings, less what would make its JVM write into the shared home."""
    shutil.rmtree(instance.folder, ignore_errors=True)
    for name in ("data", "logs", "snapshots", "tmp"):
        (instance.folder / name).mkdir(parents=True)
    shutil.copytree(instance.build.home / "config", instance.folder / "config", copy_function=shutil.copyfile)
    (instance.folder / "config").chmod(0o755)
    options = instance.folder / "config/jvm.options"
    if options.is_file():
        # jdk.incubator.vector only speeds up vector search, and slim Java builds lack it.
        unwanted = re.compile(r"^[^#]*(Xlog|Xloggc|PrintGC|HeapDump|ErrorFile|jdk\.incubator\.vector).*\n", re.M)
        options.write_text(unwanted.sub("", options.read_text()))


def prepare(instance: Engine, java: Path, security: bool, settings: dict[str, str]) -> Record:
    """Lays an empty folder and chooses ports; the record says all that a later `launch` or a client needs."""
    build = instance.build
    lay_folder(instance)
    http_port, transport_port = free_ports(2)
    record: Record = {
        "name": build.name,
        "instance": instance.label,
        "distribution": build.distribution,
        "version": build.version,
        "url": f"{'https' if security else 'http'}://127.0.0.1:{http_port}",
        "http_port": http_port,
        "transport_port": transport_port,
        "security": security,
        "settings": settings,
    }
    if security:
        record |= _engines_security.secure(build, instance.folder, engine_environment(instance, java))
    return record


def launch(instance: Engine, java: Path, record: Record) -> None:
    """Starts the process and waits until the cluster is healthy; a start that fails leaves no process behind."""
    give_to_engine_user(instance.folder)
    (instance.folder / "logs/pid").unlink(missing_ok=True)
    with instance.log.open("wb") as log:
        process = subprocess.Popen(
            launch_command(instance, java, node_settings(instance, record)),
            env=engine_environment(instance, java),
            cwd=instance.folder / "tmp",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the caller's Ctrl-C is not the engine's
            **as_engine_user(),
        )
    instance.write(record | {"pid": process.pid})
    deadline = time.monotonic() + START_SECONDS
    while not instance.answers("?wait_for_status=yellow&timeout=5s"):
        if why := start_failure(instance, process, deadline):
            process.terminate()
            end(instance)
            raise EngineError(f"{instance.key} {why}; {instance.log} ends:\n{instance.log_tail()}")
    if instance.build.launch == "daemon":
        process.wait()
        instance.write(record | {"pid": int((instance.folder / "logs/pid").read_text())})


def start_failure(instance: Engine, process: subprocess.Popen[bytes], deadline: float) -> str:
    """Why it is in vain to wait any longer, if so; takes half a second."""
    if interrupted.wait(0.5):
        return "was interrupted while starting"
    if time.monotonic() > deadline:
        return f"was not ready in {START_SECONDS} s"
    code = process.poll()
    left_as_it_should = code == 0 and instance.build.launch == "daemon" and instance.pid()
    return "" if code is None or left_as_it_should else f"ended while starting (code {code})"


def end(instance: Engine) -> None:
    """Ends the engine's process, the one with its tag and no other."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        while (pid := instance.pid()) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            wait_gone(instance, pid, deadline)


def wait_gone(instance: Engine, pid: int, deadline: float) -> None:
    while instance.is_ours(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
