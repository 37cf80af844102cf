"""One server as `scripts/services` runs it: its folder and record, its start, its end. What differs is its `Kind`."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _host import as_engine_user, give_to_engine_user
from _instance import Instance, Record, birth, free_ports, interrupted
from _services_machine import ROOT, ServiceError, certificates

START_SECONDS = 120  # two cores may be starting all of them at once
STOP_SECONDS = 20
USER = "esfeed"


class Kind:
    """What a service must say of itself; one subclass a file.

    A record has ``port`` and ``tls_port`` (the same where one port does both), ``url`` and ``tls_url``, ``username``,
    ``password``, ``ca_certs``, ``client_cert``, ``client_key``, ``settings``, and what the kind adds.
    """

    name = ""
    ports: tuple[str, ...] = ("port", "tls_port")
    stop_signal = signal.SIGTERM

    def version(self) -> str:
        raise NotImplementedError

    def need(self) -> None:
        """Installs what is missing. Raises ``ServiceError`` that says how to install it by hand."""
        raise NotImplementedError

    def urls(self, record: Record) -> Record:
        """``url`` and ``tls_url``."""
        raise NotImplementedError

    def prepare(self, folder: Path, record: Record) -> None:
        """Fills an empty data folder, once; the folder is the server's user's by then."""

    def configure(self, folder: Path, record: Record) -> None:
        """Writes the server's settings, before each start."""

    def helpers(self, folder: Path, record: Record) -> list[list[str]]:
        """Processes that must run beside the server."""
        return []

    def command(self, folder: Path, record: Record) -> list[str]:
        """The server, in the foreground."""
        raise NotImplementedError

    def environment(self, folder: Path, record: Record) -> Mapping[str, str]:
        return {}

    def ready(self, record: Record) -> bool:
        """Whether the server serves. May raise ``OSError``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Server(Instance):
    """One running (or ended) server, in its folder under ROOT/run."""

    kind: Kind
    label: str

    @property
    def key(self) -> str:
        return f"{self.kind.name}-{self.label}"

    @property
    def folder(self) -> Path:
        return ROOT / "run" / self.key

    def pids(self) -> list[int]:
        """The live processes that were started for it, the server itself first; descendants are theirs to end."""
        return [pid for pid, born in self.record().get("processes", []) if birth(pid) == born]

    def alive(self) -> bool:
        """Whether the server itself lives."""
        processes = self.record().get("processes", [])
        return bool(processes) and birth(processes[0][0]) == processes[0][1]

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.kind.ready(self.record())
        return False


def ask(port: int, say: bytes, size: int = 4096) -> bytes:
    """The beginning of what a server on this machine answers to ``say``. Raises ``OSError``."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.settimeout(5)
        if say:
            connection.sendall(say)
        return connection.recv(size)


def run(kind: Kind, command: list[str], **options: Any) -> str:
    """A step of a preparation, as the server's user; its output. Raises ``ServiceError`` with its last words."""
    options = {"cwd": "/", **options, **as_engine_user()}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        raise ServiceError(f"{kind.name}: {command[0]} failed: {(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout


def prepare(instance: Server, settings: dict[str, str]) -> Record:
    """Lays an empty folder; the record says all that a later `launch` or a client needs."""
    kind, folder = instance.kind, instance.folder
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("data", "tmp", "config"):
        (folder / name).mkdir(parents=True)
    certificates(folder / "certs")
    record: Record = {
        "name": kind.name,
        "instance": instance.label,
        "version": kind.version(),
        "host": "127.0.0.1",
        **dict(zip(kind.ports, free_ports(len(kind.ports)), strict=True)),
        "username": USER,
        "password": secrets.token_hex(12),
        "ca_certs": str(folder / "certs/ca.pem"),
        "client_cert": str(folder / "certs/client.pem"),
        "client_key": str(folder / "certs/client.key"),
        "folder": str(folder),
        "log": str(instance.log),
        "settings": settings,
    }
    record |= kind.urls(record)
    give_to_engine_user(folder)
    kind.prepare(folder, record)
    return record


def launch(instance: Server, record: Record) -> Record:
    """Starts the processes and waits until the server serves; a start that fails leaves no process behind."""
    kind, folder = instance.kind, instance.folder
    kind.configure(folder, record)
    give_to_engine_user(folder)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder / "tmp"), "LC_ALL": "C.UTF-8"}
    environment |= kind.environment(folder, record)
    processes: list[tuple[int, str]] = []
    with instance.log.open("wb") as log:
        for command in (*kind.helpers(folder, record), kind.command(folder, record)):
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder / "tmp",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the caller's Ctrl-C is not the server's
                **as_engine_user(),
            )
            processes.insert(0, (process.pid, birth(process.pid)))
            instance.write(record := record | {"pid": process.pid, "processes": processes})
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is not None or not instance.answers():
        if why := start_failure(process, deadline):
            end(instance)
            raise ServiceError(f"{instance.key} {why}; {instance.log} ends:\n{instance.log_tail()}")
    return record


def start_failure(process: subprocess.Popen[bytes], deadline: float) -> str:
    """Why it is in vain to wait any longer, if so; takes a tenth of a second."""
    if interrupted.wait(0.1):
        return "was interrupted while starting"
    if time.monotonic() > deadline:
        return f"was not ready in {START_SECONDS} s"
    code = process.poll()
    return "" if code is None else f"ended while starting (code {code})"


def end(instance: Server) -> None:
    """Ends the server in its own way, then its helpers; what does not end in time is killed, with its descendants."""
    for number in (instance.kind.stop_signal, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        for pid in instance.pids():
            family = [pid, *descendants(pid)] if number == signal.SIGKILL else [pid]
            births = {each: birth(each) for each in family}
            for each in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)  # one that is stopped hears nothing
                    os.kill(each, number)
            while any(born and birth(each) == born for each, born in births.items()) and time.monotonic() < deadline:
                _reap(pid)
                time.sleep(0.05)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def descendants(pid: int) -> list[int]:
    """All living processes that descend from ``pid``."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found, queue = [], [pid]
    while queue:
        fresh = children.get(queue.pop(), [])
        found += fresh
        queue += fresh
    return found
