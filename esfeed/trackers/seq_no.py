"""Follows an index by ``_seq_no``, shard by shard: exact, and cheap for an index of any size.

A poll is: one request that shows whether anything can be new; and for the shards where it can, one request for the
documents above the watermark of each shard and for its number of documents. After that, esfeed knows at least what the
shard shows. So equal counts mean equal sets. If they differ, counts by ranges of numbers lead to the few documents that
are gone. ``watermarks`` has the rules, docs/exactness.rst the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from esfeed.errors import ClusterError, Forbidden, NameGone, brief, many
from esfeed.model.event import Key
from esfeed.model.reads import Index, Resolved, Shard, ShardStats, StatsSnapshot, Tail
from esfeed.ports import COUNTERS_AGE, Batch, Checkpoint, Clock, Cluster, Known, Passed
from esfeed.text.decoders import read
from esfeed.trackers import history, initial_sync
from esfeed.trackers import watermarks as marks
from esfeed.trackers.behind import Behind
from esfeed.trackers.comparison import same
from esfeed.trackers.look import Look
from esfeed.trackers.options import TrackerOptions, patience, slowest
from esfeed.trackers.page_size import PageSizer
from esfeed.trackers.shard_look import NO_NUMBER, TAIL, ShardLook, descend, uuid_of
from esfeed.trackers.watermarks import ShardMark

NAME = "seq_no"
_AT_ONCE = 50
_KEYS = 500
_NOTHING = Batch()


class Unsuited(ClusterError):
    """These indices cannot be followed by sequence number. The message says why."""


class State(msgspec.Struct, frozen=True):
    """What a checkpoint of this tracker contains. ``marks`` holds watermarks by ``index/number``."""

    indices: tuple[Index, ...]
    pattern: bool
    marks: dict[str, ShardMark]
    lag: bool
    read_at: float
    cluster: str = ""


class SeqNoTracker:
    """See ``ports.Tracker``. If ``reconcile`` is set, the next poll reads all ids and versions in any case."""

    def __init__(
        self,
        cluster: Cluster,
        known: Known,
        options: TrackerOptions,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._cluster = cluster
        self._known = known
        self._options = options
        self._clock = clock
        self._sleep = sleep
        self._page_sizer = PageSizer(options.max_page_bytes)
        self.behind = Behind(cluster, known, options)
        self.reconcile = False

    def poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        """Also raises ``Unsuited``, before it reads anything, if sequence numbers cannot be used."""
        asked = self._now() - COUNTERS_AGE  # before the reading: the process can be suspended in between
        now = self._counters(since)
        state, unsure, at = None, False, self._now()
        if since is not None and since.tracker == NAME:
            state = read(since.data, State)
        else:
            # An unfinished reading left known documents, but nothing says of which copy.
            unsure = self._known.count() > 0
        given_again: Mapping[str, float] = {name: mark.since for name, mark in state.marks.items()} if state else {}
        if state is None or _shards_of(state) != now.shards.keys() or _moved(state, now):
            of, uuid = self._suited(since, now)
            refresh = float("inf") if self._cluster.searches_lag else slowest(of.indices)
            now, begun = initial_sync.begin(now, refresh, self._counters, self._sleep, self._clock)
            if state is None:
                given_again = dict.fromkeys(now.shards, at if unsure else 0.0)
            else:
                given_again = history.given_again(state.marks, state.indices, of, now, at)
            begun = {name: msgspec.structs.replace(mark, since=given_again[name]) for name, mark in begun.items()}
            distrust = unsure if state is None else _undone(state, now)
            batches = self._all(of, uuid, now, begun, since is None, distrust)
        elif self.reconcile or self._verification_is_due(state):
            batches = self._again(state, now, asked)
        else:
            batches = self._changed(state, now, asked)
        restarted = {
            name: state is not None and _restarted(state, name, reading) for name, reading in now.shards.items()
        }
        went_back = False
        for batch in batches:
            went_back = went_back or batch.went_back
            copies = {
                _location(name): history.copy_name(reading, given_again[name], at, restarted[name] or went_back)
                for name, reading in now.shards.items()
            }
            yield msgspec.structs.replace(batch, copies=copies)

    def _suited(self, since: Checkpoint | None, now: StatsSnapshot) -> tuple[Resolved, str]:
        """The indices behind the name, and the uuid of the cluster. Its search makes search-idle shards refresh."""
        of, uuid = self.behind.resolve(since, now)
        if of.overlap:
            raise Unsuited(f"an alias behind {brief(of.name)!r} points to several indices, so an id may appear twice")
        if why := self._cluster.without_seq_no(of):
            raise Unsuited(why)
        return of, uuid

    def _all(
        self, of: Resolved, uuid: str, now: StatsSnapshot, begun: initial_sync.Marks, first: bool, distrust: bool
    ) -> Iterator[Batch]:
        """The first reading, or the first of other indices. It reads contents, because no numbers are known yet.

        ``distrust``: see ``comparison.classify``; ignored if the contents are not to be stored.
        """
        shards = [_shard(name, reading) for name, reading in now.shards.items()]
        learn = first and self._options.learn
        distrust = distrust and not learn
        look = self._look(of, shards)
        for batch in look.everything(now, source=not learn, learn=learn, distrust=distrust):
            # Committed before the next is read: if pages get smaller, a document can come again.
            yield msgspec.structs.replace(batch, snapshot=first)
        self.reconcile = False
        at = self._now()
        # Stored as never looked at, so that the next look distrusts the numbers, too.
        fresh = (
            dict(begun)
            if look.inconclusive
            else {name: marks.after_a_look(begun[name], reading, at) for name, reading in now.shards.items()}
        )
        yield _keep(State(of.indices, of.pattern, fresh, self._cluster.searches_lag, at, uuid), now)

    def _again(self, state: State, now: StatsSnapshot, asked: float) -> Iterator[Batch]:
        """Reads every id and version, and the content of what differs, for ``verify`` and ``esfeed reconcile``."""
        of = self._of(state)
        begun = {name: self._begin(of, state.marks[name], name, reading) for name, reading in now.shards.items()}
        shards = [_shard(name, reading) for name, reading in now.shards.items()]
        distrust = _undone(state, now)
        look = self._look(of, shards)
        for batch in look.everything(now, source=distrust, distrust=distrust):
            yield msgspec.structs.replace(batch, went_back=batch.went_back or _below(batch, begun))
        self.reconcile = False
        looked = {
            name: self._looked(look, state, begun[name], name, reading, asked) for name, reading in now.shards.items()
        }
        yield _keep(msgspec.structs.replace(state, marks=looked, read_at=self._now()), now)

    def _changed(self, state: State, now: StatsSnapshot, asked: float) -> Iterator[Batch]:
        """Looks at the shards where something can be new."""
        changed = [name for name, reading in now.shards.items() if not self._idle(state, name, reading)]
        if not changed:
            yield from self._rest(state, now, asked)
            return
        of = self._of(state)
        if not state.cluster:  # written by an earlier esfeed
            state = msgspec.structs.replace(state, cluster=self._cluster.uuid())
        if self._options.refresh:
            self._cluster.refresh(of.name)
        kept = dict(state.marks)
        last = Batch()
        for start in range(0, len(changed), _AT_ONCE):
            if last.seen:
                yield last
            some = changed[start : start + _AT_ONCE]
            begun = {name: self._begin(of, state.marks[name], name, now.shards[name]) for name in some}
            size = max(1, self._page_sizer.initial(now, TAIL) // len(some))
            shards = {name: _shard(name, now.shards[name]) for name in some}
            tails = self._cluster.tails(of, {shards[name]: begun[name].mark for name in some}, size, source=True)
            undone = {name: begun[name].mark if _restarted(state, name, now.shards[name]) else None for name in some}
            looks = [self._shard_look(of, shards[name], tails[shards[name]], undone[name]) for name in some]
            last, unfinished = yield from _first_pages(looks, size)
            if unfinished:
                if last.seen:
                    yield last
                last = Batch()
                for look in unfinished:
                    yield from look.further(now, size)
                if differing := [look for look in unfinished if look.differs]:
                    yield from descend(self._cluster, self._known, self._page_sizer, differing)
            # Only now: what became visible since the last look is below the new watermark, too.
            for name, look in zip(some, looks, strict=True):
                kept[name] = self._looked(look.look, state, begun[name], name, now.shards[name], asked)
        # In one transaction with the watermark: a transaction takes as long as the rest of a poll with few changes.
        yield _keep(msgspec.structs.replace(state, marks=kept), now, last)

    def _look(self, of: Resolved, shards: Sequence[Shard]) -> Look:
        return Look(self._cluster, self._known, self._page_sizer, of, shards)

    def _shard_look(self, of: Resolved, shard: Shard, tail: Tail, undone: int | None) -> ShardLook:
        return ShardLook(self._cluster, self._known, self._page_sizer, of, shard, tail, undone)

    def _idle(self, state: State, name: str, reading: ShardStats) -> bool:
        return marks.unchanged(state.marks[name], reading, state.lag)

    def _looked(
        self, look: Look, state: State, mark: ShardMark, name: str, reading: ShardStats, asked: float
    ) -> ShardMark:
        """The watermark of a shard after a look that began with ``mark`` at ``reading`` (not read before ``asked``)."""
        before, at = state.marks[name], self._now()
        if look.inconclusive:
            # After a failover, the known operations stay in question until a look is conclusive.
            return before if marks.restarted(before.looked, reading) else marks.after_a_doubt(mark, reading, at)
        slow = patience(state.indices) if state.lag else None
        return marks.after_a_look(marks.advanced(mark, reading, at, asked, slow), reading, at)

    def _begin(self, of: Resolved, mark: ShardMark, name: str, reading: ShardStats) -> ShardMark:
        """The watermark at which a look begins."""
        if not marks.restarted(mark.looked, reading):
            return mark
        shard = _shard(name, reading)
        uuid = uuid_of(of, shard)
        size = self._page_sizer.limit(TAIL)
        proven = history.proven(self._cluster, self._known, of, shard, uuid, mark.mark, size)
        return marks.after_a_restart(mark, reading, proven, self._highest(mark, uuid, shard.number), self._now())

    def _highest(self, mark: ShardMark, uuid: str, number: int) -> int:
        """The largest number of a shard that was counted or reported, including deletes; -1 for none."""
        counted = mark.looked.max_seq_no if mark.looked is not None else None
        found = [-1, counted if counted is not None else -1]
        found += [one.seq_no or 0 for one in self._known.below(uuid, number, NO_NUMBER, 1).values()]
        for keys in self._known.tombstones(uuid, number, _KEYS):
            found += [one.seq_no or 0 for one in self._known.tombstoned(keys).values()]
        return max(found)

    def _rest(self, state: State, now: StatsSnapshot, asked: float) -> Iterator[Batch]:
        """Nothing can be new. If a due refresh would have come by now, the last look was final."""
        patient = patience(state.indices)
        settled = {name: marks.final(mark, now.shards[name], patient, asked) for name, mark in state.marks.items()}
        if settled != state.marks:
            yield _keep(msgspec.structs.replace(state, marks=settled), now)

    def check(self, since: Checkpoint | None) -> str:
        """A text: what is behind the name. Raises what a poll would raise."""
        now = self._counters(since)
        of, _ = self._suited(since, now)
        indices = many(len(of.indices), "index", "indices")
        return f"{indices} behind {of.name!r}, {many(len(now.shards), 'shard')}, about {many(now.docs, 'document')}"

    def _counters(self, since: Checkpoint | None = None) -> StatsSnapshot:
        try:
            return self._cluster.counters(self._options.index)
        except NameGone as error:
            self.behind.explain(since, error)
            raise
        except Forbidden as error:
            raise Unsuited(
                "these credentials may not read the counters (`_stats`), which show when to search; "
                "grant `monitor` on the watched indices"
            ) from error

    def _verification_is_due(self, state: State) -> bool:
        verify = self._options.verify
        return verify is not None and self._now() - state.read_at >= verify

    def _of(self, state: State) -> Resolved:
        return Resolved(self._options.index, state.pattern, state.indices)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def behind(checkpoint: Checkpoint) -> int:
    """How many operations were above the watermarks of a checkpoint of this tracker at its last look."""
    marks_by_shard = read(checkpoint.data, State).marks.values()
    looked = ((one.mark, one.looked.max_seq_no) for one in marks_by_shard if one.looked is not None)
    return sum(max(0, highest - mark) for mark, highest in looked if highest is not None)


def _location(name: str) -> tuple[str, int]:
    index, _, number = name.rpartition("/")
    return index, int(number)


def _shard(name: str, reading: ShardStats) -> Shard:
    return Shard(*_location(name), reading.node)


def _shards_of(state: State) -> Any:
    return state.marks.keys()


def _moved(state: State, now: StatsSnapshot) -> bool:
    """Whether the name leads to other indices than those that the watermarks belong to."""
    return {one.name: one.uuid for one in state.indices} != dict(now.indices)


def _restarted(state: State, name: str, reading: ShardStats) -> bool:
    """Whether a shard that was looked at before may have lost operations since."""
    return name in state.marks and marks.restarted(state.marks[name].looked, reading)


def _undone(state: State, now: StatsSnapshot) -> bool:
    """Whether any shard may have lost operations."""
    return any(_restarted(state, name, reading) for name, reading in now.shards.items())


def _below(batch: Batch, begun: Mapping[str, ShardMark]) -> bool:
    """Whether a document changed at or below the watermark, where every operation was seen: its shard went back."""
    return any(
        doc.seq_no is not None
        and doc.seq_no <= begun[f"{doc.index}/{doc.shard}"].mark
        and not (doc.key in batch.known and same(doc, batch.known[doc.key]))
        for doc in batch.seen
    )


def _first_pages(looks: Sequence[ShardLook], size: int) -> Generator[Batch, None, tuple[Batch, Sequence[ShardLook]]]:
    """What is new in the first pages of some shards, as one batch; and the shards that need more requests.

    The batch is returned, so that it can be committed together with the watermarks.
    """
    pending: list[Batch] = []
    unfinished: list[ShardLook] = []
    keys: set[Key] = set()
    for look in looks:
        if not keys.isdisjoint(doc.key for doc in look.tail.docs):  # it moved between two of these shards
            yield _merged(pending)
            pending, keys = [], set()
        found = look.first_page()
        if not look.finished(found, size):
            unfinished.append(look)
        pending.append(found)
        keys.update(doc.key for doc in found.seen)
    return _merged(pending), unfinished


def _merged(batches: Sequence[Batch]) -> Batch:
    """Batches of different documents as one."""
    return Batch(
        [doc for one in batches for doc in one.seen],
        {key: revision for one in batches for key, revision in one.known.items()},
        went_back=any(one.went_back for one in batches),
    )


def _checkpoint(state: State) -> Checkpoint:
    return Checkpoint(NAME, msgspec.json.encode(state))


def _keep(state: State, now: StatsSnapshot, last: Batch = _NOTHING) -> Batch:
    """The last batch of a poll that began at ``now``, with the checkpoint after it."""
    uuids = {one.name: one.uuid for one in state.indices}
    passed: dict[tuple[str, int], Passed] = {}
    for name, mark in state.marks.items():
        index, number = _location(name)
        counted = now.shards[name].max_seq_no
        if counted is not None:
            # At the first look at another copy, nothing that is known of the old one is forgotten.
            passed[uuids[index], number] = Passed(counted, mark.mark if mark.looked == now.shards[name] else -1)
    return msgspec.structs.replace(last, checkpoint=_checkpoint(state), passed=passed)
