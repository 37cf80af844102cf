"""Real servers for the tests of sinks: shared ones, and own ones that a test may stop, kill and start again.

See scripts/services for what each server comes with: TLS, a user with a password, a folder of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

from tests.support.freezing import freeze, thaw
from tests.support.scripts import SCRIPTS, call, chosen

SCRIPT = SCRIPTS / "services"
NAMES = ("rabbitmq", "redis", "nats", "mosquitto", "postgresql", "kafka")
VARIABLE = "ESFEED_TEST_SERVICES"
_BEGUN = "begun-by-tests"


@dataclass(frozen=True)
class Service:
    """A running server. ``record`` is all that scripts/services says of it (``sasl_port``, ``database`` …)."""

    name: str
    instance: str
    version: str
    host: str
    port: int
    tls_port: int
    url: str
    tls_url: str
    username: str
    password: str
    ca_certs: str
    client_cert: str
    client_key: str
    pid: int
    folder: str
    record: Mapping[str, Any]


class OwnService:
    """A server of one test's own. Its port, data and password stay the same over ``stop``, ``kill`` and ``start``."""

    def __init__(self, name: str, settings: Mapping[str, str] | None = None, instance: str | None = None) -> None:
        self.name = name
        self._settings = dict(settings or {})
        self._instance = instance or _own_name()
        self.now = start(name, instance=self._instance, settings=self._settings)

    @property
    def port(self) -> int:
        return self.now.port

    def stop(self) -> None:
        """Ends it in good order; its data stay."""
        stop([self.name], self._instance, keep=True)

    def start(self, settings: Mapping[str, str] | None = None) -> Service:
        """Starts it again, on the same port and data; ``settings`` replaces the former ones."""
        if settings is not None:
            self._settings = dict(settings)
        self.now = start(self.name, instance=self._instance, settings=self._settings, keep=True)
        return self.now

    def restart(self, settings: Mapping[str, str] | None = None) -> Service:
        """``stop`` and ``start``."""
        self.stop()
        return self.start(settings)

    def kill(self) -> None:
        """kill -9, and of what descends from it; nothing is flushed or told to anybody."""
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it takes connections still (the kernel does), and answers nothing."""
        freeze(*self._family())

    def resume(self) -> None:
        """Undoes ``pause``."""
        thaw(*self._family())

    def discard(self) -> None:
        """Ends it and removes its data."""
        stop([self.name], self._instance)

    def _family(self) -> Sequence[int]:
        """Its process and what descends from it; none, where that pid is another one's by now."""
        return [self.now.pid, *_descendants(self.now.pid)] if _ours(self.now) else []

    def __enter__(self) -> OwnService:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


_counter = itertools.count(1)
_held: dict[str, tuple[Service, IO[bytes]]] = {}


def selected() -> tuple[str, ...]:
    """The services that ESFEED_TEST_SERVICES names; see ``scripts.chosen``."""
    return chosen(VARIABLE, "service", NAMES)


def service(name: str) -> Service:
    """The shared server of that name, started where it is not up; whoever uses it must not stop it.

    All test processes share it: each that uses it holds a lock, and the last one to let go ends it, if tests began it.
    """
    if name not in _held:
        users = _users(name)
        fcntl.flock(users, fcntl.LOCK_SH)
        _held[name] = (start(name), users)
    return _held[name][0]


def release() -> None:
    """Lets go of the shared servers; those that tests began, and that nobody else uses, are ended."""
    while _held:
        name, (held, users) = _held.popitem()
        with users:
            fcntl.flock(users, fcntl.LOCK_UN)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if Path(held.folder, _BEGUN).exists():
                stop([name])


def sweep() -> None:
    """Ends the servers that test processes left behind when they were killed."""
    for folder in (_root() / "run").glob("*-qa-*-*/"):
        name, _, instance = folder.name.partition("-")
        pid = instance.split("-")[-2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            stop([name], instance)


def start(
    name: str, *, instance: str = "main", settings: Mapping[str, str] | None = None, keep: bool = False
) -> Service:
    """Starts a server that is not up yet; ``keep`` begins with the data and port of one killed or stopped with it."""
    options = [f"--set={key}={value}" for key, value in (settings or {}).items()] + ["--keep"] * keep
    (record,) = json.loads(_call("up", name, "--json", f"--instance={instance}", *options))
    if record["started"] and instance == "main":
        Path(record["folder"], _BEGUN).touch()
    known = {field.name for field in fields(Service)} - {"record"}
    return Service(**{key: value for key, value in record.items() if key in known}, record=record)


def stop(names: Iterable[str], instance: str = "main", *, keep: bool = False) -> None:
    """Ends the servers and, unless ``keep``, removes their data."""
    wanted = list(names)
    if wanted:  # without a name the script would end all
        _call("down", *wanted, f"--instance={instance}", *["--keep"] * keep)


def _own_name() -> str:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    return f"qa-{worker}-{os.getpid()}-{next(_counter)}"


def _root() -> Path:
    return Path(os.environ.get("ESFEED_SERVICES_DIR") or f"/var/tmp/esfeed-services-{os.geteuid()}")


def _users(name: str) -> IO[bytes]:
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    return (root / f"{name}.users").open("wb")


def _ours(of: Service) -> bool:
    told = json.loads(_call("status", of.name, "--json", f"--instance={of.instance}"))
    return any(record["state"] in ("up", "not answering") and record["pid"] == of.pid for record in told)


def _descendants(pid: int) -> Iterator[int]:
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                yield child
                yield from _descendants(child)


def _call(*arguments: str) -> str:
    return call(SCRIPT, *arguments)
