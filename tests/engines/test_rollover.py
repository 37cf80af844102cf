"""An alias that rolls over, with no other setting than its name, where documents have no ``updated_at``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from esfeed.errors import ConfigError
from tests.engines.test_moves import told
from tests.engines.test_oracle import Feed
from tests.support import feed as command
from tests.support.clients import Raw
from tests.support.world import Replay, truth

pytestmark = pytest.mark.engines


def add(raw: Raw, index: str, *ids: str, v: int = 1) -> None:
    raw.bulk(index, [({"index": {"_id": id}}, {"v": v}) for id in ids], refresh="true")


def roll_over(raw: Raw, alias: str, old: str, new: str) -> None:
    """As the API does it, and as one does it where that is missing: both stay behind the alias."""
    if raw.engine.distribution == "opensearch" or raw.engine.major >= 7:
        raw.call("POST", f"/{alias}/_rollover")
    else:
        raw.create(new)
        raw.alias(new, alias)


def test_a_healthy_watch_goes_on(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """Through two rollovers: changes in all indices, a delete in each, and the oldest one deleted."""
    alias, names = f"{index}-roll", [f"{index}-00000{number}" for number in (1, 2, 3)]
    raw.create(names[0])
    raw.alias(names[0], alias, **({"is_write_index": True} if not raw.typed else {}))
    add(raw, names[0], "a", "b")
    feed, replay = follow(alias), Replay()
    tracker = feed.app.trackers["w"]
    replay.apply(feed.poll())
    for number in (1, 2):
        roll_over(raw, alias, names[number - 1], names[number])
        assert feed.poll() == []
        add(raw, names[number], f"c{number}", f"d{number}")
        add(raw, names[0], "b", v=number + 1)
        events = feed.poll()
        assert told(events) == [("created", f"c{number}"), ("created", f"d{number}"), ("updated", "b")]
        replay.apply(events)
        raw.delete(names[number], f"c{number}")
        raw.refresh(names[number])
        events = feed.poll()
        assert told(events) == [("deleted", f"c{number}")]
        replay.apply(events)
        assert f"tracker {tracker.name}" in tracker.check(feed.app.store.commits.checkpoint("w"))
    assert replay.differences(truth(raw, alias)) == []
    raw.call("DELETE", f"/{names[0]}")
    replay.apply(feed.poll())
    assert replay.differences(truth(raw, alias)) == []
    assert feed.poll() == []


@pytest.mark.parametrize("engine", ["es9", "os3"], indirect=True)
def test_the_commands_say_the_same(raw: Raw, index: str, tmp_path: Path) -> None:
    """After the rollover both succeed."""
    alias = f"{index}-roll"
    raw.create(f"{index}-000001")
    raw.alias(f"{index}-000001", alias, is_write_index=True)
    add(raw, f"{index}-000001", "a")
    feed = command.Feed(tmp_path, raw.engine.url, alias)
    feed.poll()
    roll_over(raw, alias, f"{index}-000001", f"{index}-000002")
    checked = feed("check")
    assert checked.returncode == 0, checked.stderr
    assert "2 indices behind" in checked.stdout
    assert "tracker updated_at" in checked.stdout
    feed.poll()


@pytest.mark.parametrize("engine", ["es2", "es9", "os3"], indirect=True)
def test_a_date_that_is_named_and_that_nobody_has(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """Behind an alias of two indices, where it would be gone by: an error of the settings, before a poll and at it."""
    for end in "ab":
        raw.create(f"{index}-{end}")
        raw.alias(f"{index}-{end}", f"{index}-alias")
        add(raw, f"{index}-{end}", end)
    feed = follow(f"{index}-alias", timestamp_field="nobody_has_it")
    for act in (lambda: feed.app.trackers["w"].check(None), feed.poll):
        with pytest.raises(ConfigError, match=r"watches\.w\.timestamp_field"):
            act()


@pytest.mark.parametrize("engine", ["es6", "es9", "os3"], indirect=True)
def test_check_says_what_a_poll_says_of_sequence_numbers(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """Asked for, behind an alias of two indices."""
    for end in "ab":
        raw.create(f"{index}-{end}")
        raw.alias(f"{index}-{end}", f"{index}-alias")
    feed = follow(f"{index}-alias", tracker="seq_no")
    said = []
    for act in (lambda: feed.app.trackers["w"].check(None), feed.poll):
        with pytest.raises(ConfigError, match="points to several indices") as caught:
            act()
        said.append(str(caught.value))
    assert said[0] == said[1]
