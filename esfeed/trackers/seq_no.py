"""Follows an index by ``_seq_no``, shard by shard: exact, and cheap whatever the index's size.

A poll is: one request that tells whether anything can be new; for the shards where it can, one request for what stands
above each shard's mark and for how many documents each has. Once the former is known, what is known of a shard is no
less than what it shows; so equal counts mean equal sets, and where they differ, counts by ranges of numbers lead to
the few documents that are gone. ``marks`` has the rules, docs/exactness.rst the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from esfeed.errors import ClusterError, Forbidden, NameGone, brief, many
from esfeed.model.event import Key
from esfeed.model.reads import Index, Resolved, Shard, ShardStats, Span, StatsSnapshot, Tail
from esfeed.ports import COUNTERS_AGE, Batch, Checkpoint, Clock, Cluster, Known, Passed
from esfeed.text.decoders import read
from esfeed.trackers import history, initial_sync
from esfeed.trackers import watermarks as marks
from esfeed.trackers.behind import Behind
from esfeed.trackers.comparison import Comparator
from esfeed.trackers.options import TrackerOptions, patience, slowest
from esfeed.trackers.watermarks import LADDER, ShardMark

NAME = "seq_no"
_TAIL = 1000
_IDS_TAIL = 5000
_AT_ONCE = 50
_KEYS = 500
_NOTHING = Batch()
_NO_NUMBER = 1 << 62
"""Above all sequence numbers, as engines and the store can be asked about it."""


class Unsuited(ClusterError):
    """These indices cannot be followed by sequence number; the message says why."""


class State(msgspec.Struct, frozen=True):
    """What a checkpoint of this tracker holds; ``marks`` by ``index/number``."""

    indices: tuple[Index, ...]
    pattern: bool
    marks: dict[str, ShardMark]
    lag: bool
    read_at: float
    cluster: str = ""


class SeqNoTracker:
    """See ``ports.Tracker``. Once ``reconcile`` is set, the next poll reads all ids and versions in any case."""

    def __init__(
        self,
        cluster: Cluster,
        known: Known,
        following: TrackerOptions,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._cluster = cluster
        self._known = known
        self._following = following
        self._clock = clock
        self._sleep = sleep
        self._reader = Comparator(cluster, known, following.max_page_bytes)
        self.behind = Behind(cluster, known, following)
        self.reconcile = False

    def poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        """Raises ``Unsuited`` besides, before anything was read, where sequence numbers do not serve."""
        asked = self._now() - COUNTERS_AGE  # not after it: a process that is frozen in between goes on much later
        now = self._counters(since)
        self._reader.doubt = self._reader.went_back = False
        state, unsure, at = None, False, self._now()
        if since is not None and since.tracker == NAME:
            state = read(since.data, State)
        else:
            # What a reading left that was not finished is known, but not of which copy.
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
        for batch in batches:
            copies = {
                _place(name): history.copy_name(
                    reading, given_again[name], at, restarted[name] or self._reader.went_back
                )
                for name, reading in now.shards.items()
            }
            yield msgspec.structs.replace(batch, copies=copies)

    def _suited(self, since: Checkpoint | None, now: StatsSnapshot) -> tuple[Resolved, str]:
        """What is behind the name, of which cluster. It searches all shards: those nobody searched refresh again."""
        of, uuid = self.behind.resolve(since, now)
        if of.overlap:
            raise Unsuited(
                f"an alias behind {brief(of.name)!r} leads to several indices at once, where an id may stand twice"
            )
        if why := self._cluster.without_seq_no(of):
            raise Unsuited(why)
        return of, uuid

    def _all(
        self, of: Resolved, uuid: str, now: StatsSnapshot, begun: initial_sync.Marks, first: bool, distrust: bool
    ) -> Iterator[Batch]:
        """The first reading, or the first behind other indices: content and all, as no number there is known yet.

        ``distrust``: see ``Comparator.classify``; not where contents are not to be known.
        """
        shards = [_shard(name, reading) for name, reading in now.shards.items()]
        learn = first and self._following.learn
        distrust = distrust and not learn
        for batch in self._reader.everything(of, now, source=not learn, learn=learn, shards=shards, distrust=distrust):
            # Kept before the next is asked for: where pages get smaller, a document may come once more.
            yield msgspec.structs.replace(batch, snapshot=first)
        self.reconcile = False
        at = self._now()
        # Never looked at, as far as anybody is to know: so the next look distrusts, too.
        fresh = (
            dict(begun)
            if self._reader.doubt
            else {name: marks.after_a_look(begun[name], reading, at) for name, reading in now.shards.items()}
        )
        yield _keep(State(of.indices, of.pattern, fresh, self._cluster.searches_lag, at, uuid), now)

    def _again(self, state: State, now: StatsSnapshot, asked: float) -> Iterator[Batch]:
        """Every id and version, and the content of what differs: the last net, and what ``esfeed reconcile`` does."""
        of = self._of(state)
        begun = {name: self._begin(of, state.marks[name], name, reading) for name, reading in now.shards.items()}
        shards = [_shard(name, reading) for name, reading in now.shards.items()]
        distrust = _undone(state, now)
        yield from self._reader.everything(of, now, source=distrust, shards=shards, distrust=distrust)
        self.reconcile = False
        looked = {name: self._looked(state, begun[name], name, reading, asked) for name, reading in now.shards.items()}
        yield _keep(msgspec.structs.replace(state, marks=looked, read_at=self._now()), now)

    def _changed(self, state: State, now: StatsSnapshot, asked: float) -> Iterator[Batch]:
        """Looks at the shards where anything can be new."""
        changed = [name for name, reading in now.shards.items() if not self._idle(state, name, reading)]
        if not changed:
            yield from self._rest(state, now, asked)
            return
        of = self._of(state)
        if not state.cluster:  # of an earlier esfeed
            state = msgspec.structs.replace(state, cluster=self._cluster.uuid())
        if self._following.refresh:
            self._cluster.refresh(of.name)
        kept = dict(state.marks)
        last = Batch()
        for start in range(0, len(changed), _AT_ONCE):
            some = changed[start : start + _AT_ONCE]
            begun = {name: self._begin(of, state.marks[name], name, now.shards[name]) for name in some}
            shards = {name: _shard(name, now.shards[name]) for name in some}
            size = max(1, self._reader.weights.page(now, _TAIL) // len(some))
            tails = self._cluster.tails(of, {shards[name]: begun[name].mark for name in some}, size, source=True)
            for name in some:
                self._reader.doubt = False
                if last.seen:
                    yield last
                undone = begun[name].mark if _restarted(state, name, now.shards[name]) else None
                last = yield from self._shard(of, shards[name], now, tails[shards[name]], size, undone)
                # Only now: what became visible since the last look stands below the new mark too.
                kept[name] = self._looked(state, begun[name], name, now.shards[name], asked)
        # With the mark, in one transaction: it takes as long as all that a poll of few changes does besides.
        yield _keep(msgspec.structs.replace(state, marks=kept), now, last)

    def _idle(self, state: State, name: str, reading: ShardStats) -> bool:
        return marks.unchanged(state.marks[name], reading, state.lag)

    def _looked(self, state: State, mark: ShardMark, name: str, reading: ShardStats, asked: float) -> ShardMark:
        """The mark of a shard after a look that began with ``mark``, at that ``reading`` (not before ``asked``)."""
        before, at = state.marks[name], self._now()
        if self._reader.doubt:
            # Where what was known may be undone, it stays in question until a look had no doubt.
            return before if marks.restarted(before.looked, reading) else marks.after_a_doubt(mark, reading, at)
        slow = patience(state.indices) if state.lag else None
        return marks.after_a_look(marks.advanced(mark, reading, at, asked, slow), reading, at)

    def _begin(self, of: Resolved, mark: ShardMark, name: str, reading: ShardStats) -> ShardMark:
        """The mark to begin a look with."""
        if not marks.restarted(mark.looked, reading):
            return mark
        shard = _shard(name, reading)
        uuid = _uuid(of, shard)
        size = self._reader.weights.fitting(_TAIL)
        proven = history.proven(self._cluster, self._known, of, shard, uuid, mark.mark, size)
        newest = self._known.below(uuid, shard.number, _NO_NUMBER, 1)
        highest = max((one.seq_no or 0 for one in newest.values()), default=-1)
        return marks.after_a_restart(mark, reading, proven, highest, self._now())

    def _rest(self, state: State, now: StatsSnapshot, asked: float) -> Iterator[Batch]:
        """Nothing can be new; at most the last look turns out to have been the final one."""
        patient = patience(state.indices)
        settled = {name: marks.final(mark, now.shards[name], patient, asked) for name, mark in state.marks.items()}
        if settled != state.marks:
            yield _keep(msgspec.structs.replace(state, marks=settled), now)

    def _shard(
        self, of: Resolved, shard: Shard, now: StatsSnapshot, tail: Tail, size: int, undone: int | None
    ) -> Generator[Batch, None, Batch]:
        """What is new in one shard. Returns the last batch instead of yielding it where nothing depends on it.

        ``undone``: the number above which a failover may have taken back what is known.
        """
        last = yield from self._tail(of, shard, now, tail, size, undone is not None)
        uuid = _uuid(of, shard)
        if undone is not None:
            if last.seen:
                yield last
            last = Batch()
            yield from self._taken_back(of, shard, uuid, undone)
        known = self._known.in_shard(uuid, shard.number) + _coming(last, uuid, shard.number)
        if known == tail.documents:
            return last
        if last.seen:
            yield last
        yield from self._descend(of, shard, uuid)
        return Batch()

    def _tail(
        self, of: Resolved, shard: Shard, now: StatsSnapshot, tail: Tail, size: int, distrust: bool
    ) -> Generator[Batch, None, Batch]:
        """What stands above the mark, page by page; the last is returned. Where most of it is known, further pages
        bring ids alone.
        """
        source, docs, last = True, tail.docs, Batch()
        while docs:
            if last.seen:
                yield last
            self._reader.weights.weigh(docs)
            what = self._reader.classify(docs, of, distrust)
            last = Batch(self._reader.met(of, what, [shard], content=source), what.known)
            if len(docs) < size:
                break
            source = distrust or 2 * len(what.news) > len(docs)
            size = self._reader.weights.page(now, _TAIL) if source else _IDS_TAIL
            highest = docs[-1].seq_no or 0
            docs = self._cluster.tails(of, {shard: highest}, size, source)[shard].docs
        return last

    def _taken_back(self, of: Resolved, shard: Shard, uuid: str, above: int) -> Iterator[Batch]:
        """What a failover took back: updates, which leave a document at an older number, and deletes.

        What it took back of creates is gone, which counts will show: from here on, what is known of the shard is no
        less than what it shows.
        """
        for known in self._known.above(uuid, shard.number, above, _KEYS):
            yield from self._shown(of, shard, [*known])
        for keys in self._known.tombstones(uuid, shard.number, _KEYS):
            yield from self._shown(of, shard, keys)

    def _shown(self, of: Resolved, shard: Shard, keys: Collection[Key]) -> Iterator[Batch]:
        what = self._reader.classify(self._cluster.shown(of, keys, False, shard), of)
        if met := self._reader.met(of, what, [shard], content=False):
            yield Batch(met, what.known)

    def _descend(self, of: Resolved, shard: Shard, uuid: str) -> Iterator[Batch]:
        """From counts of wide ranges of numbers down to the numbers that are on one side only."""
        # Whatever the shard's own largest number is: one that is known may be above it, after a failover.
        spans: Sequence[Span] = [(0, _NO_NUMBER)]
        shown: Mapping[int, int] = {}
        for bits in LADDER:
            shown = self._cluster.histogram(of, shard, spans, bits)
            spans = marks.differing(self._known.histogram(uuid, shard.number, spans, bits), shown, bits)
            if not spans:
                return
        numbers = [number for number, _ in spans]
        yield from self._unknown(of, shard, [number for number in numbers if number in shown])
        lost = self._known.at(uuid, shard.number, numbers)
        yield from self._reader.missed(of, lost, len(lost), [shard])

    def _unknown(self, of: Resolved, shard: Shard, numbers: Sequence[int]) -> Iterator[Batch]:
        """Documents that became visible between two requests, which the next look would find too; or that the searches
        of another copy than before still show.
        """
        if not numbers:
            return
        what = self._reader.classify(self._cluster.numbered(of, shard, numbers), of)
        what = what._replace(news=[], behind=what.behind + what.news)
        if met := self._reader.met(of, what, [shard]):
            yield Batch(met, what.known)

    def check(self, since: Checkpoint | None) -> str:
        """What is behind the name, in words. Raises what a poll would raise."""
        now = self._counters(since)
        of, _ = self._suited(since, now)
        indices = many(len(of.indices), "index", "indices")
        return f"{indices} behind {of.name!r}, {many(len(now.shards), 'shard')}, about {many(now.docs, 'document')}"

    def _counters(self, since: Checkpoint | None = None) -> StatsSnapshot:
        try:
            return self._cluster.counters(self._following.index)
        except NameGone as error:
            self.behind.explain(since, error)
            raise
        except Forbidden as error:
            raise Unsuited(
                "these credentials may not read the counters (`_stats`), which tell when to look; "
                "grant `monitor` on the watched indices"
            ) from error

    def _verification_is_due(self, state: State) -> bool:
        verify = self._following.verify
        return verify is not None and self._now() - state.read_at >= verify

    def _of(self, state: State) -> Resolved:
        return Resolved(self._following.index, state.pattern, state.indices)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def behind(checkpoint: Checkpoint) -> int:
    """How many operations stand above the marks of a checkpoint of this tracker, as counted at its last look."""
    marks_by_shard = read(checkpoint.data, State).marks.values()
    looked = ((one.mark, one.looked.max_seq_no) for one in marks_by_shard if one.looked is not None)
    return sum(max(0, highest - mark) for mark, highest in looked if highest is not None)


def _place(name: str) -> tuple[str, int]:
    index, _, number = name.rpartition("/")
    return index, int(number)


def _shard(name: str, reading: ShardStats) -> Shard:
    return Shard(*_place(name), reading.node)


def _shards_of(state: State) -> Any:
    return state.marks.keys()


def _moved(state: State, now: StatsSnapshot) -> bool:
    """Whether other indices are behind the name than those that the marks are of."""
    return {one.name: one.uuid for one in state.indices} != dict(now.indices)


def _restarted(state: State, name: str, reading: ShardStats) -> bool:
    """Whether a shard that was looked at before may have lost operations since."""
    return name in state.marks and marks.restarted(state.marks[name].looked, reading)


def _undone(state: State, now: StatsSnapshot) -> bool:
    """Whether any shard is such a one."""
    return any(_restarted(state, name, reading) for name, reading in now.shards.items())


def _uuid(of: Resolved, shard: Shard) -> str:
    return next(one.uuid for one in of.indices if one.name == shard.name)


def _coming(batch: Batch, uuid: str, shard: int) -> int:
    """How many documents of a shard will be known once the batch is kept, beside those that are."""
    places = [(one.uuid, one.shard) if (one := batch.known.get(doc.key)) else None for doc in batch.seen]
    return sum(place != (uuid, shard) for place in places)


def _checkpoint(state: State) -> Checkpoint:
    return Checkpoint(NAME, msgspec.json.encode(state))


def _keep(state: State, now: StatsSnapshot, last: Batch = _NOTHING) -> Batch:
    """The last batch of a poll that began at ``now``, with the checkpoint after it."""
    uuids = {one.name: one.uuid for one in state.indices}
    passed: dict[tuple[str, int], Passed] = {}
    for name, mark in state.marks.items():
        index, number = _place(name)
        counted = now.shards[name].max_seq_no
        if counted is not None:
            # Where another copy is looked at for the first time, nothing that was known of the old one is forgotten.
            passed[uuids[index], number] = Passed(counted, mark.mark if mark.looked == now.shards[name] else -1)
    return msgspec.structs.replace(last, checkpoint=_checkpoint(state), passed=passed)
