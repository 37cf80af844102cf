"""The tracker by sequence number over a model of a cluster in which anything may happen between any two requests.

Operations finish out of order, refreshes take their time, two routings of an id share one place, a replica lags and
becomes the primary, and the feed is killed between any two batches. Whatever happens: no event comes twice under one
id, no state after a later one, and at rest all is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from unittest import mock

from hypothesis import HealthCheck, event, example, given, note, settings
from hypothesis import strategies as st

from esfeed.changes.diff import digest
from esfeed.errors import ClusterError
from esfeed.model.event import Document, Key, Revision
from esfeed.model.reads import TAKEN, DocumentPage, Held, Index, Resolved, Shard, ShardStats, Span, StatsSnapshot, Tail
from esfeed.ports import Batch, Checkpoint
from esfeed.trackers.options import TrackerOptions
from esfeed.trackers.seq_no import SeqNoTracker

SHARDS = 2
PLACES = 4
UUID = "u"
OF = Resolved("i", False, (Index("i", UUID, 0, SHARDS, 1.0),))
Step = tuple[str, int]


class State(NamedTuple):
    """What a place holds: the document there, and the operation that wrote it; its content is of that and the copy."""

    doc: int
    seq_no: int
    content: bytes


Operation = tuple[int, State | None]
"""(place, what it leaves there)."""
Snapshot = Mapping[int, State]


@dataclass
class Copy:
    """One copy of a shard: the operations that it has done, and what its searches show."""

    node: str
    done: dict[int, Operation] = field(default_factory=dict)
    shown: Snapshot = field(default_factory=dict)
    refreshing: Snapshot | None = None
    refreshes: int = 0

    def realtime(self) -> Snapshot:
        """Each place's last operation decides."""
        found: dict[int, State] = {}
        for _, (place, state) in sorted(self.done.items()):
            found.pop(place, None)
            if state is not None:
                found[place] = state
        return found

    def begin(self) -> None:
        """A refresh begins, with what is done by now."""
        if self.refreshing is None:
            self.refreshing = self.realtime()

    def end(self) -> None:
        """Searches show what there was when it began."""
        if self.refreshing is not None:
            self.shown, self.refreshing = self.refreshing, None
            self.refreshes += 1

    def reached(self) -> int:
        """The number up to which all operations are done."""
        return next(number for number in range(len(self.done) + 1) if number not in self.done) - 1


class Kept(NamedTuple):
    """A shard as it was kept: a snapshot, or a copy of the data folder."""

    done: Mapping[int, Operation]
    node: str
    history: str


class ShardModel:
    """A shard with a replica. Operations take numbers, and finish in any order (those of one place in turn)."""

    def __init__(self) -> None:
        self.primary = Copy("node0")
        self.replica = Copy("node1")
        self.history = "h0"
        self.life = 0
        self.kept: Kept | None = None
        self.taken = 0
        self.running: dict[int, Operation] = {}
        self.nodes = 2

    def start(self, place: int, doc: int | None) -> None:
        if any(place == other for other, _ in self.running.values()):
            return
        content = b'{"n":"%d of %s in life %d"}' % (self.taken, self.primary.node.encode(), self.life)
        self.running[self.taken] = place, None if doc is None else State(doc, self.taken, content)
        self.taken += 1

    def finish(self, which: int) -> None:
        if self.running:
            number = sorted(self.running)[which % len(self.running)]
            self.primary.done[number] = self.running.pop(number)

    def replicate(self) -> None:
        self.replica.done = dict(self.primary.done)

    def fail_over(self) -> None:
        """What only the primary had is lost, and numbers go on from what the replica has (gaps are filled)."""
        self.primary = self.replica
        self.taken = max(self.primary.done, default=-1) + 1
        for number in range(self.taken):
            self.primary.done.setdefault(number, (-1, None))
        self.running = {}
        self.replica = Copy(f"node{self.nodes}", dict(self.primary.done))
        self.nodes += 1

    def keep(self) -> None:
        """Keeps what the primary has by now."""
        self.kept = Kept(dict(self.primary.done), self.primary.node, self.history)

    def restore(self) -> None:
        """A restore in place: what was kept, under another history, and numbers go on from there."""
        if self.kept is not None:
            self.life += 1
            self._begin_anew(self.kept.done, f"node{self.nodes}", f"h{self.life}")

    def put_back(self) -> None:
        """The data folder as it was kept: the same node and history, as if nothing had happened since."""
        if self.kept is not None:
            self.life += 1
            self._begin_anew(self.kept.done, self.kept.node, self.kept.history)

    def _begin_anew(self, done: Mapping[int, Operation], node: str, history: str) -> None:
        self.running = {}
        self.history = history
        reached = Copy(node, dict(done)).reached()
        self.primary = Copy(node, {number: one for number, one in done.items() if number <= reached})
        self.primary.shown = self.primary.realtime()
        self.taken = reached + 1
        self.replica = Copy(f"node{self.nodes + 1}", dict(self.primary.done))
        self.nodes += 2

    def rest(self) -> None:
        """All is done and shown."""
        while self.running:
            self.finish(0)
        self.replicate()
        for copy in (self.primary, self.replica):
            copy.end()
            if copy.shown != copy.realtime():
                copy.begin()
                copy.end()


class World:
    """All shards, and the steps that happen before the next requests are answered."""

    def __init__(self) -> None:
        self.shards = [ShardModel() for _ in range(SHARDS)]
        self.coming: list[list[Step]] = []
        self.now = datetime(2026, 11, 24, tzinfo=UTC)
        self.requests = 0
        self.frozen = False

    def step(self, kind: str, number: int) -> None:
        place = number % PLACES
        shard = self.shards[place % SHARDS]
        if kind in ("write", "start"):
            shard.start(place, number)
        elif kind == "delete":
            shard.start(place, None)
        elif kind == "finish":
            shard.finish(number)
        elif kind == "replicate":
            shard.replicate()
        elif kind == "freeze":
            self.frozen = True
        elif kind in ("keep", "restore", "put_back", "fail_over"):
            getattr(shard, kind)()
        else:
            for copy in (shard.primary, shard.replica):
                getattr(copy, kind)()
        if kind in ("write", "delete"):
            shard.finish(-1)

    def request(self, counted: int = 1) -> None:
        self.requests += counted
        for step in self.coming.pop(0) if self.coming else []:
            self.step(*step)

    def thaw(self) -> None:
        """The feed's process goes on; where it was frozen, refreshes that were due came meanwhile."""
        if self.frozen:
            self.frozen = False
            self.now += timedelta(seconds=100)
            for shard in self.shards:
                for step in ("end", "begin", "end"):
                    getattr(shard.primary, step)()
                    getattr(shard.replica, step)()

    def rest(self) -> None:
        """So long that whatever was due is done, and nothing else happens."""
        self.now += timedelta(seconds=100)
        for shard in self.shards:
            shard.rest()

    def truth(self) -> dict[Key, bytes]:
        return {key(s.doc): s.content for shard in self.shards for s in shard.primary.realtime().values()}


def key(doc: int) -> Key:
    return Key("_doc", str(doc % PLACES), None if doc < PLACES else "elsewhere")


def in_spans(number: int, spans: Sequence[Span]) -> bool:
    return any(low <= number < high for low, high in spans)


class ModelCluster:
    """See ``ports.Cluster``, as far as this tracker asks."""

    name = "model"
    searches_lag = False

    def __init__(self, world: World) -> None:
        self.world = world

    def counters(self, name: str) -> StatsSnapshot:
        self.world.now += timedelta(milliseconds=1)
        self.world.request()
        counted = [(shard.primary, shard.primary.refreshes) for shard in self.world.shards]
        lives = [shard.life for shard in self.world.shards]
        self.world.request(0)
        if lives != [shard.life for shard in self.world.shards]:
            raise ClusterError("a process that ends answers nothing", "ask again")
        reading = StatsSnapshot(
            {
                f"i/{number}": ShardStats(
                    shard.taken,
                    copy.node,
                    ((copy.node, refreshes),),
                    copy.node,
                    max([*copy.done, *(shard.running if copy is shard.primary else ())], default=-1),
                    min(copy.reached(), shard.replica.reached()),
                    shard.history,
                    shard.life + 1,
                )
                for number, (shard, (copy, refreshes)) in enumerate(zip(self.world.shards, counted, strict=True))
            },
            {"i": UUID},
            docs=1,
        )
        self.world.thaw()
        return reading

    def uuid(self) -> str:
        return "c"

    def resolve(self, name: str, watch: str) -> Resolved:
        self.world.request()
        return OF

    def without_seq_no(self, of: Resolved) -> str:
        self.world.request()
        return ""

    def _shown(self, shard: Shard) -> list[Document]:
        """What a search of that copy shows; an error where the node does not have the primary any more."""
        copy = self.world.shards[shard.number].primary
        if copy.node != shard.node:
            raise ClusterError("no copy there", "ask again")
        states = sorted(copy.shown.values(), key=lambda state: state.seq_no)
        return [Document(key(s.doc), "i", UUID, s.seq_no + 1, s.seq_no, s.content, shard=shard.number) for s in states]

    def tails(self, of: Resolved, after: Mapping[Shard, int], size: int, source: bool) -> Mapping[Shard, Tail]:
        self.world.request()
        found = {}
        for shard, number in after.items():
            docs = [without(doc, source) for doc in self._shown(shard) if (doc.seq_no or 0) > number]
            self.world.request(0)
            found[shard] = Tail(docs[:2], len(docs), len(self._shown(shard)))
        return found

    def histograms(
        self, of: Resolved, spans: Mapping[Shard, Sequence[Span]], bits: int, only: object = None
    ) -> Mapping[Shard, Mapping[int, int]]:
        self.world.request()
        found = {}
        for shard, some in spans.items():
            numbers = [doc.seq_no or 0 for doc in self._shown(shard)]
            self.world.request(0)
            found[shard] = Counter(number >> bits for number in numbers if in_spans(number, some))
        return found

    def numbered(self, of: Resolved, shard: Shard, numbers: Collection[int]) -> Sequence[Document]:
        self.world.request()
        return [doc for doc in self._shown(shard) if doc.seq_no in numbers]

    def shown(
        self, of: Resolved, keys: Collection[Key], source: bool, shard: Shard | None = None
    ) -> Sequence[Document]:
        self.world.request()
        assert shard is not None
        return [without(doc, source) for doc in self._shown(shard) if doc.key in keys]

    def shown_by_shard(self, of: Resolved, keys: Mapping[Shard, Collection[Key]]) -> Sequence[Document]:
        self.world.request()
        found = []
        for shard, some in keys.items():
            found += [without(doc, False) for doc in self._shown(shard) if doc.key in some]
            self.world.request(0)
        return found

    def everything(
        self, of: Resolved, source: bool, size: int, shard: Shard | None = None, field: str = ""
    ) -> Iterator[DocumentPage]:
        self.world.request()
        assert shard is not None
        docs = [without(doc, source) for doc in self._shown(shard)]
        for start in range(0, len(docs), 1):
            yield DocumentPage(docs[start : start + 1], len(docs))
            self.world.request()

    def lookup(
        self, of: Resolved, wanted: Sequence[tuple[str, Key]], copy: Shard | None = None
    ) -> Sequence[Document | None]:
        self.world.request()
        return [self._looked_up(one) for _, one in wanted]

    def _looked_up(self, one: Key) -> Document | None:
        place = int(one.id)
        state = self.world.shards[place % SHARDS].primary.realtime().get(place)
        if state is None:
            return None
        if key(state.doc) != one:
            return Document(one, "i", UUID, TAKEN)
        return Document(one, "i", UUID, state.seq_no + 1, state.seq_no)


