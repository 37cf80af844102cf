"""Decides up to which sequence number all operations of a shard were seen, and where two counts differ. No I/O.

A *watermark* is a number up to which the state knows every operation. The global checkpoint of a reading becomes the
new watermark after two more refreshes than the *next* reading counted. The second of them began after every operation
up to that checkpoint was done, so a search that starts now shows them all. (An answer counts refreshes before it reads
the checkpoint, and on a busy machine whole refreshes fit in between.) The new watermark is valid once such a search has
listed everything above the old one. Each look reads the numbers above the watermark again, because an operation with a
smaller number can become visible after one with a larger number. The watermark is never above a global checkpoint, so
no failover takes back an operation at or below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from esfeed.model.reads import ShardStats, Span, another

LADDER = (20, 16, 12, 8, 4, 0)
"""Widths of buckets in bits, down to a bucket for each number. The store keeps the widest ones."""

_MAX_PENDING = 12


class Pending(msgspec.Struct, frozen=True):
    """A global checkpoint that may become the watermark.

    ``at`` is when it was read (epoch seconds). ``refreshes`` is the count of the next reading for the copy that esfeed
    reads; ``None`` until then.
    """

    checkpoint: int
    at: float
    refreshes: int | None = None

    def safe(self, counted: int, now: float, slow: float | None) -> bool:
        """Whether a search that starts now, after ``counted`` refreshes, shows everything up to the checkpoint."""
        if slow is not None:
            return now - self.at >= slow
        return self.refreshes is not None and counted >= self.refreshes + 2


class ShardMark(msgspec.Struct, frozen=True):
    """What the feed has seen of a shard.

    ``looked`` is the reading before the last full look, ``looks`` how many such looks followed it, ``looked_at`` when
    the last of them ended (epoch seconds). ``history`` is the history that the watermark ``mark`` belongs to. ``since``
    is when esfeed found that the shard assigns reported numbers again (epoch seconds; 0: never).
    """

    mark: int = -1
    pending: tuple[Pending, ...] = ()
    looked: ShardStats | None = None
    looks: int = 0
    looked_at: float = 0.0
    history: str = ""
    since: float = 0.0


def advanced(mark: ShardMark, now: ShardStats, at: float, asked: float = 0.0, slow: float | None = None) -> ShardMark:
    """The watermark after a look that starts after the reading ``now`` and lists everything above the old watermark.

    ``now`` was read between ``asked`` and ``at`` (epoch seconds). ``slow``: counts of refreshes prove nothing (see
    ``ports.Cluster.searches_lag``), so wait for that many seconds instead.
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
    # The oldest becomes safe first, and the newest moves the watermark farthest; those in between can go.
    while len(waiting) > _MAX_PENDING:
        del waiting[len(waiting) // 2]
    return msgspec.structs.replace(mark, mark=highest, pending=tuple(waiting), history=now.history)


def refreshes(reading: ShardStats) -> int:
    """How often the primary, the copy that esfeed reads, was refreshed."""
    return dict(reading.refreshes).get(reading.node, 0)


def restarted(before: ShardStats | None, now: ShardStats) -> bool:
    """Whether another copy is the primary now, or this one restarted. What was above the watermark may be lost then."""
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
    """The counters that change before a search can show something else: largest sequence number, refreshes."""
    return reading.max_seq_no, refreshes(reading)


def after_a_look(mark: ShardMark, now: ShardStats, at: float) -> ShardMark:
    """The watermark after a full look that began after the reading ``now`` and ended at ``at``."""
    again = mark.looked is not None and not restarted(mark.looked, now) and view(mark.looked) == view(now)
    return msgspec.structs.replace(mark, looked=now, looks=mark.looks + 1 if again else 1, looked_at=at)


def after_a_doubt(mark: ShardMark, now: ShardStats, at: float) -> ShardMark:
    """The watermark after a look in which one copy contradicted another. It does not count; another one follows."""
    return msgspec.structs.replace(mark, looked=now, looks=0, looked_at=at)


def final(mark: ShardMark, now: ShardStats, patience: float, asked: float) -> ShardMark:
    """The watermark if the last look was final: a due refresh would have come before ``now`` was read.

    ``asked``: ``now`` was not read before this time (epoch seconds).
    """
    if not mark.looks or mark.looked is None or view(mark.looked) != view(now) or asked - mark.looked_at < patience:
        return mark
    checkpoint = now.global_checkpoint if now.global_checkpoint is not None else -1
    return msgspec.structs.replace(mark, mark=max(mark.mark, checkpoint), pending=())


def after_a_restart(mark: ShardMark, now: ShardStats, proven: int, highest: int, at: float) -> ShardMark:
    """The watermark when another copy is the primary, or the primary restarted.

    It stays as far as it is ``proven`` (see ``history``); counts of refreshes start at zero again. Under another
    history it does not stay. ``highest`` is the largest number that was counted or reported. If the shard has not
    reached it, or the watermark does not stay, the shard assigns numbers again from now (``at``) on.
    """
    other = another(mark.history, now.history)
    kept = -1 if other else min(mark.mark, proven)
    again = other or kept < mark.mark or highest > (now.max_seq_no if now.max_seq_no is not None else -1)
    return ShardMark(kept, history=now.history, since=at if again else mark.since)


def differing(known: Mapping[int, int], shown: Mapping[int, int], bits: int) -> Sequence[Span]:
    """The spans of the buckets (``_seq_no >> bits``) whose counts differ, in order."""
    buckets = sorted(number for number in known.keys() | shown.keys() if known.get(number, 0) != shown.get(number, 0))
    return [(number << bits, (number + 1) << bits) for number in buckets]
