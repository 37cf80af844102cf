"""From the log to a sink over fakes: what is taken once stays taken, nothing is lost, no document goes back in time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esfeed.errors import ConfigError, Retryable, StateError
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, rejected, retry
from esfeed.routing.router import Route, compile_where
from tests.delivery.fakes import NAME, Bench, FakeSink, Word, bad, once

HOUR = 3600.0


# --- all well


def test_all_is_taken_in_batches() -> None:
    """The log is read batch by batch; each step goes on at once; at the end it is idle."""
    bench = Bench(*"abcde", batch=2)
    told = [bench.steps.run_once() for _ in range(4)]
    assert [(one.sent, one.wait, one.idle, one.error) for one in told] == [
        (2, 0.0, False, ""),
        (2, 0.0, False, ""),
        (1, 0.0, False, ""),
        (0, None, True, ""),
    ]
    assert bench.sink.positions == [1, 2, 3, 4, 5]
    assert bench.sink.calls == ["open"]
    assert bench.store.at == 5


def test_a_new_sink_begins_at_the_end_of_the_log() -> None:
    """It gets what comes; one that was there before goes on where it was."""
    for at, got in ((None, [4]), (1, [2, 3, 4])):
        bench = Bench(*"abc")
        bench.store.at = at
        bench.steps.start()
        bench.add("d")
        bench.run()
        assert bench.sink.positions == got


def test_others_events_are_passed_over() -> None:
    """Those of another sink's backfill, of watches that no route brings, and those that `where` leaves out."""
    route = Route(0, frozenset([NAME]), frozenset(["w"]), compile_where("id != 'unwanted'"))
    bench = Bench(routes=[route])
    bench.add("a", sink="other")
    bench.add("b", sink=NAME)
    bench.add("c", watch="v")
    bench.add("d")
    bench.add("unwanted")
    told = bench.steps.run_once()
    assert (told.sent, told.skipped) == (2, 3)
    assert [event.doc_id for event in bench.sink.got] == ["b", "d"]
    assert bench.store.at == 5
    bench.add("unwanted")
    bench.steps.run_once()
    assert bench.store.at == 6


def test_batches_by_bytes() -> None:
    """No batch is larger, but an event that is goes alone."""
    bench = Bench(batch_bytes=3000)
    for size in (900, 900, 900, 5000, 100, 100):
        bench.add(f"d{size}{random.random()}", after={"x": "y" * size}, op="created")
    bench.run()
    assert bench.sink.sends == [[1, 2], [3], [4], [5, 6]]


def test_lingering_for_a_fuller_batch() -> None:
    """A batch that is not full waits, from its first event's time; a full one goes at once; nothing waits longer."""
    bench = Bench("a", "b", batch=3, linger=2.0)
    told = bench.steps.run_once()
    assert (told.wait, told.wake, bench.sink.sends) == (2.0, True, [])
    bench.clock.passed += 1.5
    bench.add("c")
    bench.run()
    bench.add("d")
    assert bench.sink.sends == [[1, 2, 3]]
    assert bench.steps.run_once().wait == 2.0
    bench.clock.passed += 2.0
    bench.run()
    assert bench.sink.sends == [[1, 2, 3], [4]]


def test_what_is_too_old_for_a_sink() -> None:
    """A sink's own `ttl`: older events are dropped and counted, parked ones too; the rest goes on."""
    bench = Bench("a", "b", "c", word=bad("b"), ttl=60.0)
    bench.run()
    bench.clock.passed += 61.0
    bench.add("d")
    assert bench.store.states() == {2: ("retry", 1)}
    bench.run()
    assert bench.sink.positions == [1, 3, 4]
    assert (bench.store.dropped, bench.store.rows) == (1, {})
    bench = Bench("a", ttl=60.0)
    bench.clock.passed += 60.5
    assert bench.steps.run_once().dropped == 1
    assert (bench.store.dropped, bench.store.at, bench.sink.sends) == (1, 1, [])


# --- one document's trouble


def test_one_poisonous_document_holds_nobody() -> None:
    """It is parked with its later events, in order; the cursor and all others go on as if it were not there."""
    bench = Bench("a", "p", "b", "p", "c", word=bad("p", reason="500: no"), batch=2)
    bench.run()
    assert bench.store.at == 5
    assert bench.sink.positions == [1, 3, 5]
    assert bench.store.states() == {2: ("retry", 1), 4: ("waiting", 0)}
    assert bench.store.rows[2].error == "500: no"
    bench.sink.word = lambda event: None
    bench.run(5)
    assert bench.of("p") == [2, 4]
    assert bench.store.rows == {}


