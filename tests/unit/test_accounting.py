"""Operation accounting in a model: shards that count at once and show at refreshes; no conclusion is ever wrong.

The real tracker runs over a model of a cluster in which anything may happen between any two of its requests. Every
time the accounting concludes something, the model is asked whether that is true at that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import msgspec
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from esfeed.model.event import Document, Key, Revision
from esfeed.model.reads import Dated, DocumentPage, Held, Index, Resolved, ShardStats, Span, StatsSnapshot
from esfeed.ports import Batch, Checkpoint
from esfeed.trackers import accounting
from esfeed.trackers.options import TrackerOptions
from esfeed.trackers.updated_at import UpdatedAtTracker

SHARDS = 2
UUID = "u"
Step = tuple[str, int]


@dataclass
class Shard:
    """One shard. ``last`` is the number of the last operation of each document, deletes included.

    ``lag``: as on 6.x, a refresh is counted a moment before searches see it.
    """

    lag: bool = False
    ops: int = 0
    refreshes: int = 0
    truth: dict[int, tuple[int, int]] = field(default_factory=dict)  # document: (version, stamp)
    visible: dict[int, tuple[int, int]] = field(default_factory=dict)
    refreshing: dict[int, tuple[int, int]] | None = None
    counted: bool = False
    last: dict[int, int] = field(default_factory=dict)

    def begin(self) -> None:
        if self.refreshing is None:
            self.refreshing = dict(self.truth)

    def end(self) -> None:
        if self.refreshing is None:
            return
        if not self.counted:
            self.refreshes += 1
            self.counted = True
            if self.lag:
                return
        self.show()

    def show(self) -> None:
        """What a counted refresh has, searches see."""
        if self.counted and self.refreshing is not None:
            self.visible, self.refreshing, self.counted = self.refreshing, None, False

    def operate(self, doc: int, to: tuple[int, int] | None) -> None:
        self.ops += 1
        self.last[doc] = self.ops
        self.truth.pop(doc, None)
        if to is not None:
            self.truth[doc] = to


class World:
    """All shards, and the steps that happen before the next requests are answered."""

    def __init__(self, lag: bool) -> None:
        self.lag = lag
        self.shards = [Shard(lag) for _ in range(SHARDS)]
        self.coming: list[list[Step]] = []
        self.version = 0
        self.now = datetime(2026, 11, 24, tzinfo=UTC)
        self.requests = 0
        self.frozen = False
        self.thawed = False

    def step(self, kind: str, number: int) -> None:
        shard = self.shards[number % SHARDS]
        self.version += 1
        if kind == "twice":
            self.refresh(forced=True)
            self.refresh(forced=True)
        elif kind == "freeze":
            self.frozen = True
        elif kind == "begin":
            shard.begin()
        elif kind == "end":
            shard.end()
        elif kind == "delete":
            shard.operate(number, None)
        else:
            shard.operate(number, (self.version, self.version * 1000 if kind == "write" else 0))

    def request(self) -> None:
        self.requests += 1
        self.thawed = False
        for step in self.coming.pop(0) if self.coming else []:
            self.step(*step)

    def thaw(self) -> None:
        """The feed's process goes on; where it was frozen, refreshes that were due came meanwhile."""
        if self.frozen:
            self.frozen, self.thawed = False, True
            self.wait()

    def wait(self) -> None:
        """So long that whatever was due is refreshed, and nothing else happens."""
        self.now += timedelta(seconds=100)
        self.refresh()

    def refresh(self, forced: bool = False) -> None:
        """One whole refresh of every shard that has news (of all: ``forced``), after what was begun."""
        for shard in self.shards:
            shard.end()
            shard.show()
            if forced or shard.visible != shard.truth:
                shard.begin()
                shard.end()
                shard.show()

    def truth(self) -> dict[int, int]:
        return {doc: version for shard in self.shards for doc, (version, _) in shard.truth.items()}

    def visible(self) -> dict[int, int]:
        return {doc: version for shard in self.shards for doc, (version, _) in shard.visible.items()}

    # --- ports.Clock

    def monotonic(self) -> float:
        return 0.0


def key(doc: int) -> Key:
    return Key("_doc", str(doc))


def document(doc: int, version: int, stamp: int | None = None) -> Document:
    return Document(key(doc), "i", UUID, version, source=b"{}", stamp=stamp)


