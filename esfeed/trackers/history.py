"""Whether a shard still has the history that a mark is of, and under which name its operations are told.

A shard that began anew may be a copy of the past: a data folder that was put back, a disk that lost what it had
acknowledged. Nothing that the engine tells of such a shard differs, its history's name neither, and it gives the same
numbers again. But it has only the beginning of what it had. So where one document still stands at the number, the
version and the content that are known of it (a *witness*), all up to that number is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from esfeed.changes.diff import holds
from esfeed.model.event import Key, Revision
from esfeed.model.reads import Index, Resolved, Shard, ShardStats, StatsSnapshot
from esfeed.ports import Cluster, Known
from esfeed.trackers.watermarks import ShardMark, restarted

_WITNESSES = 100
_GAPS = (0, 1 << 8, 1 << 12, 1 << 16, 1 << 20)
"""How far below the mark to look for witnesses: those close to it may all have changed since."""


def proven(cluster: Cluster, known: Known, of: Resolved, shard: Shard, uuid: str, mark: int, size: int) -> int:
    """The largest number, up to ``mark``, up to which the shard is shown to have what is known of it; -1 for none.

    ``size``: how many documents to read at once, at most.
    """
    for witnesses in _candidates(known, uuid, shard.number, mark, min(size, _WITNESSES)):
        numbers = [one.seq_no for one in witnesses.values() if one.seq_no is not None]
        held, others = [-1], [mark + 1]
        for doc in cluster.numbered(of, shard, numbers):
            was = witnesses.get(doc.key)
            (held if was and holds(doc, was) else others).append(doc.seq_no or 0)
        # A number has one operation for ever, so where it now has another one, nothing from there on is as it was.
        if (number := max(one for one in held if one < min(others))) >= 0:
            return number
    return -1


def _candidates(known: Known, uuid: str, shard: int, mark: int, size: int) -> Iterator[dict[Key, Revision]]:
    """The known documents with the highest numbers up to the mark, then some of older ones."""
    last = mark + 1
    for gap in _GAPS:
        end = min(last, mark - gap + 1)
        some = known.below(uuid, shard, end, size) if end > 0 else {}
        if not some:
            return
        yield dict(some)
        last = min(one.seq_no or 0 for one in some.values())


def given_again(
    marks: Mapping[str, ShardMark], before: Sequence[Index], of: Resolved, now: StatsSnapshot, at: float
) -> Mapping[str, float]:
    """Since when each shard may give numbers again that were told (0: it never does), where other indices are followed
    than ``before``: from ``at`` on where an older index comes back, as one that was closed, or put back.
    """
    last = max((mark.looked_at for mark in marks.values()), default=0.0)
    uuids = {one.name: one.uuid for one in before}
    made = {one.name: one.created / 1000 for one in of.indices}
    found: dict[str, float] = {}
    for name, reading in now.shards.items():
        index = name.rpartition("/")[0]
        if (mark := marks.get(name)) and uuids.get(index) == now.indices.get(index):
            found[name] = at if restarted(mark.looked, reading) else mark.since
        else:
            found[name] = at if made.get(index, 0.0) < last else 0.0
    return found


def copy_name(reading: ShardStats, since: float, at: float, doubtful: bool) -> str:
    """Which copy of a shard this is, for the ids of events that a poll tells which began ``at``.

    What is told of one that is looked at for the first time may be of what only another copy had: and that may be done
    again, under the same number. So may what goes back (``doubtful``). ``since``: when that shard was first known to
    give numbers again.
    """
    if doubtful or since == at:
        return f"{reading.identity}/{at}"
    return f"{reading.identity}/since {since}" if since else reading.identity