def test_dead_after_attempts_and_later_events_go_on() -> None:
    """Tried `attempts` times with growing pauses; then it is listed, and its document's next event has its turn."""
    bench = Bench("p", "a", "p", word=once(), attempts=3)
    times = []

    def word(event: Event) -> Outcome | None:
        if event.position == 1:
            times.append(bench.clock.passed)
            return retry("no")
        return None

    bench.sink.word = word
    bench.run(30)
    assert times == [0.0, 1.0, 3.0]
    assert bench.store.states() == {1: ("dead", 3)}
    assert bench.store.rows[1].error == "no"
    assert bench.sink.positions == [2, 3]
    assert bench.store.rows[1].newer == 3


def test_attempts_of_one() -> None:
    """The first failure is the last."""
    bench = Bench("p", "a", "p", word=once(p1=retry("no")), attempts=1)
    bench.run()
    assert (bench.store.states(), bench.sink.positions) == ({1: ("dead", 1)}, [2, 3])


def test_a_rejected_one_is_dead_at_once() -> None:
    """With its reason, cut to a sane length; later events of its document are not held."""
    bench = Bench("a", "b", "b", word=once(p2=rejected("too large" + "!" * 5000)))
    told = bench.steps.run_once()
    assert (told.sent, told.dead, told.parked) == (1, 1, 0)
    bench.run()
    assert bench.store.states() == {2: ("dead", 1)}
    assert 9 < len(bench.store.rows[2].error) <= 2000
    assert bench.sink.positions == [1, 3]


def test_a_where_without_an_answer() -> None:
    """Whether the sink is to have it cannot be told: it is dead with the expression; corrected and redriven it goes."""
    route = Route(0, frozenset([NAME]), frozenset(), compile_where("id == 'b' || int(id) == 1"))
    bench = Bench("a", "b", routes=[route])
    bench.run()
    assert bench.sink.positions == [2]
    assert bench.store.states() == {1: ("dead", 1)}
    assert "int(id) == 1" in bench.store.rows[1].error
    bench.router = Bench().router
    bench.store.mark(1, "redriven")
    bench.boot()
    bench.run()
    assert bench.sink.positions == [2, 1]


def test_retry_after_of_one_document() -> None:
    """What the target asks for is kept, where others went through after it; an absurd one is cut to an hour."""
    for asked, until in ((30.0, 30.0), (0.0, 1.0), (10.0**9, HOUR)):
        bench = Bench("p", "a", word=once(p1=retry("busy", asked)))
        bench.run()
        assert bench.sink.positions == [2]
        assert bench.store.rows[1].next_try - bench.clock.now().timestamp() == pytest.approx(until)


def test_the_second_of_two_events_of_a_document_fails() -> None:
    """The first is delivered, the second parked, the third waits."""
    bench = Bench("p", "p", "p", "a", word=once(p2=retry("no")))
    bench.run()
    assert bench.sink.positions == [1, 4]
    assert bench.store.states() == {2: ("retry", 1), 3: ("waiting", 0)}
    bench.run(2)
    assert bench.of("p") == [1, 2, 3]


def test_a_lonely_failure_is_its_documents() -> None:
    """With nothing else to compare, the only document that fails counts attempts, and what comes is not held."""
    bench = Bench("p", word=bad("p"), attempts=4)
    bench.run(0.5)
    assert bench.store.states() == {1: ("retry", 1)}
    bench.add("a")
    bench.run()
    assert bench.sink.positions == [2]
    bench.run(60)
    assert bench.store.states() == {1: ("dead", 4)}


def test_restart_with_parked_documents() -> None:
    """A new process knows who is parked, since when and how often tried; later events still wait behind."""
    bench = Bench("p", "a", word=bad("p"))
    bench.run(4)
    tried = bench.store.rows[1].attempts
    assert tried == 3
    bench.boot()
    bench.add("p")
    bench.add("b")
    bench.run()
    assert bench.sink.positions == [2, 4]
    assert bench.store.states() == {1: ("retry", tried), 3: ("waiting", 0)}
    bench.sink.word = lambda event: None
    bench.boot()
    bench.run(10)
    assert bench.of("p") == [1, 3]


def test_two_poisonous_at_the_end_of_a_batch() -> None:
    """Nothing goes through after them, which looks like a target that is down; soon they are found out all the same."""
    bench = Bench(*"abcd", "p", "q", word=bad("p", "q"), batch=6, attempts=3)
    for n in range(20):
        bench.add(f"x{n}")
    bench.run(10)
    assert len(bench.sink.got) == 24
    bench.run(60)
    assert bench.store.dead() == [5, 6]


def test_a_sink_that_raises_for_one_document() -> None:
    """The whole batch fails with it, every time: probes find the one, and all others get through."""

    class Raising(FakeSink):
        def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
            self.sends.append([event.position for event in events])
            if any(event.doc_id == "p" for event in events):
                raise Retryable("it broke")
            self.got += events
            return [OK] * len(events)

    bench = Bench("p", *(f"d{n}" for n in range(50)), sink=Raising(), attempts=3)
    bench.run(120)
    for n in range(20):
        bench.add(f"e{n}")
        bench.run(60)
    assert bench.store.dead() == [1]
    assert Counter(bench.sink.positions) == Counter(range(2, 72))


def test_a_document_that_makes_the_target_hang() -> None:
    """The sink says that the target is at fault, and has the rest wait: a probe shows that it is not."""
    bench = Bench("p", *"abcdefgh", word=bad("p", reason="no answer"), sink=FakeSink(one_fault=True), attempts=3)
    bench.run(5)
    assert bench.sink.positions == list(range(2, 10))
    for n in range(12):
        bench.add(f"x{n}")
        bench.run(2)
    assert bench.store.dead() == [1]


# --- the target's trouble


def outage(bench: Bench, until: float, how: Word) -> Word:
    return lambda event: how(event) if bench.clock.passed < until else None


@pytest.mark.parametrize("how", ["500", "raise", "one fault", "open"])
def test_an_hour_of_trouble_costs_nothing(how: str) -> None:
    """Nobody is parked or loses an attempt, the cursor stays, the target is asked gently; then all arrives, once."""

    class Sink(FakeSink):
        def open(self) -> None:
            super().open()
            if how == "open" and bench.clock.passed < HOUR:
                raise Retryable("refused")

    bench = Bench(*(f"d{n % 700}" for n in range(2000)), batch=100, attempts=3, sink=Sink(one_fault=how == "one fault"))
    down = Retryable("gone") if how == "raise" else retry("500")
    bench.sink.word = outage(bench, HOUR, lambda event: down)  # type: ignore[arg-type,return-value]
    bench.run(HOUR - 1)
    assert (bench.store.at, bench.store.rows) == (0, {})
    assert len(bench.sink.sends) + len(bench.sink.calls) < 250
    told = bench.steps.run_once()
    assert told.error
    assert 0 < (told.wait or 0) <= 60
    bench.run(90)
    assert bench.store.at == 2000
    assert (bench.store.rows, bench.store.dropped) == ({}, 0)
    assert sorted(bench.sink.positions) == list(range(1, 2001))
    for n in range(700):
        assert bench.of(f"d{n}") == sorted(bench.of(f"d{n}"))


def test_an_hour_of_trouble_while_documents_trickle_in() -> None:
    """Each comes alone, and fails alone: the first is taken for the culprit, the next makes it an outage."""
    bench = Bench()
    bench.sink.word = outage(bench, HOUR, lambda event: retry("500"))
    for n in range(360):
        bench.add(f"d{n}")
        bench.run(10)
    assert len(bench.store.rows) <= 1
    assert bench.store.dead() == []
    bench.run(700)
    assert sorted(bench.sink.positions) == list(range(1, 361))
    assert bench.store.rows == {}


def test_a_document_that_was_parked_survives_an_outage() -> None:
    """While everybody fails, those who had failed before are not tried, and lose no attempt."""
    bench = Bench("p", "a", word=bad("p"), attempts=4)
    bench.run(1)
    assert bench.store.states() == {1: ("retry", 2)}
    begin = bench.clock.passed
    bench.sink.word = outage(bench, begin + HOUR, lambda event: retry("500"))
    for n in range(5):
        bench.add(f"x{n}")
    bench.run(HOUR + 61)
    assert bench.store.rows == {}
    assert sorted(bench.sink.positions) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("asked", [7.5, 120.0])
