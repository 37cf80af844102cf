"""Data streams, by their own name, by a pattern and by an alias: rollovers, retention, and old backing indices."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from esfeed.errors import ConfigError, NameGone
from tests.engines.test_moves import told
from tests.engines.test_oracle import Feed
from tests.support.clients import Raw, Refused

pytestmark = pytest.mark.engines

STREAMS = pytest.mark.parametrize("engine", ["es8", "es9", "os2", "os3"], indirect=True)
"""The builds of 7.x and before have none."""

AT = "2026-01-01T00:00:00Z"


class Stream:
    """A data stream of its own, on one engine, in its own words."""

    def __init__(self, raw: Raw, name: str) -> None:
        self.raw = raw
        self.name = name
        self._template = f"{name}-template"
        raw.call(
            "PUT",
            f"/_index_template/{self._template}",
            {
                "index_patterns": [name],
                "data_stream": {},
                "priority": 500,
                "template": {"settings": {"number_of_shards": 1, "number_of_replicas": 0}},
            },
        )

    def add(self, *ids: str, **fields: Any) -> None:
        """A stream takes new documents only."""
        self.raw.bulk(self.name, [({"create": {"_id": id}}, {"@timestamp": AT, **fields}) for id in ids])
        self.raw.refresh(self.name)

    def update(self, backing: str, id: str, **fields: Any) -> None:
        """Behind the stream's back: only by the number of the operation that it follows."""
        before = self.raw.call("GET", f"/{backing}/_doc/{id}")
        numbers = {"if_seq_no": before["_seq_no"], "if_primary_term": before["_primary_term"]}
        self.raw.call("PUT", f"/{backing}/_doc/{id}", {"@timestamp": AT, **fields}, **numbers)

    def roll_over(self) -> None:
        self.raw.call("POST", f"/{self.name}/_rollover")

    def backing(self) -> list[str]:
        """Its indices, oldest first."""
        return sorted(self.raw.call("GET", f"/{self.name}/_settings"))

    def delete(self) -> None:
        """Where the build has no API to delete a stream, an empty backing index is left: none deletes the last one."""
        try:
            self.raw.call("DELETE", f"/_data_stream/{self.name}")
        except Refused:
            self.roll_over()
            for old in self.backing()[:-1]:
                self.raw.call("DELETE", f"/{old}")
        else:
            self.raw.call("DELETE", f"/_index_template/{self._template}")


@pytest.fixture
def stream(raw: Raw) -> Iterator[Stream]:
    """A stream without documents."""
    made = Stream(raw, f"qa-{secrets.token_hex(5)}")
    yield made
    made.delete()


@pytest.mark.parametrize(
    ("engine", "form"),
    [*((name, "{}") for name in ("es8", "es9", "os2", "os3")), ("os3", "{}*"), ("os3", "{},no-such-*")],
    indirect=["engine"],
)
def test_a_stream_through_its_life(stream: Stream, follow: Callable[..., Feed], form: str) -> None:
    """Rollover; writes to the old backing index; the same id in two of them; retention, which deletes."""
    raw = stream.raw
    stream.add("a", "b", v=1)
    feed = follow(form.format(stream.name))
    assert told(feed.poll()) == [("read", "a"), ("read", "b")]
    assert feed.app.trackers["w"].name == "seq_no"
    assert feed.app.trackers["w"].check(feed.app.store.commits.checkpoint("w")).startswith("1 index behind")
    stream.roll_over()
    assert feed.poll() == []
    stream.add("a", "c", v=2)
    old, new = stream.backing()
    events = feed.poll()
    assert told(events) == [("created", "a"), ("created", "c")]
    assert {event["data"]["origin"]["index"] for event in events} == {new}
    stream.update(old, "b", v=3)
    raw.delete(old, "a")
    raw.refresh(stream.name)
    assert told(feed.poll()) == [("deleted", "a"), ("updated", "b")]
    assert feed.poll() == []
    assert feed.app.trackers["w"].name == "seq_no"
    raw.call("DELETE", f"/{old}")
    events = feed.poll()
    assert told(events) == [("deleted", "b")]
    assert events[0]["data"]["origin"]["index"] == old
    assert feed.poll() == []


@pytest.mark.parametrize("engine", ["es8", "es9"], indirect=True)  # OpenSearch has no aliases of streams
def test_a_stream_behind_an_alias(stream: Stream, follow: Callable[..., Feed]) -> None:
    """The same id in two backing indices is two documents there, too; a rollover is no move."""
    alias = f"{stream.name}-alias"
    stream.add("a", v=1)
    stream.raw.alias(stream.name, alias)
    feed = follow(alias)
    assert told(feed.poll()) == [("read", "a")]
    stream.roll_over()
    stream.add("a", v=2)
    assert told(feed.poll()) == [("created", "a")]
    stream.raw.call("DELETE", f"/{stream.backing()[0]}")
    assert told(feed.poll()) == [("deleted", "a")]
    stream.raw.alias(stream.name, f"{alias}-filtered", filter={"term": {"v": 1}})
    with pytest.raises(ConfigError, match="this alias has a filter"):
        feed.app.clusters["w"].resolve(f"{alias}-filtered", "w")


@STREAMS
def test_a_stream_by_its_dates(stream: Stream, follow: Callable[..., Feed]) -> None:
    """By its one date, as it has no sequence numbers that count."""
    stream.add("a", v=1)
    feed = follow(stream.name, tracker="updated_at", timestamp_field="@timestamp")
    assert told(feed.poll()) == [("read", "a")]
    stream.roll_over()
    stream.add("a", "b", v=2)
    assert told(feed.poll()) == [("created", "a"), ("created", "b")]
    old, _ = stream.backing()
    stream.raw.delete(old, "a")
    stream.raw.refresh(stream.name)
    assert told(feed.poll()) == [("deleted", "a")]


@STREAMS
def test_a_stream_that_is_not_there(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """The error knows of such names."""
    with pytest.raises(NameGone, match="no index, alias or data stream"):
        follow(index).poll()
