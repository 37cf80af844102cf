"""Situations that people reported of programs of this kind; ``docs/decisions`` lists the threads and the outcomes.

Each is played by sequence numbers and by dates, on the newest engine of either kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esfeed.errors import ConfigError, EsfeedError
from tests.engines.test_oracle import Feed
from tests.support.clients import Raw
from tests.support.engines import Engine
from tests.support.world import Replay, truth

pytestmark = pytest.mark.engines

STAMP = 1_700_000_000_000
DATED = {"updated_at": {"type": "date"}}


@pytest.fixture(params=["es9", "os3"])
def engine(request: pytest.FixtureRequest, started: Any) -> Engine:
    made: Engine = started(request.param)
    return made


class Played:
    """One name that is watched, and the events of its feed, replayed and compared after each poll."""

    def __init__(self, raw: Raw, name: str, folder: Path, tracker: str) -> None:
        self.raw, self.name, self.folder, self.tracker = raw, name, folder, tracker
        self.replay = Replay()
        self.feed: Feed | None = None

    def polled(self, **watch: Any) -> list[tuple[str, str]]:
        """Refreshes and polls; the (op, id) of what was told, which has to make up what the name has now."""
        self.raw.refresh(self.name)
        if self.feed is None:
            self.feed = Feed(self.raw.engine.url, self.name, self.folder, tracker=self.tracker, **watch)
        events = self.feed.poll()
        self.replay.apply(events)
        assert self.replay.differences(truth(self.raw, self.name)) == []
        return sorted((event["data"]["op"], event["data"]["id"]) for event in events)

    def texts(self) -> list[str]:
        """The contents that the log has, as JSON text."""
        assert self.feed is not None
        rows = self.feed.app.store.log.read(0, 1000)
        return [bytes(row.event.after).decode() for row in rows if row.event.after is not None]


@pytest.fixture(params=["auto", "updated_at"])
def played(request: pytest.FixtureRequest, raw: Raw, index: str, tmp_path: Path) -> Iterator[Played]:
    made = Played(raw, index, tmp_path, request.param)
    yield made
    if made.feed is not None:
        made.feed.close()


def test_documents_without_the_tracking_field(played: Played) -> None:
    """logstash-input-elasticsearch #205: each document had to have it."""
    played.raw.create(played.name, DATED)
    played.raw.put(played.name, "dated", {"updated_at": STAMP})
    played.raw.put(played.name, "undated", {"n": 1})
    assert played.polled() == [("read", "dated"), ("read", "undated")]
    played.raw.put(played.name, "undated", {"n": 2})
    played.raw.put(played.name, "null", {"updated_at": None})
    assert played.polled() == [("created", "null"), ("updated", "undated")]


def test_documents_that_arrive_late_or_in_batches(played: Played) -> None:
    """kafka-connect-elasticsearch-source #65: records missed; ElastAlert #2045: alerts sent twice."""
    played.raw.create(played.name, DATED)
    played.raw.put(played.name, "new", {"updated_at": STAMP})
    played.polled()
    day = 86_400_000
    played.raw.bulk(played.name, [({"index": {"_id": f"b{n}"}}, {"updated_at": STAMP - n * day}) for n in range(50)])
    assert len(played.polled()) == 50
    assert played.polled() == []
    played.raw.put(played.name, "newest", {"updated_at": STAMP + day})
    assert played.polled() == [("created", "newest")]
    assert played.polled() == []


def test_indices_of_a_pattern_that_disagree_on_the_field(raw: Raw, played: Played) -> None:
    """kafka-connect-elasticsearch-source #54 and #70: one index of three is passed over, as its schema is another."""
    played.name = f"{played.name}*"
    base = played.name.rstrip("*")
    raw.create(f"{base}-1", DATED)
    raw.create(f"{base}-2", {"updated_at": {"type": "keyword"}})
    raw.create(f"{base}-3", {"n": {"type": "long"}})
    raw.put(f"{base}-1", "a", {"updated_at": STAMP})
    raw.put(f"{base}-2", "b", {"updated_at": "yesterday"})
    raw.put(f"{base}-3", "c", {"n": 1})
    if played.tracker == "updated_at":
        with pytest.raises(ConfigError, match="it is mapped as date and keyword"):
            played.polled()
        assert played.feed is not None
        played.feed.close()
        played.feed = None
    assert played.polled(**{"timestamp_field": ""} if played.tracker == "updated_at" else {}) == [
        ("read", "a"),
        ("read", "b"),
        ("read", "c"),
    ]
    raw.put(f"{base}-2", "b", {"updated_at": "today"})
    raw.put(f"{base}-3", "c", {"n": 2})
    raw.put(f"{base}-1", "d", {"updated_at": STAMP + 1})
    assert played.polled() == [("created", "d"), ("updated", "b"), ("updated", "c")]
    raw.delete(f"{base}-2", "b")
    assert played.polled() == [("deleted", "b")]