def test_a_target_that_asks_for_time(asked: float) -> None:
    """429 with Retry-After in the middle of a batch: the whole sink rests as long as asked, no attempt is counted."""
    bench = Bench(*(f"d{n}" for n in range(40)), batch=20, attempts=1)
    budget = [10]

    def word(event: Event) -> Outcome | None:
        if bench.clock.passed < asked - 0.5:
            budget[0] -= 1
            return None if budget[0] >= 0 else retry("429", asked)
        return None

    bench.sink.word = word
    bench.run(asked - 1)
    assert len(bench.sink.got) == 10
    sends = len(bench.sink.sends)
    bench.run(2)
    assert sends == 1
    assert sorted(bench.sink.positions) == list(range(1, 41))
    assert bench.store.rows == {}


def test_a_target_that_asks_for_no_time_at_all() -> None:
    """`Retry-After: 0` must not become a loop without a pause; pauses grow as if nothing had been asked."""
    bench = Bench(*"ab", word=lambda event: retry("busy", 0.0))
    bench.run(HOUR)
    assert 60 < len(bench.sink.sends) < 90


def test_a_flapping_target() -> None:
    """Up and down every few seconds for an hour, with documents coming in: all arrive in order, none is dead."""
    bench = Bench(attempts=5)
    bench.sink.word = lambda event: retry("503") if int(bench.clock.passed) % 10 < 5 else None
    for n in range(720):
        bench.add(f"d{n % 40}")
        bench.run(5)
    bench.sink.word = lambda event: None
    bench.run(700)
    assert (bench.store.rows, bench.store.at) == ({}, 720)
    assert Counter(bench.sink.positions) == Counter(range(1, 721))
    for n in range(40):
        assert bench.of(f"d{n}") == sorted(bench.of(f"d{n}"))


def test_the_wait_ends_early_for_another_document() -> None:
    """One document that hangs the sink alone: an event of another need not wait for the pause that it caused."""
    bench = Bench("p", "p2", word=bad("p", reason="hangs"), sink=FakeSink(one_fault=True))
    told = bench.steps.run_once()
    assert told.wake
    assert bench.steps.run_once().sent == 1


