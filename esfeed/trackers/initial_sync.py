"""Before a large index is read for the first time: waits until that reading will prove a mark (see ``marks``).

Where documents are written meanwhile, a first reading that began without proof is followed by two more lists of all
ids, which take minutes among millions of documents. Two refreshes, which take seconds, spare them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from esfeed.model.reads import StatsSnapshot
from esfeed.ports import Clock
from esfeed.trackers import watermarks
from esfeed.trackers.watermarks import ShardMark

EVERY = 0.5
"""Seconds between two looks at the counters."""

_TWO_LISTS = 40e-6
"""Seconds that two more lists of ids take for each document, about."""

Marks = Mapping[str, ShardMark]


def looks(docs: int, refresh: float) -> int:
    """How often to look at the counters of so many documents, refreshed each ``refresh`` seconds.

    0 where reading the ids again costs less than the wait, as where no refresh is scheduled (infinite seconds).
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
    """The counters to begin a first reading at, and the marks that it proves: by shard, -1 where none is proven.

    ``refresh``: seconds between two refreshes, infinite where counts of them prove nothing. ``read`` reads the counters
    anew, as often as it takes for each shard's mark to be as far as ``first`` was, or for the shard to be at rest:
    neither an operation nor a refresh was counted for longer than it takes a refresh that is due to come.
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
    """The mark so far: none, where the copy is another one."""
    return ShardMark() if watermarks.restarted(before.shards.get(name), now.shards[name]) else begun[name]


def _at_rest(before: StatsSnapshot, now: StatsSnapshot, name: str) -> bool:
    earlier = before.shards.get(name)
    return earlier is not None and watermarks.view(earlier) == watermarks.view(now.shards[name])
