"""What the scripts that run servers share: the folder and record of one instance, and how a process is known again."""

from __future__ import annotations

import abc
import contextlib
import json
import random
import socket
import threading
from pathlib import Path
from typing import Any

LOG_LINES = 30

Record = dict[str, Any]
interrupted = threading.Event()  # set by Ctrl-C: what is still starting ends


class Recorded(abc.ABC):
    """What runs in a folder of its own, and is described by a record there."""

    @property
    @abc.abstractmethod
    def folder(self) -> Path:
        """Where its record, data and logs are."""

    def record(self) -> Record:
        """The record; empty if there is none."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.folder / "record.json").read_text()))
        return {}

    def write(self, record: Record) -> None:
        """Replaces the record."""
        fresh = self.folder / "record.new"
        fresh.touch(mode=0o600)  # it may hold a password
        fresh.write_text(json.dumps(record, indent=1))
        fresh.replace(self.folder / "record.json")


class Instance(Recorded):
    """One running (or ended) server."""

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.folder / "console.log"

    @abc.abstractmethod
    def alive(self) -> bool:
        """Whether the server's process lives."""

    @abc.abstractmethod
    def answers(self) -> bool:
        """Whether the server serves."""

    def state(self) -> str:
        """One word or two for people."""
        if not self.record():
            return "down"
        if not self.alive():
            return "ended"
        return "up" if self.answers() else "not answering"

    def log_tail(self) -> str:
        """The end of its log."""
        return tail(self.log)


def tail(log: Path) -> str:
    """The last lines of a log."""
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
    return "(no log)"


def birth(pid: int) -> str:
    """What tells a process from any other that has, had or will have its number; empty for none, or a dead one."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] not in "ZX":
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{boot}/{fields[19]}"
    return ""


def free_ports(count: int) -> list[int]:
    """Below the range that outgoing connections use, so that none takes the port while the server is starting."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports
