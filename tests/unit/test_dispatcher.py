"""From the log to a sink over fakes: what is taken once stays taken, nothing is lost, no document goes back in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esfeed.dispatcher import Delivery, Dispatcher
from esfeed.errors import ConfigError, Retryable
from esfeed.event import Event
from esfeed.ports import OK, LogRow, Outcome, Parked, rejected, retry
from esfeed.routing import Route, Router, compile_where
from esfeed.testing.events import sample_event

NAME = "target"


@dataclass
class FakeStore:
    """The part of ``ports.Store`` that a dispatcher uses; checks that a cursor never goes back."""

    log: list[LogRow] = field(default_factory=list)
    at: int | None = 0
    parked: list[Parked] = field(default_factory=list)

    def add(self, doc: str, sink: str | None = None, watch: str = "w") -> None:
        position = len(self.log) + 1
        self.log.append(LogRow(position, sample_event(position=position, doc_id=doc, watch=watch), sink))

    def read_log(self, after: int, limit: int) -> Sequence[LogRow]:
        return self.log[after : after + limit]

    def head(self) -> int:
        return len(self.log)

    def cursor(self, sink: str) -> int | None:
        return self.at

    def settle(self, sink: str, position: int, parked: Sequence[Parked] = ()) -> None:
        assert self.at is None or position >= self.at
        self.at = position
        self.parked += parked


@dataclass
class FakeSink:
    """Answers as ``word`` says of each event, ``ok`` where it says nothing; ``got`` is what its target has, in order.

    It is a good sink: an event behind one of the same document that was not taken is not taken either.
    """

    word: Callable[[Event], Outcome | Exception | None] = lambda event: None
    got: list[Event] = field(default_factory=list)
    sends: list[list[int]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def open(self) -> None:
        self.calls.append("open")

    def close(self) -> None:
        self.calls.append("close")

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        self.sends.append([event.position for event in events])
        said = [(event, self.word(event)) for event in events]
        for _, word in said:
            if isinstance(word, Exception):
                raise word
        outcomes: list[Outcome] = []
        behind: set[str] = set()
        for event, word in said:
            outcome = word if isinstance(word, Outcome) else OK
            if event.doc_id in behind:
                outcome = retry("behind")
            if outcome.kind == "retry":
                behind.add(event.doc_id)
            elif outcome.ok:
                self.got.append(event)
            outcomes.append(outcome)
        return outcomes


def dispatcher(sink: object, store: FakeStore, batch: int = 10, *routes: Route) -> Dispatcher:
    return Dispatcher(NAME, sink, Router(routes, [NAME, "other"], ["w", "v"]), store, batch)  # type: ignore[arg-type]


def filled(*docs: str) -> FakeStore:
    store = FakeStore()
    for doc in docs:
        store.add(doc)
    return store


def once(**words: Outcome | Exception) -> Callable[[Event], Outcome | Exception | None]:
    """Says each word once, of the event at that position (``p3``)."""
    left = {int(name[1:]): word for name, word in words.items()}
    return lambda event: left.pop(event.position, None)


def test_all_is_taken_in_batches() -> None:
    """The log is read batch by batch; each step goes on at once; at the end it is idle."""
    store, sink = filled(*"abcde"), FakeSink()
    steps = dispatcher(sink, store, 2)
    told = [steps.run_once() for _ in range(4)]
    assert told == [Delivery(sent=2), Delivery(sent=2), Delivery(sent=1), Delivery(idle=True)]
    assert [event.position for event in sink.got] == [1, 2, 3, 4, 5]
    assert sink.calls == ["open"]
    assert store.at == 5


def test_a_new_sink_begins_at_the_end_of_the_log() -> None:
    """It gets what comes; one that was there before goes on where it was."""
    for at, got in ((None, [4]), (1, [2, 3, 4])):
        store, sink = filled(*"abc"), FakeSink()
        store.at = at
        steps = dispatcher(sink, store)
        steps.start()
        store.add("d")
        steps.run_once()
        assert [event.position for event in sink.got] == got


def test_the_first_is_not_taken() -> None:
    """The cursor stays, the others are not sent again, and the wait is more than nothing."""
    store, sink = filled(*"abc"), FakeSink(once(p1=retry("busy")))
    steps = dispatcher(sink, store)
    told = steps.run_once()
    assert (told.sent, told.error, store.at) == (2, "busy", 0)
    assert told.wait > 0
    assert steps.run_once() == Delivery(sent=1, skipped=2)
    assert sink.sends == [[1, 2, 3], [1]]
    assert store.at == 3


def test_one_in_the_middle_is_not_taken() -> None:
    """The cursor goes up to it; what came after is remembered, while new ones join."""
    store, sink = filled(*"abcd"), FakeSink(once(p3=retry("busy")))
    steps = dispatcher(sink, store)
    steps.run_once()
    assert store.at == 2
    store.add("e")
    steps.run_once()
    assert sink.sends == [[1, 2, 3, 4], [3, 5]]
    assert store.at == 5


def test_a_rejected_one_is_parked() -> None:
    """With its reason, in the transaction that passes it; the rest goes on."""
    store, sink = filled(*"abc"), FakeSink(once(p2=rejected("too large")))
    told = dispatcher(sink, store).run_once()
    assert told == Delivery(sent=2, parked=1, error="too large")
    assert store.parked == [Parked(NAME, 2, 1, "too large")]
    assert store.at == 3


def test_rejected_beyond_one_that_waits_is_parked_once() -> None:
    """It lies before the cursor's next place, and is neither sent nor parked again."""
    store, sink = filled(*"abc"), FakeSink(once(p1=retry("busy"), p2=rejected("no")))
    steps = dispatcher(sink, store)
    steps.run_once()
    steps.run_once()
    assert sink.sends == [[1, 2, 3], [1]]
    assert [parked.position for parked in store.parked] == [2]