def test_a_document_that_is_deleted_and_indexed_anew(played: Played) -> None:
    """kafka-connect-elasticsearch-source #46: deletes are lost; kafka-connect-elasticsearch #145: so are creates."""
    played.raw.create(played.name, DATED)
    played.raw.put(played.name, "1", {"n": 1})
    played.polled()
    played.raw.delete(played.name, "1")
    assert played.polled() == [("deleted", "1")]
    played.raw.put(played.name, "1", {"n": 1})
    assert played.polled() == [("created", "1")]
    played.raw.delete(played.name, "1")
    played.raw.put(played.name, "1", {"n": 2})
    assert played.polled() == [("updated", "1")]


def test_numbers_of_more_digits_than_a_double_has(played: Played) -> None:
    """elasticsearch-dump #799: the last two of nineteen digits become zeros."""
    played.raw.create(played.name, {"x_id": {"type": "keyword"}})
    played.raw.put(played.name, "1", b'{"x_id":1306415010221662247}')
    played.polled(timestamp_field="")
    played.raw.put(played.name, "1", b'{"x_id":1306415010221662248}')
    assert played.polled() == [("updated", "1")]
    assert played.texts() == ['{"x_id":1306415010221662247}', '{"x_id":1306415010221662248}']


def test_large_documents_among_small_ones(played: Played) -> None:
    """elasticsearch-dump #1124: large documents cannot be read."""
    played.raw.create(played.name, {"text": {"type": "keyword", "index": False, "doc_values": False}})
    for n in range(30):
        played.raw.put(played.name, f"d{n}", {"text": "x" * (2 << 20 if n in (3, 4) else 10)})
    assert len(played.polled(timestamp_field="", max_page_bytes="3 MB")) == 30
    played.raw.put(played.name, "d3", {"text": "y" * (2 << 20)})
    played.raw.put(played.name, "d5", {"text": "y"})
    assert played.polled() == [("updated", "d3"), ("updated", "d5")]


def test_an_index_that_a_full_disk_made_read_only(played: Played) -> None:
    """snowstorm #409: read_only_allow_delete, as the flood stage sets it."""
    played.raw.create(played.name, DATED)
    played.raw.put(played.name, "a", {"updated_at": STAMP})
    played.raw.put(played.name, "b", {"updated_at": STAMP})
    block = "index.blocks.read_only_allow_delete"
    played.raw.call("PUT", f"/{played.name}/_settings", {block: True})
    assert played.polled() == [("read", "a"), ("read", "b")]
    assert played.polled() == []
    played.raw.call("PUT", f"/{played.name}/_settings", {block: None})
    played.raw.delete(played.name, "a")
    assert played.polled() == [("deleted", "a")]


def test_ties_over_several_pages(played: Played) -> None:
    """data-prepper #3374: search_after by one key skips documents where pages are small."""
    played.raw.create(played.name, DATED)
    actions = [({"index": {"_id": f"d{n}"}}, {"updated_at": STAMP, "text": "x" * 500}) for n in range(1500)]
    played.raw.bulk(played.name, actions)
    assert len(played.polled(max_page_bytes="64 KB")) == 1500
    actions = [({"index": {"_id": f"d{n}"}}, {"updated_at": STAMP, "text": "y" * 500}) for n in range(1000)]
    played.raw.bulk(played.name, actions)
    assert len(played.polled()) == 1000


def test_dots_in_names_of_fields(played: Played) -> None:
    """elasticsearch #15951: ``a.b`` and ``a: {b}`` are two places in a document, and one in the mapping."""
    played.raw.create(played.name, DATED)
    played.raw.put(played.name, "1", b'{"foo.bar":"one","foo":{"bar":"two"}}')
    played.polled()
    played.raw.put(played.name, "1", b'{"foo.bar":"one","foo":{"bar":"three"}}')
    assert played.polled() == [("updated", "1")]
    played.raw.put(played.name, "1", b'{"foo.bar":"four","foo":{"bar":"three"}}')
    assert played.polled() == [("updated", "1")]


def test_a_new_index_at_midnight(raw: Raw, played: Played) -> None:
    """ElastAlert #447 (use_strftime_index): the index of today is not there yet, or the one of yesterday is left."""
    base, played.name = played.name, f"{played.name}-*"
    raw.create(f"{base}-2026.11.28", DATED)
    raw.put(f"{base}-2026.11.28", "1", {"updated_at": STAMP})
    assert played.polled() == [("read", "1")]
    raw.create(f"{base}-2026.11.29", DATED)
    raw.put(f"{base}-2026.11.29", "2", {"updated_at": STAMP + 1})
    raw.put(f"{base}-2026.11.28", "late", {"updated_at": STAMP + 1})
    assert played.polled() == [("created", "2"), ("created", "late")]
    raw.call("DELETE", f"/{base}-2026.11.28")
    assert played.polled() == [("deleted", "1"), ("deleted", "late")]


