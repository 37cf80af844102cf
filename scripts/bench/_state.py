"""The state by itself, without an engine: bytes of a revision, and the time of counts and lookups as it grows."""

from __future__ import annotations

import random
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _data import documents

from esfeed.changes.diff import digest
from esfeed.model.event import Key, Revision
from esfeed.ports import Commit
from esfeed.store.state import SqlState

_BATCH = 20_000
_LOOKUP = 1_000
_TIMES = 9
_SHARDS = 2
_COARSE, _FINE = 16, 8
_DOCUMENTS = 100_000


def measure(most: int, folder: Path) -> dict[str, Any]:
    """Fills a state to ``most`` revisions, and looks at it at 1 %, 10 % and all of them; then one with documents."""
    store = SqlState(f"sqlite:///{folder}/state.db")
    sizes = [size for size in (most // 100, most // 10, most) if size >= _BATCH] or [most]
    steps: list[dict[str, Any]] = []
    keys: list[Key] = []
    empty, count, spent, rng = store.size_bytes(), 0, 0.0, random.Random(3)
    try:
        for goal in sizes:
            while count < goal:
                batch = _revisions(count, min(_BATCH, goal - count), rng)
                began = time.perf_counter()
                store.commits.commit("w", Commit(revisions=batch))
                spent += time.perf_counter() - began
                keys += rng.sample(list(batch), min(len(batch), max(1, _LOOKUP * _BATCH // most)))
                count += len(batch)
            steps.append(
                {"revisions": count, "bytes": (store.size_bytes() - empty) / count, "a_second": count / spent}
                | _times(store, count, keys, rng)
            )
    finally:
        store.close()
    return {"steps": steps, "with_documents": _with_documents(folder, min(most, _DOCUMENTS))}


def _revisions(start: int, count: int, rng: random.Random) -> dict[Key, Revision]:
    return {
        Key("_doc", str(uuid.UUID(int=rng.getrandbits(128), version=4))): Revision(
            "uuid-of-the-index-000", "index", 1, number // _SHARDS, rng.randbytes(16), number % _SHARDS
        )
        for number in range(start, start + count)
    }


def _times(store: SqlState, count: int, keys: Sequence[Key], rng: random.Random) -> dict[str, float]:
    """Milliseconds, medians: of what a poll asks."""
    known = store.commits.known("w")
    top = count // _SHARDS + 1
    low = rng.randrange(max(1, top - (1 << _COARSE)))
    narrow = (low >> _COARSE << _COARSE, (low >> _COARSE << _COARSE) + (1 << _COARSE))
    deep = (narrow[0], narrow[0] + (1 << 12))
    some = rng.sample(list(keys), min(_LOOKUP, len(keys)))
    return {
        "count_ms": _median(lambda: known.in_shard("uuid-of-the-index-000", 0)),
        "histogram_ms": _median(lambda: known.histogram("uuid-of-the-index-000", 0, [(0, top)], 20)),
        "descent_ms": _median(lambda: known.histogram("uuid-of-the-index-000", 0, [narrow], 12)),
        "bottom_ms": _median(lambda: known.histogram("uuid-of-the-index-000", 0, [deep], _FINE)),
        "lookup_ms": _median(lambda: known.revisions(some)) * _LOOKUP / len(some),
    }


def _median(ask: Callable[[], Any]) -> float:
    took = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def _with_documents(folder: Path, count: int) -> dict[str, float]:
    """Bytes a document, with and without what it holds, of the documents that the other benches read."""
    told: dict[str, float] = {"documents": count}
    for kept in (False, True):
        store = SqlState(f"sqlite:///{folder}/kept-{kept}.db")
        empty, octets = store.size_bytes(), 0
        try:
            batch: list[tuple[str, bytes]] = []
            for number, document in enumerate(documents(count), 1):
                batch.append(document)
                octets += len(document[1])
                if len(batch) == _BATCH or number == count:
                    revisions = {
                        Key("_doc", id): Revision("u", "i", 1, at, digest(source, kept), 0)
                        for at, (id, source) in enumerate(batch, number - len(batch))
                    }
                    bodies = {Key("_doc", id): source for id, source in batch} if kept else {}
                    store.commits.commit("w", Commit(revisions=revisions, documents=bodies))
                    batch = []
            told["with" if kept else "without"] = (store.size_bytes() - empty) / count
            told["source"] = octets / count
        finally:
            store.close()
    return told