def in_spans(stamp: int, spans: Sequence[Span] | None) -> bool:
    return spans is None or any(low <= stamp < high for low, high in spans)


class ModelCluster:
    """See ``ports.Cluster``, as far as this tracker asks."""

    name = "model"

    def __init__(self, world: World) -> None:
        self.world = world
        self.searches_lag = world.lag

    def counters(self, name: str) -> StatsSnapshot:
        self.world.request()
        shards = {
            f"i/{n}": ShardStats(shard.ops, "node", (("node", shard.refreshes),))
            for n, shard in enumerate(self.world.shards)
        }
        self.world.thaw()
        return StatsSnapshot(shards, {"i": UUID}, docs=1)

    def uuid(self) -> str:
        return "c"

    def resolve(self, name: str, watch: str) -> Resolved:
        self.world.request()
        return Resolved("i", False, (Index("i", UUID, 0, SHARDS, 1.0),))

    def field_types(self, name: str) -> Mapping[str, str]:
        return {"at": "date"}

    def newest(self, name: str, field: str) -> int | None:
        self.world.request()
        return max((stamp for shard in self.world.shards for _, stamp in shard.visible.values()), default=None)

    def window(
        self, of: Resolved, field: str, since: int, size: int, until: int | None = None
    ) -> Iterator[DocumentPage]:
        self.world.request()
        docs = [
            (stamp, document(doc, version, stamp))
            for shard in self.world.shards
            for doc, (version, stamp) in shard.visible.items()
            if stamp >= since
        ]
        yield from self._pages([doc for _, doc in sorted(docs, key=lambda pair: pair[0])])

    def everything(
        self, of: Resolved, source: bool, size: int, shard: object = None, field: str = ""
    ) -> Iterator[DocumentPage]:
        self.world.request()
        yield from self._pages(self._visible())

    def _visible(self, spans: Sequence[Span] | None = None) -> list[Document]:
        found = [(doc, *state) for shard in self.world.shards for doc, state in shard.visible.items()]
        return [document(doc, version, stamp) for doc, version, stamp in found if in_spans(stamp, spans)]

    def dated(self, of: Resolved, field: str, spans: Sequence[Span] | None, bits: int) -> Dated:
        self.world.request()
        return Dated(Counter(doc.stamp >> bits for doc in self._visible(spans) if doc.stamp is not None), 0)

    def within(self, of: Resolved, field: str, spans: Sequence[Span], without: bool) -> Iterator[DocumentPage]:
        self.world.request()
        yield from self._pages(self._visible(spans))

    def _pages(self, docs: list[Document]) -> Iterator[DocumentPage]:
        for start in range(0, len(docs), 2):
            yield DocumentPage(docs[start : start + 2], len(docs))
            self.world.request()

    def shown(self, of: Resolved, keys: Collection[Key], source: bool, shard: object = None) -> Sequence[Document]:
        self.world.request()
        return [doc for doc in self._visible() if doc.key in keys]

    def lookup(self, of: Resolved, wanted: Sequence[tuple[str, Key]], copy: object = None) -> list[Document | None]:
        self.world.request()
        truth = self.world.truth()
        return [document(int(key.id), truth[int(key.id)]) if int(key.id) in truth else None for _, key in wanted]


