"""A real server of one's own, from ``scripts/services``: started, killed, frozen and started again with its data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "services"


class Server:
    """One instance of a service, by the name that ``scripts/services`` knows. It is up once made."""

    def __init__(self, name: str, label: str, settings: Mapping[str, str] | None = None) -> None:
        # One a worker: whichever ends first must not end the other's.
        self._label = f"{label}-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}-{os.getpid()}"
        self._name = name
        self._settings = [f"--set={key}={value}" for key, value in (settings or {}).items()]
        self.record: dict[str, Any] = {}
        self.start()

    def __getattr__(self, key: str) -> Any:
        """What its record holds: ``port``, ``tls_port``, ``username``, ``password``, ``ca_certs``, ``pid`` and more."""
        try:
            return self.record[key]
        except KeyError:
            raise AttributeError(key) from None

    def start(self) -> None:
        """Starts it; after a kill with the data, the port and the password that it had."""
        keep = ["--keep"] * bool(self.record)
        (self.record,) = json.loads(self._call("up", "--json", *keep, *self._settings))

    def stop(self) -> None:
        """Ends it in its own way, and keeps its data."""
        self._call("down", "--keep")

    def kill(self) -> None:
        """Ends it by ``SIGKILL``, and waits until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self._call("down", "--keep")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped meanwhile (``SIGSTOP``): it takes connections, as the kernel does that, and answers nothing."""
        family = [self.pid, *_children(self.pid)]
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(family):
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """Ends it and removes its data."""
        self._call("down")

    def _call(self, verb: str, *options: str) -> str:
        command = [sys.executable, str(SCRIPT), verb, self._name, f"--instance={self._label}", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(command[1:])}\n{done.stderr.strip()}")
        return done.stdout


def _children(pid: int) -> list[int]:
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in told.split()]
