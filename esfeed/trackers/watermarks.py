"""When a shard's sequence numbers are surely all seen, and where two counts of them differ. Pure.

A *mark* is a number up to which every operation is in the documents that are known. A reading of the counters makes a
new mark of its global checkpoint once two more refreshes have ended than the *next* reading counted: the second of them
began after every operation up to that checkpoint was done, so a search that starts now shows them all. (One answer
counts refreshes before it reads the checkpoint, and whole refreshes fit between the two on a busy machine.) Once such
a search has listed all above the old mark, the new one holds. Numbers above the mark are read anew each time, as an
operation with a smaller number may become visible after one with a larger number. The mark is never above a global
checkpoint, so no failover takes back what it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from esfeed.model.reads import ShardStats, Span, another

LADDER = (20, 16, 12, 8, 4, 0)
"""Widths of buckets, in bits, from the coarsest to a bucket for each number. The coarse ones are kept by the store."""

_MOST_PENDING = 12


class Pending(msgspec.Struct, frozen=True):
    """A global checkpoint that may become a mark.

    ``at`` is when it was read (epoch seconds). ``refreshes`` is what the reading after that one counted on the copy
    that is read; ``None`` until then.
    """

    checkpoint: int
    at: float
    refreshes: int | None = None

    def safe(self, counted: int, now: float, slow: float | None) -> bool:
        """Whether a search that starts now, when ``counted`` refreshes have ended, shows all up to the checkpoint."""
        if slow is not None:
            return now - self.at >= slow
        return self.refreshes is not None and counted >= self.refreshes + 2


class ShardMark(msgspec.Struct, frozen=True):
    """What is known to be known of a shard.

    ``looked`` is the reading before the last full look, ``looks`` how many such looks there were at it, ``looked_at``
    when the last of them ended (epoch seconds). ``history`` is the one that ``mark`` is a number of. ``since`` is when
    numbers that were told before were found to be given again (epoch seconds), 0 where they never were.
    """

    mark: int = -1
    pending: tuple[Pending, ...] = ()
    looked: ShardStats | None = None
    looks: int = 0
    looked_at: float = 0.0
    history: str = ""
    since: float = 0.0


def advanced(mark: ShardMark, now: ShardStats, at: float, asked: float = 0.0, slow: float | None = None) -> ShardMark:
    """The mark for after a look that starts once ``now`` was read and lists all above the mark.

    ``now`` was read between ``asked`` and ``at`` (epoch seconds). ``slow``: counts of refreshes prove nothing (see
    ``ports.Cluster.searches_lag``), so wait that many seconds instead.
    """
    counted = refreshes(now)
    pending = [
        msgspec.structs.replace(one, refreshes=counted) if one.refreshes is None else one for one in mark.pending
    ]
    highest = max([mark.mark, *(one.checkpoint for one in pending if one.safe(counted, asked, slow))])
    waiting = [one for one in pending if one.checkpoint > highest]
    checkpoint = now.global_checkpoint if now.global_checkpoint is not None else -1
    if checkpoint > max([highest, *(one.checkpoint for one in waiting)]):
        waiting.append(Pending(checkpoint, at))
    # The oldest becomes safe first and the newest brings the mark farthest; what lies between can be spared.
    while len(waiting) > _MOST_PENDING:
        del waiting[len(waiting) // 2]
    return msgspec.structs.replace(mark, mark=highest, pending=tuple(waiting), history=now.history)


def refreshes(reading: ShardStats) -> int:
    """Refreshes of the copy that is read, the primary's."""
    return dict(reading.refreshes).get(reading.node, 0)


def restarted(before: ShardStats | None, now: ShardStats) -> bool:
    """Whether another copy is the primary now, or this one began anew: what stood above the mark may be undone."""
    if before is None or now.max_seq_no is None or before.max_seq_no is None:
        return True
    return (
        now.identity != before.identity
        or another(before.history, now.history)
        or (before.term != now.term and before.term > 0)
        or now.max_seq_no < before.max_seq_no
        or refreshes(now) < refreshes(before)
    )


def unchanged(mark: ShardMark, now: ShardStats, lag: bool) -> bool:
    """Whether a look at the shard can find nothing. ``lag``: searches lag behind counts, so one look is not enough."""
    if restarted(mark.looked, now) or not mark.looks:
        return False
    if now.max_seq_no is not None and mark.mark >= now.max_seq_no:
        return True
    return mark.looks >= (2 if lag else 1) and mark.looked is not None and view(mark.looked) == view(now)


def view(reading: ShardStats) -> tuple[int | None, int]:
    """What tells whether a search may show something else by now."""
    return reading.max_seq_no, refreshes(reading)


def after_a_look(mark: ShardMark, now: ShardStats, at: float) -> ShardMark:
    """The mark after a full look that began after ``now`` was read, and ended at ``at``."""
    again = mark.looked is not None and not restarted(mark.looked, now) and view(mark.looked) == view(now)
    return msgspec.structs.replace(mark, looked=now, looks=mark.looks + 1 if again else 1, looked_at=at)


def after_a_doubt(mark: ShardMark, now: ShardStats, at: float) -> ShardMark:
    """The mark after a look in which one copy contradicted another: it counts for nothing, and there is another."""
    return msgspec.structs.replace(mark, looked=now, looks=0, looked_at=at)


def final(mark: ShardMark, now: ShardStats, patience: float, asked: float) -> ShardMark:
    """The mark where the last look turns out to have been final: a refresh that was due had come when ``now`` was read.

    ``asked``: epoch seconds before which it was not read.
    """
    if not mark.looks or mark.looked is None or view(mark.looked) != view(now) or asked - mark.looked_at < patience:
        return mark
    checkpoint = now.global_checkpoint if now.global_checkpoint is not None else -1
    return msgspec.structs.replace(mark, mark=max(mark.mark, checkpoint), pending=())


def after_a_restart(mark: ShardMark, now: ShardStats, proven: int, highest: int, at: float) -> ShardMark:
    """The mark when the primary is another one, or began anew.

    What a global checkpoint stood for stays, as far as it is ``proven`` (see ``history``); refreshes are counted from
    zero again. Under another history nothing stays. ``highest`` is the largest number that was counted or reported: if
    the shard has not come so far, or the mark does not hold, numbers are given again from now (``at``) on.
    """
    other = another(mark.history, now.history)
    kept = -1 if other else min(mark.mark, proven)
    again = other or kept < mark.mark or highest > (now.max_seq_no if now.max_seq_no is not None else -1)
    return ShardMark(kept, history=now.history, since=at if again else mark.since)


def differing(known: Mapping[int, int], shown: Mapping[int, int], bits: int) -> Sequence[Span]:
    """The spans of the buckets (``_seq_no >> bits``) whose counts differ, in order."""
    buckets = sorted(number for number in known.keys() | shown.keys() if known.get(number, 0) != shown.get(number, 0))
    return [(number << bits, (number + 1) << bits) for number in buckets]
