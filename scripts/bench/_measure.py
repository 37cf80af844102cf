"""What a program costs: seconds, processor time and memory, all its children among it. Linux only (``/proc``)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LOOK_EVERY = 0.05
_TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A program did not end well; the text says how, with the end of what it said."""


@dataclass(frozen=True)
class Cost:
    """Of one run: ``cpu`` is the processor time of the program and its children; ``load`` the machine's mean of
    the minute before it began.
    """

    seconds: float
    cpu: float
    peak_mb: float
    load: float
    output: str


def run(command: Sequence[str], folder: Path, limit: float, environment: Mapping[str, str] | None = None) -> Cost:
    """Runs ``command`` in ``folder`` to its end. Raises ``Failed``, also after ``limit`` seconds; nothing goes on then.

    ``output`` is what it wrote to standard output; to standard error goes a file of its own.
    """
    load = os.getloadavg()[0]
    env = {**os.environ, **(environment or {})}
    with (folder / "stdout").open("w+b") as out, (folder / "stderr").open("w+b") as said:
        began = time.monotonic()
        # A session of its own, so that all of it can be ended by one signal.
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=said, env=env, start_new_session=True)
        late = threading.Timer(limit, _end_all, [process.pid])
        late.start()
        watch = Watch(process.pid)
        watch.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            seconds = time.monotonic() - began
            late.cancel()
            watch.over.set()
            watch.join()
            _end_all(process.pid)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        output = out.read().decode(errors="replace")
        said.seek(0)
        if process.returncode:
            why = f"not done in {limit:g} s" if seconds >= limit else f"exit code {process.returncode}"
            text = said.read().decode(errors="replace").strip() or output.strip() or "it said nothing"
            raise Failed(f"{why}: {text.splitlines()[-1][-300:]}")
    # A child that nobody waited for is missing in what the kernel adds up.
    spent = max(usage.ru_utime + usage.ru_stime, sum(watch.cpu.values()))
    return Cost(seconds, spent, watch.peak_kb / 1024, load, output)


def _end_all(group: int) -> None:
    """Kills what is left of a program that was started in a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class Watch(threading.Thread):
    """Watches a process and all its children. ``peak_kb`` is the most memory at one moment, ``cpu`` what each spent."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.over = threading.Event()
        self.peak_kb = 0
        self.cpu: dict[int, float] = {}

    def run(self) -> None:
        began = time.monotonic()
        # A short run is looked at more often.
        while not self.over.wait(min(_LOOK_EVERY, 0.002 + (time.monotonic() - began) / 20)):
            now = peak = 0
            for pid in tree(self._pid):
                resident, most = _resident(pid)
                now += resident
                # What one process had at its most, between two looks, the kernel tells.
                peak = max(peak, most)
                with contextlib.suppress(OSError):
                    self.cpu[pid] = cpu(pid)
            self.peak_kb = max(self.peak_kb, now, peak)


def tree(pid: int) -> Iterator[int]:
    """A process and all its children's children."""
    yield pid
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from tree(int(child))


def _resident(pid: int) -> tuple[int, int]:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    found = {key: int(number) for key, number in re.findall(r"^(VmHWM|VmRSS):\s+(\d+)", text, re.MULTILINE)}
    return found.get("VmRSS", 0), found.get("VmHWM", 0)


def cpu(pid: int) -> float:
    """Seconds of processor time of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
