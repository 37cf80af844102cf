"""Past the log: what a backfill brings straight to a sink, and what it leaves to the log."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from esfeed.delivery.direct import Direct
from esfeed.delivery.target import Target
from esfeed.delivery.terms import Terms
from esfeed.errors import ConfigError, Retryable
from esfeed.event import Event, Key
from esfeed.ports import OK, Entry, Parked, rejected, retry
from esfeed.routing import Route, Router, compile_where
from esfeed.testing.events import sample_event
from tests.delivery.fakes import NAME, FakeSink, FakeStore, Word


def entries(*docs: str) -> list[Entry]:
    return [
        Entry(Key("_doc", doc), sample_event(position=place, doc_id=doc, op="read", watch="w"))
        for place, doc in enumerate(docs, 101)
    ]


def left(found: Sequence[Entry]) -> list[str]:
    return [entry.key.id for entry in found]


class Way:
    """A direct way to a sink over fakes."""

    def __init__(self, word: Word = lambda event: None, routes: Sequence[Route] = (), **terms: object) -> None:
        self.store, self.sink = FakeStore(), FakeSink(word)
        router = Router(routes, [NAME], ["w"])
        target = Target(NAME, self.sink)
        self.direct = Direct(NAME, target, router, self.store, Terms(**terms))  # type: ignore[arg-type]

    def bring(self, *docs: str) -> list[str]:
        return left(self.direct.bring(entries(*docs), lambda: False))

    @property
    def got(self) -> list[str]:
        return [event.doc_id for event in self.sink.got]


def test_all_goes_out_in_batches_and_in_order() -> None:
    way = Way(batch=2)
    assert way.bring("a", "b", "c", "d", "e") == []
    assert way.got == ["a", "b", "c", "d", "e"]
    assert way.sink.sends == [[101, 102], [103, 104], [105]]
    assert way.direct.sent == 5


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
    names = {"a": '{"n": 1}', "b": '{"n": "x"}', "c": '{"n": 5}'}
    route = Route(0, frozenset([NAME]), where=compile_where("after.n > 2"))
    way = Way(routes=[route])
    some = [
        Entry(Key("_doc", doc), sample_event(position=place, doc_id=doc, op="read", watch="w", after=text.encode()))
        for place, (doc, text) in enumerate(names.items(), 1)
    ]
    assert left(way.direct.bring(some, lambda: False)) == ["b"]
    assert way.got == ["c"]


def test_told_to_stop_it_leaves_the_rest_to_the_log() -> None:
    way = Way(batch=1)
    found = way.direct.bring(entries("a", "b", "c"), lambda: bool(way.sink.got))
    assert (way.got, left(found)) == (["a"], ["b", "c"])
