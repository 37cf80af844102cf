"""Waits before the first reading of a large index, until that reading can prove a watermark (see ``watermarks``).

If documents are written during a first reading without proof, two more lists of all ids follow. They take minutes for
millions of documents; the two refreshes that this module waits for take seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from esfeed.model.reads import StatsSnapshot
from esfeed.ports import Clock
from esfeed.trackers import watermarks
from esfeed.trackers.watermarks import ShardMark

EVERY = 0.5
"""Seconds between two readings of the counters."""

_TWO_LISTS = 40e-6
"""Seconds that two more lists of ids take per document, approximately."""

Marks = Mapping[str, ShardMark]


def looks(docs: int, refresh: float) -> int:
    """How often to read the counters of an index with ``docs`` documents that refreshes every ``refresh`` seconds.

    0 if reading the ids again costs less than the wait, as it does if no refresh is scheduled (infinite seconds).
    """
    wait = 3 * refresh + 1
    return math.ceil(wait / EVERY) if wait < docs * _TWO_LISTS else 0


def begin(
    first: StatsSnapshot,
    refresh: float,
    read: Callable[[], StatsSnapshot],
    sleep: Callable[[float], None],
    clock: Clock,
) -> tuple[StatsSnapshot, Marks]:
    """The counters at which to begin a first reading, and the watermark of each shard that it proves (-1: none).

    ``refresh``: seconds between two refreshes, or infinite if counts of refreshes prove nothing. ``read`` reads the
    counters again. It is called until the watermark of each shard has reached the checkpoint in ``first`` or the shard
    is at rest: neither an operation nor a refresh was counted for longer than a due refresh takes.
    """
    now, at = first, clock.now().timestamp()
    begun: Marks = {name: watermarks.advanced(ShardMark(), one, at) for name, one in first.shards.items()}
    rested = dict.fromkeys(first.shards, 0)
    for _ in range(looks(first.docs, refresh)):
        if all(rested[name] * EVERY > refresh or _proven(begun[name], first, name) for name in now.shards):
            break
        sleep(EVERY)
        before, now, at = now, read(), clock.now().timestamp()
        begun, rested = (
            {name: watermarks.advanced(_kept(begun, before, now, name), one, at) for name, one in now.shards.items()},
            {name: rested.get(name, 0) + 1 if _at_rest(before, now, name) else 0 for name in now.shards},
        )
    return now, begun


def _proven(mark: ShardMark, first: StatsSnapshot, name: str) -> bool:
    reading = first.shards.get(name)
    return reading is None or reading.global_checkpoint is None or mark.mark >= reading.global_checkpoint


def _kept(begun: Marks, before: StatsSnapshot, now: StatsSnapshot, name: str) -> ShardMark:
    """The watermark so far; none if another copy is the primary."""
    return ShardMark() if watermarks.restarted(before.shards.get(name), now.shards[name]) else begun[name]


def _at_rest(before: StatsSnapshot, now: StatsSnapshot, name: str) -> bool:
    earlier = before.shards.get(name)
    return earlier is not None and watermarks.view(earlier) == watermarks.view(now.shards[name])
