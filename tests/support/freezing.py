"""Stops processes so that they are stopped: a signal is taken by each thread only when it gets its turn."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.support.clients import eventually


def freeze(*pids: int) -> None:
    """SIGSTOP, and returns when no thread of these processes runs any more. One that is gone is passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    eventually(lambda: all(_stopped(pid) for pid in pids), every=0.002)


def thaw(*pids: int) -> None:
    """SIGCONT."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _stopped(pid: int) -> bool:
    """Whether each thread is stopped, or is gone. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if stat.read_text().rpartition(")")[2].split()[0] not in "TZX":
                return False
    return True
