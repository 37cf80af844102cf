"""Delivery as users run it: one sink's fault stops that sink only, and the log keeps to its bounds, loudly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from esfeed.ports import Settlement
from tests.cli.test_dead import Feed
from tests.support.clients import eventually
from tests.support.hook import Hook


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made


def told(feed: Feed, event: str) -> list[dict[str, object]]:
    """What the running feed has logged under that name."""
    lines = (feed.folder / "log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line.get("event") == event]


def test_a_wrong_setting_of_one_sink_stops_that_one_only(tmp_path: Path, hook: Hook) -> None:
    """It is named in the log and in `status` with a hint; the other delivers, and the feed ends when told to."""
    feed = Feed(tmp_path, hook, '[sinks.wrong]\ntype = "file"\npath = "no/such/folder/x.jsonl"')
    try:
        feed.start()
        feed.log("a", "b")
        eventually(lambda: hook.ids() == ["a", "b"])
        eventually(lambda: told(feed, "sink.stopped"))
        # What became of a step is noted once a second.
        eventually(lambda: feed.status()["state"] == "ok")
        wrong = feed.status("wrong")
        assert (wrong["state"], wrong["backlog"]) == ("failing", 2)
        assert "folder does not exist" in wrong["error"]
        assert feed.process is not None
        feed.process.terminate()
        assert feed.process.wait(timeout=60) == 0
    finally:
        feed.end()


def test_a_target_that_comes_up_later(tmp_path: Path, hook: Hook) -> None:
    """The feed starts without it; once it is there, all arrives in order."""
    feed = Feed(tmp_path, hook)
    hook.word = lambda event: 503
    try:
        feed.start()
        feed.log(*(f"d{n % 5}" for n in range(30)))
        eventually(lambda: feed.status()["state"] == "failing")
        hook.word = lambda event: None
        eventually(lambda: feed.status()["backlog"] == 0, seconds=60)
        eventually(lambda: feed.status()["parked"] == 0, seconds=60)
        for doc in range(5):
            places = [event["data"]["position"] for event in hook.got if event["data"]["id"] == f"d{doc}"]
            assert places == sorted(places)
            assert len(places) == 6
    finally:
        feed.end()


def test_the_log_keeps_to_its_bounds(tmp_path: Path, hook: Hook) -> None:
    """What a failing sink had not had is dropped, counted, logged and shown; a sink of the past holds nothing."""
    feed = Feed(tmp_path, hook, more='ttl = "1s"')
    hook.word = lambda event: (503, {"retry-after": "600"}, "")
    try:
        feed.store.outbox.settle("of-the-past", Settlement(0))
        feed.log("a", "b", "c")  # years old, by their own time
        feed.start()
        eventually(lambda: told(feed, "log.dropped"), seconds=30)
        (line,) = told(feed, "log.dropped")
        assert (line["sink"], line["entries"]) == ("hook", 3)
        assert "ttl" in str(line["hint"])
        status = json.loads(feed("status", "--json").stdout)
        assert status["log"] == {"first": None, "bytes": 0}
        assert (status["sinks"]["hook"]["dropped"], status["sinks"]["hook"]["backlog"]) == (3, 0)
    finally:
        feed.end()


@pytest.mark.parametrize(
    ("sink", "more", "words"),
    [
        ("attempts = 0", "", ("sinks.hook.attempts = 0",)),
        ('persist = false\ncoalesce = "1s"', "", ("sinks.hook.coalesce", "persist = false")),
        ('coalesce = "2h"', "", ("sinks.hook.coalesce",)),
        ('ttl = "0s"', "", ("sinks.hook.ttl",)),
        ("batch_bytes = 0", "", ("sinks.hook.batch_bytes",)),
        ("", 'ttl = "0s"', ("ttl",)),
        ("", 'max_log = "1KB"', ("max_log",)),
    ],
)
def test_wrong_terms(tmp_path: Path, hook: Hook, sink: str, more: str, words: tuple[str, ...]) -> None:
    """The key is named, and what stands there."""
    feed = Feed(tmp_path, hook, sink, more)
    try:
        feed.says(2, *words, args=("poll",))
    finally:
        feed.end()