def test_a_sink_that_raises_is_closed_and_opened_again() -> None:
    """Nothing of the batch counts as taken; the wait that it asked for is kept."""
    store, sink = filled(*"ab"), FakeSink(once(p1=Retryable("down", "start it", 7.5)))
    steps = dispatcher(sink, store)
    told = steps.run_once()
    assert (told.sent, told.wait, told.error) == (0, 7.5, "down: start it")
    steps.run_once()
    assert sink.calls == ["open", "close", "open"]
    assert sink.sends == [[1, 2], [1, 2]]


def test_a_sink_that_does_not_open() -> None:
    """It is not sent to; nothing moves; a setting that is wrong is named with the sink."""

    class Shut(FakeSink):
        def open(self) -> None:
            raise Retryable("not there yet") if not self.calls else ConfigError("path", "x", "no")

    store, sink = filled("a"), Shut()
    steps = dispatcher(sink, store)
    assert steps.run_once().error == "not there yet"
    with pytest.raises(ConfigError, match=r"sinks\.target\.path"):
        steps.run_once()
    assert (sink.sends, store.at) == ([], 0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_sink_that_answers_for_too_few_or_too_many(count: int) -> None:
    """It is its fault, and said to be; nothing moves."""

    class Odd(FakeSink):
        def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
            return [OK] * count

    store = filled(*"ab")
    with pytest.raises(ConfigError, match=f"answered {count} of 2"):
        dispatcher(Odd(), store).run_once()
    assert store.at == 0


def test_pauses_grow_and_are_bounded() -> None:
    """Each step that gets nothing through waits longer, a minute at most; one that does begins anew."""
    store, sink = filled(*"ab"), FakeSink(lambda event: retry("down"))
    steps = dispatcher(sink, store)
    waits = [steps.run_once().wait for _ in range(12)]
    assert all(0 < wait <= 60 for wait in waits)
    assert waits[0] <= 1.0
    assert max(waits[8:]) > 10 * waits[0]
    sink.word = lambda event: retry("down") if event.position == 1 else None
    assert steps.run_once().wait <= 1.0


@pytest.mark.parametrize(("asked", "wait"), [(0.5, 0.5), (120.0, 120.0), (10**9, 3600.0)])
def test_the_asked_wait_is_kept(asked: float, wait: float) -> None:
    """What a target asks for is kept, the longest of several, an hour at most."""
    store, sink = filled(*"ab"), FakeSink(once(p1=retry("busy", asked), p2=retry("busy", asked / 2)))
    assert dispatcher(sink, store).run_once().wait == wait


def test_a_wait_of_nothing_is_a_pause_all_the_same() -> None:
    """`Retry-After: 0` must not become a loop without a pause; pauses grow as if nothing had been asked."""
    store, sink = filled("a"), FakeSink(lambda event: retry("busy", 0.0))
    steps = dispatcher(sink, store)
    waits = [steps.run_once().wait for _ in range(8)]
    assert all(wait > 0 for wait in waits)
    assert waits[-1] > 5


def test_others_events_are_passed_over() -> None:
    """Those of another sink's backfill, of watches that no route brings, and those that `where` leaves out."""
    store, sink = FakeStore(), FakeSink()
    store.add("a", sink="other")
    store.add("b", sink=NAME)
    store.add("c", watch="v")
    store.add("d")
    store.add("unwanted")
    route = Route(0, frozenset([NAME]), frozenset(["w"]), compile_where("id != 'unwanted'"))
    told = dispatcher(sink, store, 10, route).run_once()
    assert told == Delivery(sent=2, skipped=3)
    assert [event.doc_id for event in sink.got] == ["b", "d"]
    assert store.at == 5
    store.add("unwanted")
    assert dispatcher(sink, store, 10, route).run_once() == Delivery(skipped=1)
    assert store.at == 6


def test_a_where_without_an_answer_parks_the_event() -> None:
    """Whether the sink is to have it cannot be told: it is parked with the expression, and not sent."""
    store, sink = filled("a", "b"), FakeSink()
    route = Route(0, frozenset([NAME]), frozenset(), compile_where("id == 'b' || after.nowhere.x == 1"))
    dispatcher(sink, store, 10, route).run_once()
    assert [event.doc_id for event in sink.got] == ["b"]
    assert [(parked.position, "nowhere" in parked.error) for parked in store.parked] == [(1, True)]
    assert store.at == 2


words = st.sampled_from(["ok", "ok", "retry", "rejected", "raise"])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=12),
    st.integers(1, 5),
    st.lists(st.one_of(st.just("crash"), st.lists(words, min_size=5, max_size=5)), max_size=12),
)
def test_nothing_is_lost_or_goes_back(docs: list[str], batch: int, script: list[str | list[str]]) -> None:
    """Over any outcomes and crashes each event is taken or parked, once unless it crashed, in its document's order."""
    store = filled(*docs)
    sink = FakeSink()
    steps = dispatcher(sink, store, batch)
    crashes = 0

    def says(answers: list[str]) -> Callable[[Event], Outcome | Exception | None]:
        def word(event: Event) -> Outcome | Exception | None:
            kind = answers[event.position % len(answers)]
            kinds: dict[str, Outcome | Exception] = {
                "retry": retry("r"),
                "rejected": rejected("no"),
                "raise": Retryable("x"),
            }
            return kinds.get(kind)

        return word

    for scene in script:
        if isinstance(scene, str):
            steps = dispatcher(sink, store, batch)
            crashes += 1
            continue
        sink.word = says(scene)
        steps.run_once()
        taken = {event.position for event in sink.got} | {parked.position for parked in store.parked}
        assert set(range(1, (store.at or 0) + 1)) <= taken
    sink.word = lambda event: None
    for _ in range(len(docs) + 1):
        last = steps.run_once()
    assert last.idle
    got = [event.position for event in sink.got]
    assert set(got) | {parked.position for parked in store.parked} == set(range(1, len(docs) + 1))
    if not crashes:
        assert len(got) == len(set(got))
        assert not set(got) & {parked.position for parked in store.parked}
        for doc in "abc":
            positions = [event.position for event in sink.got if event.doc_id == doc]
            assert positions == sorted(positions)
    for doc in set(docs):
        positions = [event.position for event in sink.got if event.doc_id == doc]
        assert not positions or positions[-1] == max(positions)