def test_no_index_matches_yet(raw: Raw, played: Played) -> None:
    """data-prepper #6341: nothing is read and nothing is logged where no index matches."""
    feed = Feed(raw.engine.url, f"{played.name}-*", played.folder, tracker=played.tracker)
    played.feed = feed
    with pytest.raises(EsfeedError) as error:
        feed.poll()
    assert played.name in str(error.value)
    base, played.name = played.name, f"{played.name}-*"
    raw.create(f"{base}-1", DATED)
    raw.put(f"{base}-1", "1", {"updated_at": STAMP})
    assert played.polled() == [("read", "1")]


@pytest.mark.parametrize(
    ("mapping", "first", "later"),
    [
        ({"type": "date", "format": "epoch_second"}, 1_700_000_000, 1_700_000_001),
        ({"type": "date_nanos"}, "2026-11-28T00:00:00.000000001Z", "2026-11-28T00:00:00.000000002Z"),
        ({"type": "date", "format": "yyyy/MM/dd HH:mm:ss||epoch_millis"}, "2026/11/28 10:00:00", STAMP),
        ({"type": "date"}, [STAMP, STAMP + 5], [STAMP + 9, STAMP]),
    ],
    ids=["seconds", "nanos", "slashes", "lists"],
)
def test_dates_of_all_kinds(played: Played, mapping: dict[str, Any], first: Any, later: Any) -> None:
    """ElastAlert #122 and #1384: no hits, or the wrong ones, as dates have another format, zone or resolution."""
    played.raw.create(played.name, {"updated_at": mapping})
    played.raw.put(played.name, "a", {"updated_at": first, "n": 1})
    played.raw.put(played.name, "b", {"updated_at": first, "n": 1})
    assert played.polled() == [("read", "a"), ("read", "b")]
    played.raw.put(played.name, "a", {"updated_at": later, "n": 2})
    played.raw.put(played.name, "c", {"updated_at": later, "n": 2})
    assert played.polled() == [("created", "c"), ("updated", "a")]
    played.raw.delete(played.name, "b")
    assert played.polled() == [("deleted", "b")]


def test_a_field_alias_as_the_date(played: Played) -> None:
    """logstash-input-elasticsearch #93: the tracking field is not what the documents have."""
    played.raw.create(played.name, {"at": {"type": "date"}, "updated_at": {"type": "alias", "path": "at"}})
    played.raw.put(played.name, "a", {"at": STAMP})
    assert played.polled() == [("read", "a")]
    played.raw.put(played.name, "a", {"at": STAMP + 1})
    played.raw.put(played.name, "b", {"at": STAMP})
    assert played.polled() == [("created", "b"), ("updated", "a")]


def test_nested_documents_do_not_confuse_counts(played: Played) -> None:
    """elasticsearch-dump #741: counts of an index and of what was read differ, as nested documents count."""
    played.raw.create(played.name, {**DATED, "ports": {"type": "nested"}})
    for n in range(20):
        played.raw.put(played.name, f"d{n}", {"updated_at": STAMP, "ports": [{"n": n}] * (n % 4)})
    played.polled()
    played.raw.put(played.name, "d1", {"updated_at": STAMP, "ports": [{"n": 1}] * 9})
    played.raw.delete(played.name, "d2")
    played.raw.put(played.name, "more", {"updated_at": STAMP, "ports": []})
    assert played.polled() == [("created", "more"), ("deleted", "d2"), ("updated", "d1")]


def test_a_field_that_breaks_synthetic_sources(played: Played) -> None:
    """elasticsearch #122936 and #130139: in a log index a search may fail for one document. None is lost for that."""
    if played.raw.engine.name != "es9":
        pytest.skip("OpenSearch has no log indices")
    settings = {"mode": "logsdb", "number_of_replicas": 0}
    properties = {"@timestamp": {"type": "date"}, "test": {"type": "flattened"}}
    played.raw.call("PUT", f"/{played.name}", {"settings": {"index": settings}, "mappings": {"properties": properties}})
    odd: list[Any] = [{"a.b": 1, "a": {"b": {"c": True}}}, {".": 124}, {"a.x": 123, "b.x": 456}]
    for n, test in enumerate(odd):
        played.raw.put(played.name, f"d{n}", json.dumps({"@timestamp": STAMP + n, "test": test}).encode())
    assert played.polled(timestamp_field="@timestamp") == [("read", f"d{n}") for n in range(3)]
    played.raw.put(played.name, "d1", {"@timestamp": STAMP, "test": {".": 125}})
    played.raw.delete(played.name, "d2")
    assert played.polled() == [("deleted", "d2"), ("updated", "d1")]