def without(doc: Document, source: bool) -> Document:
    if source:
        return doc
    return Document(doc.key, doc.index, doc.uuid, doc.version, doc.seq_no, shard=doc.shard)


class Memory:
    """See ``ports.Known``: what the batches so far told, and under which ids."""

    def __init__(self) -> None:
        self.known: dict[Key, tuple[Revision, bytes]] = {}
        self.ids: set[tuple[Any, ...]] = set()
        self.told: dict[tuple[Key, str], int] = {}
        self.graves: dict[Key, tuple[Revision, int, int | None]] = {}
        self.polls = 0

    def take(self, batch: Batch) -> None:
        for doc in batch.seen:
            assert doc.source is not None
            was = self.known.get(doc.key)
            assert (batch.known.get(doc.key) is None) == (was is None)
            revision = Revision(doc.uuid, doc.index, doc.version, doc.seq_no, digest(doc.source, True), doc.shard)
            self.known[doc.key] = revision, doc.source
            if was is None or was[1] != doc.source:
                self._tell("created" if was is None else "updated", doc.key, revision, doc.source, batch)
        for one, revision in batch.gone:
            known, content = self.known.pop(one)
            assert known == revision
            self._tell("deleted", one, revision, content, batch)
            self.graves[one] = revision, self.polls, None
        for place, (counted, mark) in batch.passed.items():
            self._clear(place, counted, mark)
        self.polls += batch.checkpoint is not None

    def _clear(self, place: tuple[str, int], counted: int, mark: int) -> None:
        """As the store does it: numbered by a later poll than the one that left it, and gone once that is passed."""
        for one, (revision, poll, numbered) in list(self.graves.items()):
            if (revision.uuid, revision.shard) == place:
                number = counted if numbered is None and poll < self.polls else numbered
                self.graves[one] = revision, poll, number
                if number is not None and number <= mark:
                    del self.graves[one]

    def _tell(self, op: str, one: Key, revision: Revision, content: bytes, batch: Batch) -> None:
        """As ``event.event_id`` has it: an id is of the operation, its number, its content and the copy."""
        copy = batch.copies["i", revision.shard or 0]
        name = op, one, revision.seq_no, content, copy
        assert name not in self.ids
        self.ids.add(name)
        last = self.told.get((one, copy), -1)
        assert (revision.seq_no or 0) >= last if op == "deleted" else (revision.seq_no or 0) > last
        self.told[one, copy] = revision.seq_no or 0

    def contents(self) -> dict[Key, bytes]:
        return {one: content for one, (_, content) in self.known.items()}

    def revisions(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        return {one: self.known[one][0] for one in keys if one in self.known}

    def count(self) -> int:
        return len(self.known)

    def indices(self) -> Collection[Held]:
        return {Held(one.index, one.uuid, key.within) for key, (one, _) in self.known.items()}

    def _numbers(self, uuid: str, shard: int) -> list[int]:
        place = uuid, shard
        return [one.seq_no or 0 for one, _ in self.known.values() if (one.uuid, one.shard) == place]

    def in_shard(self, uuid: str, shard: int) -> int:
        return len(self._numbers(uuid, shard))

    def histogram(self, uuid: str, shard: int, spans: Sequence[Span], bits: int) -> Mapping[int, int]:
        return Counter(number >> bits for number in self._numbers(uuid, shard) if in_spans(number, spans))

    def at(self, uuid: str, shard: int, numbers: Collection[int]) -> Mapping[Key, Revision]:
        return {
            one: revision
            for one, (revision, _) in self.known.items()
            if (revision.uuid, revision.shard) == (uuid, shard) and revision.seq_no in numbers
        }

    def above(self, uuid: str, shard: int, number: int, size: int) -> Iterator[Mapping[Key, Revision]]:
        for one, (revision, _) in list(self.known.items()):
            if (revision.uuid, revision.shard) == (uuid, shard) and (revision.seq_no or 0) > number:
                yield {one: revision}

    def below(self, uuid: str, shard: int, number: int, size: int) -> Mapping[Key, Revision]:
        found = [
            (one, revision)
            for one, (revision, _) in self.known.items()
            if (revision.uuid, revision.shard) == (uuid, shard) and (revision.seq_no or 0) < number
        ]
        return dict(sorted(found, key=lambda item: -(item[1].seq_no or 0))[:size])

    def tombstones(self, uuid: str, shard: int, size: int) -> Iterator[Collection[Key]]:
        for one, (revision, _, _) in list(self.graves.items()):
            if (revision.uuid, revision.shard) == (uuid, shard):
                yield [one]

    def tombstoned(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        return {one: self.graves[one][0] for one in keys if one in self.graves}

    @contextmanager
    def sweep(self, uuids: Collection[str] = ()) -> Iterator[Any]:
        met: set[Key] = set()
        sweep = mock.Mock()
        sweep.see = met.update
        sweep.missing = lambda: len(self.known.keys() - met)
        sweep.unseen = lambda size: iter([self.revisions(lost)] if (lost := self.known.keys() - met) else [])
        yield sweep


class Feed:
    """The tracker over the model, and what came of its polls."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.memory = Memory()
        self.checkpoint: Checkpoint | None = None
        self.clock: Any = mock.Mock(now=lambda: world.now, monotonic=lambda: 0.0)
        self.start()

    def start(self) -> None:
        options = TrackerOptions("w", "i", max_page_bytes=2)
        sleep: Callable[[float], None] = mock.Mock()
        model: Any = ModelCluster(self.world)
        memory: Any = self.memory
        self.tracker = SeqNoTracker(model, memory, options, self.clock, sleep)

    def poll(self, batches: int | None = None, reconcile: bool = False) -> int:
        """How many requests it took. Killed after so many ``batches``, and started again."""
        before = self.world.requests
        self.tracker.reconcile = reconcile
        polling = self.tracker.poll(self.checkpoint)
        try:
            for number, batch in enumerate(polling):
                if number == batches:
                    event("killed")
                    self.start()
                    break
                self.memory.take(batch)
                if batch.checkpoint is not None:
                    self.checkpoint = batch.checkpoint
        except ClusterError:
            event("failed over meanwhile")
        polling.close()  # type: ignore[attr-defined]
        return self.world.requests - before


kinds = st.sampled_from(
    [
        *("write", "write", "write", "delete", "start", "finish", "begin", "end", "begin", "end", "replicate"),
        *("fail_over", "keep", "restore", "put_back", "freeze"),
    ]
)
steps = st.tuples(kinds, st.integers(0, 2 * PLACES - 1))
between = st.lists(st.one_of(st.just([]), st.lists(steps, min_size=1, max_size=4)), min_size=1, max_size=8)
polls = st.lists(
    st.one_of(st.none(), st.tuples(between, st.one_of(st.none(), st.none(), st.integers(0, 3)), st.booleans())),
    min_size=4,
    max_size=16,
)
Script = list[tuple[list[list[Step]], int | None, bool] | None]


def quietly(*steps: Step) -> tuple[list[list[Step]], None, bool]:
    """A poll before which these steps are done."""
    return [[*steps]], None, False


SHOW = ("begin", 0), ("end", 0), ("begin", 0), ("end", 0)
CAME_AND_WENT: Script = [
    quietly(("write", 0), *SHOW),
    quietly(("delete", 0), *SHOW, ("write", 0)),
    quietly(("begin", 0), ("delete", 0)),
    quietly(("end", 0)),
    None,
]
"""Gone from searches and there again, gone again while a refresh that has it is on its way, and shown by that."""
ALL_LOST: Script = [None, None, quietly(("write", 1), ("begin", 0), ("end", 1)), quietly(("fail_over", 1))]
"""The new primary has nothing at all."""
UPDATE_LOST: Script = [
    quietly(("write", 1)),
    None,
    None,
    quietly(("write", 1), ("begin", 1), ("end", 1)),
    quietly(("fail_over", 1)),
]
"""As many documents as before, and the one is at an older number."""
DELETE_LOST: Script = [
    quietly(("write", 1), ("write", 3)),
    None,
    None,
    quietly(("delete", 1), ("begin", 1), ("end", 1)),
    quietly(("fail_over", 1), ("delete", 3), ("begin", 1), ("end", 1)),
]
"""As many as before, as the new primary has lost one delete and done another."""
FIRST_READING_LOST: Script = [
    ([[], [], [], [("write", 0), ("begin", 0)], [("end", 0)], [("fail_over", 0), ("write", 0)]], None, False),
    None,
]
"""The first reading ends half-way, and the other copy gives the same number to something else."""
TAKEN_BACK_UNSEEN: Script = [
    quietly(("write", 0), ("replicate", 0), *SHOW),
    quietly(("write", 0), ("begin", 0), ("end", 0)),
    quietly(("write", 2), ("replicate", 0), ("write", 0), ("begin", 0), ("end", 0)),
    quietly(("fail_over", 0)),
    quietly(("write", 2)),
    None,
]
"""A state that only a dead primary had; the new one's searches do not show yet what it had before."""
FROZEN: Script = [
    quietly(("write", 0), ("replicate", 0), *SHOW),
    None,
    None,
    quietly(("write", 0), ("replicate", 0)),
    quietly(("freeze", 0)),
    None,
]
"""The process stands still between the counters' answer and its own next look at the clock."""
PUT_BACK_WHILE_RECONCILING: Script = [
    ([[("keep", 0), ("write", 0)]], None, False),
    None,
    ([[], [], [("put_back", 0)]], None, True),
    None,
    quietly(("write", 0)),
]
"""All ids are listed from the folder that was put back, so a delete is reported; then its number is given again."""
SHOWN_BETWEEN_PAGE_AND_COUNTS: Script = [
    None,
    quietly(("write", 0), ("write", 0), ("write", 0), ("begin", 0)),
    quietly(("end", 0)),
    ([[("fail_over", 0)], [("write", 0), ("write", 0), ("write", 0)], [("begin", 0)], [("end", 0)]], None, False),
]
"""The new primary gives the same numbers to other operations, and shows them after their page, but before counts."""
THERE_AGAIN_WHILE_RECONCILING: Script = [
    quietly(("write", 5)),
    None,
    quietly(("keep", 1), ("write", 1)),
    None,
    None,
    ([[], [], [("put_back", 1)]], None, True),
]
"""A document that was reported deleted is there again, at its old number, in the middle of a poll."""


@example(THERE_AGAIN_WHILE_RECONCILING)
@example(SHOWN_BETWEEN_PAGE_AND_COUNTS)
@example(PUT_BACK_WHILE_RECONCILING)
@example(FROZEN)
@example(CAME_AND_WENT)
@example(ALL_LOST)
@example(UPDATE_LOST)
@example(DELETE_LOST)
@example(FIRST_READING_LOST)
@example(TAKEN_BACK_UNSEEN)
@settings(max_examples=1500, deadline=None, report_multiple_bugs=False, suppress_health_check=[HealthCheck.too_slow])
@given(polls)
def test_no_event_is_told_twice_and_at_rest_all_is_known(script: Script) -> None:
    """Whatever happens between any two requests, and whenever the feed is killed."""
    note(str(script))
    world = World()
    feed = Feed(world)
    for one in script:
        if one is None:
            world.coming = []
            world.rest()
            feed.poll()
            continue
        coming, batches, reconcile = one
        world.coming = [*coming]
        feed.poll(batches, reconcile)
    world.coming = []
    requests = 0
    for _ in range(8):
        world.rest()
        requests = feed.poll()
    assert feed.memory.contents() == world.truth()
    assert requests == 1
