"""One event of many: replaying the merged ones leads where replaying all does, whatever dies on the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esfeed.delivery.coalesce import merge
from esfeed.model.event import Event, Op
from esfeed.ports import retry
from esfeed.testing.events import sample_event
from tests.delivery.fakes import Bench, FakeSink, bad

State = dict[str, Any]


def event(op: Op, before: State | None = None, after: State | None = None, n: int = 1, doc: str = "d") -> Event:
    found = sample_event(op=op, doc_id=doc, position=n, before={}, after={})
    return msgspec.structs.replace(found, before=raw(before), after=raw(after))


def raw(state: State | None) -> msgspec.Raw | None:
    return None if state is None else msgspec.Raw(json.dumps(state).encode())


def plain(found: Event | None) -> tuple[Any, ...] | None:
    if found is None:
        return None
    before, after = (None if part is None else json.loads(bytes(part)) for part in (found.before, found.after))
    return found.op, before, after, found.changed


A, B, C = {"n": 1}, {"n": 2}, {"n": 3, "m": 1}


@pytest.mark.parametrize(
    ("events", "merged"),
    [
        ([event("created", None, A), event("updated", A, B)], ("created", None, B, None)),
        ([event("updated", A, B), event("updated", B, C)], ("updated", A, C, ("m", "n"))),
        ([event("updated", A, B), event("updated", B, A)], None),
        ([event("created", None, A), event("deleted", A)], None),
        ([event("updated", A, B), event("deleted", B)], ("deleted", A, None, None)),
        ([event("deleted", A), event("created", None, B)], ("updated", A, B, ("n",))),
        ([event("deleted", A), event("created", None, A)], None),
        ([event("deleted", None), event("created", None, A)], ("updated", None, A, None)),
        ([event("deleted", A), event("created", None, B), event("deleted", B)], ("deleted", A, None, None)),
        ([event("created", None, A), event("deleted", A), event("created", None, C)], ("created", None, C, None)),
        ([event("read", None, A), event("updated", A, B)], ("read", None, B, None)),
        ([event("read", None, A), event("deleted", A)], ("deleted", A, None, None)),
        ([event("updated", A, B), event("read", None, B)], ("updated", A, B, ("n",))),
        ([event("updated", A, B), event("updated", B, A), event("read", None, A)], ("read", None, A, None)),
        ([event("updated", None, A), event("updated", None, B)], ("updated", None, B, None)),
    ],
)
def test_what_becomes_of_two(events: Sequence[Event], merged: tuple[Any, ...] | None) -> None:
    """Each pair that can be, and some threes."""
    assert plain(merge(events)) == merged


def test_one_alone_is_itself() -> None:
    """Even an update that changes nothing."""
    alone = event("updated", A, A)
    assert merge([alone]) is alone


def test_ids() -> None:
    """The same events give the same id; any other events another."""
    one, two, three = event("created", None, A, 1), event("updated", A, B, 2), event("updated", B, C, 3)
    found = merge([one, two])
    assert found is not None
    assert found == merge([one, two])
    assert found.position == 2
    others = [merge([one, two, three]), merge([two, three]), one, two]
    assert found.id not in {other.id for other in others if other}


class World:
    """Documents that live, die and are told of."""

    def __init__(self) -> None:
        self.docs: dict[str, State] = {}
        self.count = 0

    def act(self, doc: str, what: int) -> Event | None:
        """Something that can happen to a document, as an event."""
        self.count += 1
        before = self.docs.get(doc)
        if what == 0:
            if before is None:
                return None
            del self.docs[doc]
            return event("deleted", before, None, self.count, doc)
        if what == 9:
            return None if before is None else event("read", None, before, self.count, doc)
        self.docs[doc] = after = {"v": what}
        return event("created" if before is None else "updated", before, after, self.count, doc)


def replay(events: Sequence[Event], docs: dict[str, State] | None = None) -> dict[str, State]:
    """The state that a consumer ends up with. It checks that an update's `before` is what it has."""
    docs = dict(docs or {})
    for one in events:
        op, before, after, _ = plain(one) or ()
        if op == "deleted":
            docs.pop(one.doc_id, None)
            continue
        if op == "created":
            assert one.doc_id not in docs
        if op == "updated" and one.doc_id in docs:
            assert docs[one.doc_id] == before
        docs[one.doc_id] = after
    return docs


acts = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0, 1, 2, 3, 9])), max_size=12)


@settings(max_examples=500, deadline=None)
@given(acts, acts)
def test_replaying_the_merged_is_replaying_all(before: list[tuple[str, int]], acts: list[tuple[str, int]]) -> None:
    """From any state that a consumer may have, over anything that may happen."""
    world = World()
    for doc, what in before:
        world.act(doc, what)
    known = dict(world.docs)
    events = [found for doc, what in acts if (found := world.act(doc, what))]
    merged = []
    for doc in "ab":
        of = [one for one in events if one.doc_id == doc]
        if of and (found := merge(of)):
            merged.append(found)
    assert replay(merged, known) == replay(events, known) == world.docs


