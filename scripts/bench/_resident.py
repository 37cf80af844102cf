"""What memory a process takes, by kind, as Linux tells it; beside its threads, open files and the files of a state."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

_ROLLUP = re.compile(r"^(Rss|Pss|Pss_Anon|Pss_File|Pss_Shmem):\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One look. Sizes are in kilobytes; ``anonymous`` is what no file is behind: heaps, stacks, caches."""

    seconds: float
    written: int
    requests: int
    read: int
    rss: int
    pss: int
    anonymous: int
    of_files: int
    threads: int
    files: int
    state: int
    wal: int
    events: int

    @classmethod
    def heads(cls) -> list[str]:
        """The names of the columns."""
        return [each.name for each in fields(cls)]


def look(pid: int, folder: Path, seconds: float, written: int, requests: int, read: int) -> Sample:
    """A sample of that process, whose state and events are in ``folder``."""
    found = {key: int(size) for key, size in _ROLLUP.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())}
    return Sample(
        round(seconds, 1), written, requests, read,
        found["Rss"], found["Pss"], found["Pss_Anon"], found["Pss_File"] + found["Pss_Shmem"],
        len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd")),
        _kilobytes(folder / "state.db"), _kilobytes(folder / "state.db-wal"), _kilobytes(folder / "events.jsonl"),
    )  # fmt: skip


def _kilobytes(path: Path) -> int:
    return path.stat().st_size >> 10 if path.exists() else 0
