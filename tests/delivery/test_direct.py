"""Past the log: what a backfill brings straight to a sink, and what it leaves to the log."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from esfeed.changes.events import EventFactory
from esfeed.changes.profiles.plain import PlainProfile
from esfeed.delivery.direct_writer import DirectWriter
from esfeed.delivery.options import DeliveryOptions
from esfeed.delivery.target import Target
from esfeed.envelopes.cloudevents import cloudevent
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Document, Event, Key
from esfeed.ports import OK, Entry, Parked, Stop, rejected, retry
from esfeed.routing.patterns import Patterns
from esfeed.routing.router import Route, Router, compile_where
from esfeed.routing.tally import Tally
from tests.delivery.fakes import NAME, FakeClock, FakeSink, FakeStore, Word


def documents(**docs: str) -> list[Document]:
    return [Document(Key("_doc", doc), "i", "uuid", 1, 7, text.encode()) for doc, text in docs.items()]


def left(found: Sequence[Entry]) -> list[str]:
    return [entry.key.id for entry in found]


class Way:
    """A direct way to a sink over fakes."""

    def __init__(
        self,
        word: Word = lambda event: None,
        routes: Sequence[Route] = (),
        sink: FakeSink | None = None,
        **options: Any,
    ) -> None:
        self.store, self.sink = FakeStore(), sink or FakeSink(word)
        router = Router(routes, [NAME], ["w"])
        target = Target(NAME, self.sink)
        event_factory = EventFactory("w", "main", "at", PlainProfile(), FakeClock())
        store: Any = self.store
        self.tally = Tally("w", router)
        self.direct = DirectWriter(
            NAME, "w", target, router, store, store, DeliveryOptions(**options), event_factory, self.tally
        )

    def bring(self, *docs: str, stop: Stop = lambda: False) -> list[str]:
        entries = self.direct.bring(documents(**dict.fromkeys(docs, "{}")), 101, stop)
        return left([*entries, *self.direct.finish()])

    @property
    def got(self) -> list[str]:
        return [event.doc_id for event in self.sink.got]


def test_all_goes_out_in_batches_and_in_order() -> None:
    way = Way(batch=2)
    assert way.bring("a", "b", "c", "d", "e") == []
    assert way.got == ["a", "b", "c", "d", "e"]
    assert way.sink.sends == [[101, 102], [103, 104], [105]]


def test_a_batch_has_no_more_bytes_than_it_may() -> None:
    way = Way(batch_bytes=1)
    assert way.bring("a", "b") == []
    assert way.sink.sends == [[101], [102]]


@pytest.mark.parametrize("word", [retry("busy"), rejected("never")])
def test_what_is_not_taken_and_all_behind_its_batch_goes_through_the_log(word: object) -> None:
    def say(event: Event) -> object:
        return word if event.doc_id == "b" else OK

    way = Way(say, batch=3)  # type: ignore[arg-type]
    assert way.bring("a", "b", "c", "d", "e") == ["b", "d", "e"]
    assert way.got == ["a", "c"]


def test_a_target_that_is_down_gets_all_through_the_log() -> None:
    way = Way(lambda event: Retryable("down", ""), batch=2)
    assert way.bring("a", "b", "c") == ["a", "b", "c"]
    assert way.sink.calls == ["open", "close"]


def test_a_wrong_setting_is_named() -> None:
    way = Way(lambda event: ConfigError("url", "x", "correct it"))
    with pytest.raises(ConfigError, match="url"):
        way.bring("a")


def test_nothing_overtakes_what_is_in_the_log() -> None:
    way = Way()
    way.store.add("a")
    assert way.bring("a", "b") == ["a", "b"]
    way.store.at = 1
    assert way.bring("a", "b") == []


@pytest.mark.parametrize("state", ["retry", "waiting", "dead", "redriven"])
def test_nothing_overtakes_what_is_parked_or_may_be_sent_again(state: str) -> None:
    way = Way()
    way.store.rows[1] = Parked(NAME, 1, 1, "500", (1, b"a"), state)  # type: ignore[arg-type]
    assert way.bring("a", "b") == ["a", "b"]


def test_a_sink_that_merges_needs_the_log() -> None:
    assert Way(coalesce=5.0).bring("a") == ["a"]


def test_routes_hold() -> None:
    """What a route leaves out goes nowhere; what it cannot tell goes through the log, where that is told."""
    way = Way(routes=[Route(0, frozenset([NAME]), where=compile_where("after.n > 2"))])
    some = documents(a='{"n": 1}', b='{"n": "x"}', c='{"n": 5}')
    assert left(way.direct.bring(some, 1, lambda: False)) == ["b"]
    assert way.got == ["c"]


def test_told_to_stop_it_leaves_the_rest_to_the_log() -> None:
    way = Way(batch=1)
    assert way.bring("a", "b", "c", stop=lambda: bool(way.sink.got)) == ["b", "c"]
    assert way.got == ["a"]


class LineSink(FakeSink):
    """A sink that takes ready lines, at most ``room`` of them."""

    lines = "cloudevents"
    room = 1000

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def write(self, lines: Sequence[bytes]) -> int:
        assert self.gate.wait(30)
        if not self.room:
            raise Retryable("full", "")
        taken = [*lines[: self.room]]
        self.room -= len(taken)
        self.written = [*getattr(self, "written", []), *taken]
        return len(taken)


def test_lines_go_as_lines_and_are_the_very_same() -> None:
    way, other = Way(sink=LineSink()), Way()
    assert way.bring("a", "b", "c") == []
    assert other.bring("a", "b", "c") == []
    assert way.sink.sends == []
    assert way.sink.written == [cloudevent(event) + b"\n" for event in other.sink.got]  # type: ignore[attr-defined]


def test_lines_that_are_not_taken_go_through_the_log() -> None:
    sink = LineSink()
    sink.room = 2
    way = Way(sink=sink)
    assert way.bring("a", "b", "c", "d") == ["c", "d"]
    assert way.direct.bring(documents(e="{}"), 105, lambda: False) == ()
    assert [entry.event.position for entry in way.direct.finish()] == [105]
    assert sink.calls == ["open", "close"]


def test_what_comes_behind_lines_that_were_not_taken_goes_through_the_log() -> None:
    """The next page is there before it is known that the one before failed; it must not overtake the rest of that."""
    sink = LineSink()
    sink.room = 2
    way = Way(sink=sink)
    assert way.direct.bring(documents(a="{}", b="{}", c="{}"), 101, lambda: False) == ()
    sink.room = 1000  # there is room again
    found = way.direct.bring(documents(d="{}", e="{}"), 104, lambda: False)
    assert [entry.event.position for entry in found] == [103, 104, 105]
    assert way.direct.finish() == ()


def test_a_page_is_made_while_the_one_before_is_written() -> None:
    sink = LineSink()
    sink.gate.clear()
    way = Way(sink=sink)
    assert way.direct.bring(documents(a="{}"), 101, lambda: False) == ()
    sink.gate.set()
    assert way.direct.bring(documents(b="{}"), 102, lambda: False) == ()
    assert way.direct.finish() == ()
    way.direct.close()
    assert [json.loads(line)["data"]["id"] for line in sink.written] == ["a", "b"]


def test_a_wrong_setting_of_a_sink_of_lines_is_named_in_the_end() -> None:
    class Wrong(LineSink):
        def open(self) -> None:
            raise ConfigError("path", "x", "correct it")

    way = Way(sink=Wrong())
    assert way.direct.bring(documents(a="{}"), 101, lambda: False) == ()
    with pytest.raises(ConfigError, match="path"):
        way.direct.finish()


@pytest.mark.parametrize(
    "route",
    [
        Route(0, frozenset([NAME]), where=compile_where("op == 'read'")),
        Route(0, frozenset([NAME]), tenant="t"),
        Route(0, frozenset([NAME]), types=Patterns(["x*"])),
    ],
)
def test_what_a_route_looks_into_never_goes_as_lines(route: Route) -> None:
    way = Way(sink=LineSink(), routes=[route])
    way.bring("a")
    assert not hasattr(way.sink, "written")


@pytest.mark.parametrize("clear", [True, False])
def test_what_routes_leave_out_is_counted(clear: bool) -> None:
    """Each event once, whether it goes out at once or through the log; an event without an answer is not left out."""
    way = Way(routes=[Route(0, frozenset([NAME]), where=compile_where("int(id) > 2"))])
    if not clear:
        way.store.rows[1] = Parked(NAME, 1, 1, "500", (1, b"a"), "retry")
    way.bring("1", "2", "3", "b")
    assert way.tally.report() == [
        f'w: the routes left out 2 of 4 events for {NAME} (routes[0].where = "int(id) > 2"); '
        "the events of a backfill have op 'read'"
    ]
    assert not way.tally.nothing
    none = Way(routes=[Route(0, frozenset([NAME]), where=compile_where("op != 'read'"))])
    assert not none.tally.nothing
    none.bring("1", "2")
    assert none.tally.nothing


def test_a_sink_that_gets_everything_has_nothing_left_out() -> None:
    """Also where it refuses an event, which then goes through the log."""
    way = Way(word=lambda event: retry("not now"))
    assert way.bring("1", "2") == ["1", "2"]
    assert way.tally.report() == []
    assert not way.tally.nothing
