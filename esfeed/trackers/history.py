"""Checks whether a shard still has the history that a watermark belongs to, and names its copies in ids of events.

A shard that started again may be a copy of the past: a restored data folder, or a disk that lost acknowledged writes.
Nothing in the answers of the engine shows this, not even the id of the history, and the shard assigns the same numbers
again. But it has only the beginning of what it had. So if one document still has the number, the version and the
content that the state knows (a *witness*), everything up to its number is unchanged.
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
"""How far below the watermark to look for witnesses. All documents close to it may have changed since."""


def proven(cluster: Cluster, known: Known, of: Resolved, shard: Shard, uuid: str, mark: int, size: int) -> int:
    """The largest number, up to ``mark``, up to which a witness shows that the shard is unchanged; -1 for none.

    ``size``: how many documents one request may read.
    """
    for witnesses in _candidates(known, uuid, shard.number, mark, min(size, _WITNESSES)):
        numbers = [one.seq_no for one in witnesses.values() if one.seq_no is not None]
        held, others = [-1], [mark + 1]
        for doc in cluster.numbered(of, shard, numbers):
            was = witnesses.get(doc.key)
            (held if was and holds(doc, was) else others).append(doc.seq_no or 0)
        # A number belongs to one operation for ever. If another one has it now, nothing from that number on is proven.
        if (number := max(one for one in held if one < min(others))) >= 0:
            return number
    return -1


def _candidates(known: Known, uuid: str, shard: int, mark: int, size: int) -> Iterator[dict[Key, Revision]]:
    """The known documents with the highest numbers up to the watermark, then some older ones."""
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
    """Since when each shard may assign reported numbers again (epoch seconds; 0: never), if other indices than
    ``before`` are followed. This time is ``at`` for an index older than the last look, such as one that was closed or
    restored.
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
    """Names the copy of a shard, for the ids of the events of a poll that began ``at``.

    The name contains ``at`` if esfeed looks at this copy for the first time: such an event may be about an operation
    that only another copy had, and that operation may be done again under the same number. The same holds for a state
    that went back (``doubtful``). ``since``: when esfeed first knew that the shard assigns numbers again.
    """
    if doubtful or since == at:
        return f"{reading.identity}/{at}"
    return f"{reading.identity}/since {since}" if since else reading.identity