class Memory:
    """See ``ports.Known``: what the batches so far told. No state may be told twice, nor after a later one."""

    def __init__(self) -> None:
        self.known: dict[Key, Revision] = {}
        self.told: dict[Key, int] = {}

    def take(self, batch: Batch) -> None:
        for doc in batch.seen:
            if doc.key not in self.known or self.known[doc.key].version != doc.version:
                assert doc.version > self.told.get(doc.key, 0)
            self.told[doc.key] = doc.version
            self.known[doc.key] = Revision(doc.uuid, doc.index, doc.version, None, b"", stamp=doc.stamp)
        for one, stamp in batch.stamps.items():
            self.known[one] = msgspec.structs.replace(self.known[one], stamp=stamp)
        for lost, _ in batch.gone:
            del self.known[lost]

    def versions(self) -> dict[int, int]:
        return {int(key.id): revision.version for key, revision in self.known.items()}

    def revisions(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        return {key: self.known[key] for key in keys if key in self.known}

    def tombstoned(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        return {}

    def count(self) -> int:
        return len(self.known)

    def indices(self) -> Collection[Held]:
        return {Held(one.index, one.uuid, key.within) for key, one in self.known.items()}

    def dated(self, spans: Sequence[Span] | None, bits: int) -> Dated:
        stamps = [one.stamp for one in self.known.values()]
        dates = [stamp for stamp in stamps if stamp is not None]
        return Dated(Counter(stamp >> bits for stamp in dates if in_spans(stamp, spans)), len(stamps) - len(dates))

    def within(self, spans: Sequence[Span], without: bool) -> Iterator[Mapping[Key, Revision]]:
        yield {
            one: revision
            for one, revision in self.known.items()
            if (without if revision.stamp is None else in_spans(revision.stamp, spans))
        }

    @contextmanager
    def sweep(self, uuids: Collection[str] = ()) -> Iterator[Any]:
        met: set[Key] = set()
        sweep = mock.Mock()
        sweep.see = met.update
        sweep.missing = lambda: len(self.known.keys() - met)
        sweep.unseen = lambda size: iter(
            [lost] if (lost := {k: r for k, r in self.known.items() if k not in met}) else []
        )
        yield sweep


class Judge:
    """Stands in for the accounting, asks it, and checks each of its conclusions against the model."""

    def __init__(self, world: World, memory: Memory) -> None:
        self.world = world
        self.memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(accounting, name)

    def unchanged(self, account: accounting.Account, reading: StatsSnapshot, lag: bool) -> bool:
        said = accounting.unchanged(account, reading, lag)
        if said and account.settled == accounting.operations(reading):
            event("unchanged since settled")
            self.all_is_seen()
        elif said and not self.world.thawed:  # else it is of what searches showed before
            event("unchanged view")
            self.a_look_finds_nothing()
        return said

    def explains(self, account: accounting.Account, now: StatsSnapshot) -> bool:
        said = accounting.explains(account, now)
        if said:
            event("explained")
            self.all_is_seen()
        return said

    def quiet(self, account: accounting.Account, reading: StatsSnapshot, patience: float, now: float) -> bool:
        said = accounting.quiet(account, reading, patience, now)
        if said:
            event("quiet")
            self.all_is_seen()
        return said

    def looked(
        self, account: accounting.Account, before: StatsSnapshot, found: int, at: float, lag: bool
    ) -> accounting.Account:
        said = accounting.looked(account, before, found, at, lag)
        if said.settled != account.settled:
            event("surely visible")
        known, truth = self.memory.versions(), self.world.truth()
        for number, shard in enumerate(self.world.shards):
            for doc, last in shard.last.items():
                if said.settled is not None and last <= said.settled[f"i/{number}"]:
                    assert known.get(doc) == truth.get(doc)
        return said

    def a_look_finds_nothing(self) -> None:
        """What is known is what searches show; but what they show no more is known while a later state is there."""
        known, visible, truth = self.memory.versions(), self.world.visible(), self.world.truth()
        for doc in known.keys() | visible.keys():
            if doc in visible:
                assert known.get(doc) == visible[doc]
            else:
                assert known[doc] < truth[doc]

    def all_is_seen(self) -> None:
        assert self.memory.versions() == self.world.truth()


class Feed:
    """The tracker over the model, and what came of its polls."""

    def __init__(self, world: World, eager: bool, field: str, memory: Memory | None = None) -> None:
        self.world = world
        self.memory = memory or Memory()
        options = TrackerOptions("w", "i", field, overlap=0.0, eager=eager)
        clock: Any = mock.Mock(now=lambda: world.now, monotonic=world.monotonic)
        self.tracker = UpdatedAtTracker(ModelCluster(world), self.memory, options, clock)  # type: ignore[arg-type]
        self.judge = Judge(world, self.memory)
        self.checkpoint: Checkpoint | None = None

    def poll(self) -> int:
        """How many requests it took."""
        before = self.world.requests
        for shard in self.world.shards:
            shard.show()  # a lag is a moment: shorter than from one poll to the next
        with mock.patch("esfeed.trackers.updated_at.accounting", self.judge):
            for batch in self.tracker.poll(self.checkpoint):
                self.memory.take(batch)
                if batch.checkpoint is not None:
                    self.checkpoint = msgspec.structs.replace(batch.checkpoint, number=1)
        return self.world.requests - before


kinds = st.sampled_from(["write", "write", "late", "delete", "begin", "end", "begin", "end", "end", "twice", "freeze"])
steps = st.tuples(kinds, st.integers(0, 4))
between = st.lists(st.one_of(st.just([]), st.lists(steps, min_size=1, max_size=3)), min_size=1, max_size=6)
polls = st.lists(st.one_of(st.none(), between, between, between), min_size=5, max_size=16)


# Gone from searches and there again, gone again while a refresh that has it is on its way, and shown by that.
CAME_AND_WENT: list[list[list[Step]]] = [
    [[("write", 0), ("twice", 0)]],
    [[("delete", 0), ("twice", 0), ("write", 0)]],
    [[("begin", 0), ("delete", 0)]],
    [[("end", 0)]],
    [],
]

# The process stands still between the counters' answer and its own next look at the clock.
FROZEN: list[list[list[Step]] | None] = [[[("write", 0)]], None, None, [[("write", 0)]], [[("freeze", 0)]], None]


@example(FROZEN, True, "", False)
@example(FROZEN, False, "at", True)
@example(CAME_AND_WENT, True, "at", False)
@example(CAME_AND_WENT, True, "", False)
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(polls, st.booleans(), st.sampled_from(["at", ""]), st.booleans())
def test_no_conclusion_is_wrong(script: list[list[list[Step]] | None], eager: bool, field: str, lag: bool) -> None:
    """Whatever happens between any two requests: what is called seen was seen, and in the end all is, at rest."""
    world = World(lag)
    feed = Feed(world, eager, field)
    for coming in script:
        if coming is None:
            world.coming = []
            world.wait()
        else:
            world.coming = [*coming]
        feed.poll()
    world.coming = []
    for _ in range(8):
        world.wait()
        requests = feed.poll()
    assert feed.memory.versions() == world.truth()
    assert requests == 1


def shards(**ops: int) -> StatsSnapshot:
    return StatsSnapshot({name: ShardStats(count, "node", (("node", 5),)) for name, count in ops.items()}, {"i": UUID})


def test_other_counters_are_not_compared() -> None:
    """Another copy, another index, fewer or more shards, counters or refreshes gone back: all of that begins anew."""
    before = shards(a=3, b=4)
    assert not accounting.restarted(before, shards(a=3, b=9))
    for now in (
        shards(a=2, b=4),
        shards(a=3),
        shards(a=3, b=4, c=0),
        msgspec.structs.replace(before, indices={"i": "other"}),
        msgspec.structs.replace(before, indices={"j": UUID}),
        with_shard(before, identity="elsewhere"),
        with_shard(before, refreshes=(("node", 4),)),
    ):
        assert accounting.restarted(before, now)
        account = accounting.Account({"a": 3, "b": 4}, 0, before, 9)
        assert not accounting.unchanged(account, now, 1)
        assert not accounting.explains(account, now)
        assert not accounting.surely_visible(before, now)


def test_every_copy_must_have_refreshed_twice() -> None:
    """One copy that lags, is new, or went away, and nothing is sure."""
    before = with_shard(shards(a=3), refreshes=(("one", 5), ("two", 8)))
    for refreshes, sure in (
        ((("one", 7), ("two", 10)), True),
        ((("one", 7), ("two", 9)), False),
        ((("one", 6), ("two", 12)), False),
        ((("one", 7),), False),
        ((("one", 7), ("two", 10), ("three", 99)), False),
        ((("one", 7), ("three", 10)), False),
    ):
        assert accounting.surely_visible(before, with_shard(before, refreshes=refreshes)) is sure


def with_shard(reading: StatsSnapshot, **changes: Any) -> StatsSnapshot:
    changed = msgspec.structs.replace(reading.shards["a"], **changes)
    return msgspec.structs.replace(reading, shards={**reading.shards, "a": changed})


def test_where_searches_lag_one_look_is_not_enough() -> None:
    """On 6.x two looks at a view are needed, and counts of refreshes settle nothing."""
    reading = shards(a=3)
    account = accounting.looked(accounting.Account(), reading, 3, 0.0)
    assert accounting.unchanged(account, reading, lag=False)
    assert not accounting.unchanged(account, reading, lag=True)
    account = accounting.looked(account, reading, 0, 1.0, lag=True)
    assert accounting.unchanged(account, reading, lag=True)
    later = with_shard(reading, refreshes=(("node", 7),))
    assert accounting.looked(account, later, 0, 2.0, lag=True).settled is None
    assert accounting.looked(account, later, 0, 2.0).settled == {"a": 3}
    assert not accounting.unchanged(accounting.looked(account, later, 0, 2.0, lag=True), later, lag=True)
