"""Sinks that leave the settings, or get another name: what waits for them is named, moved or given up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from esfeed.store.state import SqlState
from tests.cli.test_dead import Feed
from tests.support.clients import eventually
from tests.support.hook import Hook


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        made.word = lambda event: 422 if event["data"]["id"].startswith("no") else None
        yield made


@pytest.fixture
def feed(tmp_path: Path, hook: Hook) -> Iterator[Feed]:
    """A feed with a dead event and two log entries of a sink that has another name by now."""
    made = Feed(tmp_path, hook)
    made.log("a", "no-1")
    made("poll")
    made.config.write_text(made.config.read_text().replace("[sinks.hook]", "[sinks.new]"))
    made.log("b", "c")
    yield made
    made.end()


def listed(feed: Feed) -> dict[str, tuple[int, int]]:
    done = feed("sinks", "--json")
    assert done.returncode == 0, done.stderr
    return {row["name"]: (row["backlog"], row["dead"]) for row in json.loads(done.stdout)}


def test_it_is_named_wherever_one_looks(feed: Feed) -> None:
    """By check, by status and by run, with what waits and what to do."""
    words = "sink hook is not in the settings: 2 log entries, 0 parked and 1 dead events wait for it"
    for command in ("check", "status"):
        told = feed(command).stdout
        assert words in told
        assert "esfeed sinks rename OLD NEW" in told
    assert json.loads(feed("status", "--json").stdout)["left"]["hook"]["backlog"] == 2
    assert "not in the settings" in feed("sinks").stdout
    assert listed(feed) == {"hook": (2, 1), "new": (0, 0)}
    feed.start()
    eventually(lambda: "sink.left" in (feed.folder / "log.jsonl").read_text())
    feed.says(1, "in use by `esfeed run`", args=("sinks", "forget", "hook"))
    feed.says(1, "in use by `esfeed run`", args=("sinks", "rename", "hook", "new"))


def test_rename(feed: Feed, hook: Hook) -> None:
    """The new one goes on where the old one was, also where it has a place of its own by now."""
    feed("poll")
    assert hook.ids() == ["a"]
    feed.says(0, "new continues where hook stopped: 2 log entries", args=("sinks", "rename", "hook", "new"))
    feed("poll")
    assert hook.ids() == ["a", "b", "c"]
    assert listed(feed) == {"new": (0, 1)}
    assert [one["sink"] for one in feed.dead()] == ["new"]
    assert "not in the settings" not in feed("status").stdout


def test_forget(feed: Feed) -> None:
    """Nothing of it is left, and nobody hears of it any more."""
    feed.says(0, "hook: forgotten", args=("sinks", "forget", "hook"))
    assert listed(feed) == {"new": (0, 0)}
    store = SqlState(f"sqlite:///{feed.folder}/state.db")
    assert "hook" not in {*store.sinks.cursors(), *store.dead_letters.counts(), *store.notes.all("sink")}
    store.close()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("forget", "new"), "the settings still define it"),
        (("rename", "new", "hook"), "the settings still define it"),
        (("forget", "hok"), 'the state has no such sink; did you mean "hook"'),
        (("rename", "hook", "nwe"), 'the settings have no such sink; did you mean "new"'),
    ],
)
def test_wrong_names(feed: Feed, args: tuple[str, ...], words: str) -> None:
    """What is wrong is named, and nothing is changed."""
    feed.says(2, words, args=("sinks", *args))
    assert listed(feed)["hook"] == (2, 1)