def test_a_sink_that_does_not_open() -> None:
    """It is not sent to; nothing moves; a setting that is wrong is named with the sink."""

    class Shut(FakeSink):
        def open(self) -> None:
            super().open()
            raise Retryable("not there yet") if len(self.calls) == 1 else ConfigError("path", "x", "no")

    bench = Bench("a", sink=Shut())
    assert bench.steps.run_once().error == "not there yet"
    assert bench.steps.run_once().wait
    bench.clock.passed += 1
    with pytest.raises(ConfigError, match=r"sinks\.target\.path"):
        bench.steps.run_once()
    assert (bench.sink.sends, bench.store.at) == ([], 0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_sink_that_answers_for_too_few_or_too_many(count: int) -> None:
    """It is its fault, and said to be; nothing moves."""

    class Odd(FakeSink):
        def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
            return [OK] * count

    bench = Bench(*"ab", sink=Odd())
    with pytest.raises(ConfigError, match=f"answered {count} of 2"):
        bench.steps.run_once()
    assert bench.store.at == 0


def test_a_state_that_cannot_be_written_costs_no_repeats() -> None:
    """A full disk for an hour: what the target took is not sent to it again and again."""
    bench = Bench("a", "p", "b", word=bad("p"))
    bench.run()
    bench.store.fails = StateError("full")
    bench.sink.word = lambda event: None
    bench.clock.passed += 5
    bench.add("c")
    for _ in range(20):
        with pytest.raises(StateError):
            bench.steps.run_once()
        bench.clock.passed += 5
    bench.store.fails = None
    bench.run()
    assert Counter(bench.sink.positions) == Counter([1, 2, 3, 4])
    assert (bench.store.at, bench.store.rows) == (4, {})


# --- sending again


def test_redriven_events_go_in_order() -> None:
    """Two dead ones of a document with nothing newer delivered: both are sent, the older first, later ones behind."""
    bench = Bench("p", "p", "a", word=once(p1=rejected("no"), p2=rejected("no")))
    bench.run()
    assert bench.store.dead() == [1, 2]
    for place in (1, 2):
        bench.store.mark(place, "redriven")
    bench.clock.passed += 1
    bench.add("p")
    bench.run()
    assert bench.of("p") == [1, 2, 4]
    assert bench.store.rows == {}


def test_a_redriven_event_does_not_overwrite_a_newer_state() -> None:
    """A newer one was delivered, perhaps after somebody asked: it stays dead and says why; forced, it is sent."""
    bench = Bench("p", "a", word=once(p1=rejected("no")))
    bench.run()
    bench.store.mark(1, "redriven")
    bench.add("p")
    bench.run()  # within the half second in which nobody has looked for wishes
    assert bench.of("p") == [3]
    bench.clock.passed += 1
    bench.run()
    assert bench.store.states() == {1: ("dead", 1)}
    assert bench.store.rows[1].newer == 3
    bench.store.mark(1, "forced")
    bench.clock.passed += 1
    bench.run()
    assert bench.of("p") == [3, 1]


def test_a_redriven_event_that_fails_again() -> None:
    """It has its attempts anew, and is dead again; once delivered, older dead ones know that it is newer."""
    bench = Bench("p", "p", "a", word=once(p1=rejected("a"), p2=rejected("b")), attempts=2)
    bench.run()
    bench.sink.word = bad("p", reason="c")
    bench.store.mark(2, "redriven")
    bench.clock.passed += 1
    bench.add("b")
    bench.run(30)
    assert bench.store.states() == {1: ("dead", 1), 2: ("dead", 2)}
    assert bench.store.rows[2].error == "c"
    bench.sink.word = lambda event: None
    bench.store.mark(2, "redriven")
    bench.run(1)
    bench.run()
    assert bench.of("p") == [2]
    assert bench.store.rows[1].newer == 2


# --- anything at all

words = st.sampled_from(["ok", "ok", "ok", "retry", "asked", "rejected", "raise"])
scenes = st.one_of(st.just("crash"), st.just("full"), st.integers(1, 400), st.lists(words, min_size=5, max_size=5))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=14),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.0, 3.0]),
    st.booleans(),
    st.lists(scenes, max_size=14),
)
def test_nothing_is_lost_or_goes_back(
    docs: list[str], batch: int, attempts: int, coalesce: float, one_fault: bool, script: list[str | int | list[str]]
) -> None:
    """Over any outcomes, crashes and full disks each event is taken or dead, and each document's in order."""
    bench = Bench(batch=batch, attempts=attempts, coalesce=coalesce, sink=FakeSink(one_fault=one_fault))
    for doc in docs:
        bench.add(doc, after={"n": bench.clock.passed}, before={"n": -1}, op="updated")
        bench.clock.passed += 1
    crashed = False

    def says(answers: list[str]) -> Word:
        kinds: dict[str, Outcome | Exception] = {
            "retry": retry("r"),
            "asked": retry("a", 3.0),
            "rejected": rejected("no"),
            "raise": Retryable("x"),
        }
        return lambda event: kinds.get(answers[event.position % len(answers)])

    def check() -> None:
        """Whatever the cursor has passed was taken, or is kept."""
        if not coalesce:
            there = set(bench.sink.positions) | set(bench.store.rows)
            assert set(range(1, (bench.store.at or 0) + 1)) <= there

    for scene in script:
        bench.store.fails = None
        if scene == "crash":
            bench.boot()
            crashed = True
        elif scene == "full":
            bench.store.fails = StateError("full")
        elif isinstance(scene, int):
            bench.clock.passed += scene / 10
        else:
            bench.sink.word = says(scene)  # type: ignore[arg-type]
        try:
            bench.steps.run_once()
        except StateError:
            assert bench.store.fails
        check()
    bench.store.fails = None
    bench.sink.word = lambda event: None
    bench.run(5000)
    assert bench.store.at == len(docs)
    dead = set(bench.store.rows)
    assert all(one.state == "dead" for one in bench.store.rows.values())
    got = bench.sink.positions
    if not coalesce:
        assert set(got) | dead == set(range(1, len(docs) + 1))
    for doc in set(docs):
        last = max(place for place, one in enumerate(docs, 1) if one == doc)
        of = bench.of(doc)
        assert last in dead or of[-1:] == [last]
        if not crashed:
            assert of == sorted(set(of))


@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_documents_and_a_poisonous_one(seed: int) -> None:
    """With one of 3,000 documents refused for ever, the others take as many sends, but a few, and no pause at all."""
    rng = random.Random(seed)
    docs = [f"d{rng.randrange(3000)}" for _ in range(6000)]

    def took(word: Word) -> tuple[float, int]:
        bench = Bench(*docs, batch=100, word=word)
        bench.run()
        return bench.clock.passed, len(bench.sink.sends)

    well, poisoned = took(lambda event: None), took(bad(docs[0]))
    assert well[0] == poisoned[0] == 0.0
    assert poisoned[1] <= well[1] + 2