# --- through the dispatcher


def bench(*acts: tuple[str, int, float], **more: Any) -> tuple[Bench, World]:
    """A bench whose log has what happened to documents at those seconds."""
    made, world = Bench(coalesce=5.0, **more), World()
    tell(made, world, *acts)
    return made, world


def tell(made: Bench, world: World, *acts: tuple[str, int, float]) -> None:
    for doc, what, at in acts:
        made.clock.passed = max(made.clock.passed, at)
        found = world.act(doc, what)
        if found:
            parts = {"before": found.before, "after": found.after}
            made.add(doc, op=found.op, **{name: bytes(part) for name, part in parts.items() if part is not None})


def ops(made: Bench) -> list[tuple[str, str]]:
    return [(one.doc_id, one.op) for one in made.sink.got]


def test_a_window_of_time() -> None:
    """What happens within the time of the first event is one event a document; it is sent when the time is over."""
    made, world = bench(("a", 1, 0), ("b", 1, 1), ("a", 2, 2), ("b", 0, 3))
    told = made.steps.run_once()
    assert (told.wait, told.wake, made.sink.sends, made.store.at) == (2.0, True, [], 0)
    tell(made, world, ("a", 3, 4.9), ("a", 1, 6), ("c", 1, 6))
    made.run(20)
    assert [(doc, op, position) for (doc, op), position in zip(ops(made), made.sink.positions, strict=True)] == [
        ("a", "created", 5),
        ("a", "updated", 6),
        ("c", "created", 7),
    ]
    assert replay(made.sink.got) == world.docs
    assert made.store.at == 7


def test_a_crash_between_send_and_settle_repeats_the_same_ids() -> None:
    """The events of a window are merged alike after a crash, though half of them was sent, and more have come."""
    made, world = bench(*((f"d{n % 7}", 1 + n % 3, n / 10) for n in range(30)), batch=3)
    made.clock.passed = 5.1
    made.steps.run_once()
    first = [one.id for one in made.sink.got]
    assert len(first) == 3
    assert made.store.at == 0
    tell(made, world, *((f"d{n % 7}", 1 + n % 2, 6 + n / 10) for n in range(10)))
    made.boot()
    made.run(20)
    again = [one.id for one in made.sink.got][3:6]
    assert again == first
    assert replay([one for place, one in enumerate(made.sink.got) if place >= 3]) == world.docs
    assert made.store.at == made.store.head()


def test_a_merged_event_is_parked_as_it_was_merged() -> None:
    """It keeps its id over restarts and repeats; what comes later of its document waits behind it."""
    made, world = bench(("p", 1, 0), ("p", 2, 1), ("a", 1, 2), word=bad("p"))
    tell(made, world, ("p", 3, 6))
    made.run(7)
    tried = made.store.rows[2].event
    assert tried is not None
    assert tried.op == "created"
    assert made.store.states()[4] == ("waiting", 0)
    made.sink.word = lambda one: None
    made.boot()
    made.run(700)
    assert next(one.id for one in made.sink.got if one.doc_id == "p") == tried.id
    assert replay(made.sink.got) == world.docs
    assert made.store.rows == {}


def test_what_comes_and_goes_moves_the_cursor() -> None:
    """A window in which nothing is left to tell."""
    made, _ = bench(("a", 1, 0), ("a", 0, 1))
    made.run(10)
    assert (made.sink.sends, made.store.at) == ([], 2)


steps = st.lists(st.sampled_from(["step", "step", "step", "crash", "down", "up", "sleep"]), max_size=25)
happens = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([0, 1, 2, 3]), st.floats(0.1, 3.0)), min_size=1, max_size=20
)


@settings(max_examples=300, deadline=None)
@given(happens, steps, st.integers(1, 3), st.booleans())
def test_whatever_happens_the_state_arrives(
    acts: list[tuple[str, int, float]], script: list[str], batch: int, one_fault: bool
) -> None:
    """Over any outage and crash, a consumer that drops repeated ids ends up with the true state."""
    made, world = bench(batch=batch, sink=FakeSink(one_fault=one_fault))
    left = iter(acts)
    for what in script:
        for doc, act, after in [one for one in [next(left, None)] if one]:
            tell(made, world, (doc, act, made.clock.passed + after))
        if what == "crash":
            made.boot()
        elif what in ("down", "up"):
            made.sink.word = (lambda one: retry("no")) if what == "down" else (lambda one: None)
        elif what == "sleep":
            made.clock.passed += 3
        else:
            made.steps.run_once()
    for doc, act, after in left:
        tell(made, world, (doc, act, made.clock.passed + after))
    made.sink.word = lambda one: None
    made.run(5000)
    assert made.store.at == made.store.head()
    assert made.store.rows == {}
    docs: dict[str, State] = {}
    seen: set[str] = set()
    for one in made.sink.got:
        if one.id not in seen:
            seen.add(one.id)
            op, _, after, _ = plain(one) or ()
            docs.pop(one.doc_id, None)
            if op != "deleted":
                docs[one.doc_id] = after
    assert docs == world.docs
