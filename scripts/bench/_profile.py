"""Where the time of a first poll goes: that of its stages, each counted while it runs, in this process."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _data import load
from _feed import app

from tests.support.clients import Raw

STAGES = (
    ("a page comes and is read", "esfeed.trackers.prefetch", "Prefetcher._next", 0),
    ("what is known of its documents", "esfeed.trackers.look", "Look.classify", 0),
    ("digests, changes and events", "esfeed.changes.watcher", "Watcher._settle", 0),
    ("commit", "esfeed.store.commits", "SqlCommits.commit", 0),
    ("compressing contents", "esfeed.store.compression", "ZstdPacker.pack_all", 1),
    ("packing events", "esfeed.store.log", "pack_reference", 1),
    ("rows of revisions, and counts", "esfeed.store.commits", "remember", 1),
    ("rows of contents", "esfeed.store.commits", "_DOCUMENTS.write", 1),
    ("rows of the log", "esfeed.store.log", "_LOG.write", 1),
    ("the end of the transaction", "sqlalchemy.engine.default", "DefaultDialect.do_commit", 1),
    ("delivery", "esfeed.delivery.dispatcher", "Dispatcher.run_once", 0),
    ("reading the log", "esfeed.store.log", "SqlLog.read", 1),
    ("writing lines", "esfeed.delivery.target", "Target.send", 1),
)
"""What each is called, where it lies, and how deep: one of depth 1 is a part of the one of depth 0 before it."""


def measure(raw: Raw, name: str, documents: int, folder: Path) -> dict[str, Any]:
    """Microseconds of each stage for a document: ``cpu`` of its thread, and ``wall``.

    Stages run one after the other, but for the next page, which comes meanwhile.
    """
    load(raw, name, documents, fingerprints=False)
    with app(folder, raw.engine.url, index=name) as feed:
        feed.hold()
        spent = [_Spent(place, attribute) for _, place, attribute, _ in STAGES]
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            # Each of its own, so that neither is counted to the other; a command does both at once.
            assert feed.dispatchers
            told = feed.runner.poll("w").events
            while not feed.runner.deliver("none").idle:
                pass
        finally:
            for stage in spent:
                stage.undo()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert told == {"read": documents}, told
    per = 1e6 / documents
    return {
        "documents": documents,
        "wall": wall * per,
        "cpu": cpu * per,
        "stages": [
            {"name": label, "depth": depth, "wall": stage.wall * per, "cpu": stage.cpu * per}
            for (label, _, _, depth), stage in zip(STAGES, spent, strict=True)
        ],
    }


class _Spent:
    """Counts the time spent in a function from now on. Each is called by one thread at a time."""

    def __init__(self, place: str, attribute: str) -> None:
        self.wall = self.cpu = 0.0
        owner: Any = importlib.import_module(place)
        *path, self._name = attribute.split(".")
        for part in path:
            owner = getattr(owner, part)
        self._owner = owner
        self._real: Callable[..., Any] = getattr(owner, self._name)
        setattr(owner, self._name, self._counted())

    def _counted(self) -> Callable[..., Any]:
        real = self._real

        def counted(*about: Any, **more: Any) -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return real(*about, **more)
            finally:
                self.cpu += time.thread_time() - cpu
                self.wall += time.perf_counter() - wall

        return counted

    def undo(self) -> None:
        """Puts the function back."""
        setattr(self._owner, self._name, self._real)
