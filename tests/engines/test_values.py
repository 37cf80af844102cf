"""Values at the edges of what machines hold: each is told as it stands, and its change is."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esfeed.backfill import Backfill
from esfeed.backfill import Span as Asked
from esfeed.errors import ConfigError
from esfeed.model.event import Event
from esfeed.runtime.factory import App
from tests.engines.test_oracle import Feed
from tests.support.clients import Raw
from tests.support.engines import NAMES, Engine
from tests.support.feed import Feed as Command

pytestmark = pytest.mark.engines

HALF = rb'"half":"\ud83d",'
CHANGES = {
    "balance": (b"12345678901234567.89", b"12345678901234567.12"),
    "nested": (b'{"deep":[12345678901234567.89]}', b'{"deep":[12345678901234567.12]}'),
    "beyond-doubles": (b"1e400", b"1e401"),
    "below-doubles": (b"1e-400", b"0.0"),
    "even": (b"9007199254740993.0", b"9007199254740992.0"),
    "odd": (b"9007199254740992.0", b"9007199254740993.0"),
    "sign": (b"0.0", b"-0.0"),
    "kind": (b"1", b"1.0"),
    "digits": (b"0.1", b"0.10000000000000000001"),
}
"""By id, a number before and after."""
SAME = {"spelling": (b"1.0", b"10e-1"), "zeros": (b"12345678901234567.89", b"12345678901234567.890")}


@pytest.fixture
def raw(engine: Engine) -> Raw:
    return Raw(engine)


@pytest.fixture
def index(raw: Raw) -> Iterator[str]:
    name = f"values-{secrets.token_hex(4)}"
    yield name
    raw.drop(name)


def _put(raw: Raw, index: str, values: dict[str, bytes]) -> None:
    half = {"kind": HALF}
    documents = [(id, b'{%b"amount":%b}' % (half.get(id, b""), value)) for id, value in values.items()]
    raw.bulk(index, [({"index": {"_id": id}}, source) for id, source in documents], refresh="true")


@pytest.mark.parametrize(
    ("engine", "keep"),
    [*((name, True) for name in NAMES), *((name, False) for name in ("es2", "es9", "os3"))],
    indirect=["engine"],
)
def test_a_change_of_a_decimal_is_told(raw: Raw, index: str, tmp_path: Path, keep: bool) -> None:
    """Beyond what doubles tell apart, too; another spelling of the same decimal is none. A reconcile finds nothing."""
    raw.create(index, {"amount": {"type": "object", "enabled": False}})
    before, after = ({id: both[place] for id, both in {**CHANGES, **SAME}.items()} for place in (0, 1))
    _put(raw, index, before)
    feed = Feed(raw.engine.url, index, tmp_path, keep_documents=keep, timestamp_field="")
    assert _told(feed) == {id: ("read", value, None) for id, value in before.items()}
    _put(raw, index, after)
    changed = ("amount",) if keep else None
    assert _told(feed) == {id: ("updated", both[1], changed) for id, both in CHANGES.items()}
    feed.app.trackers["w"].reconcile = True
    assert not _told(feed)
    feed.close()


def _told(feed: Feed) -> dict[str, tuple[str, bytes, tuple[str, ...] | None]]:
    """(op, amount to the letter, changed) by id, of one poll."""
    after = feed.app.store.log.head()
    feed.app.runner.poll("w")
    events = [row.event for row in feed.app.store.log.read(after, 100)]
    return {event.doc_id: (event.op, _amount(event), event.changed) for event in events}


def _amount(event: Event) -> bytes:
    assert event.after is not None
    return bytes(event.after).partition(b'"amount":')[2][:-1]


def backfilled(app: App, index: str, field: str = "updated_at") -> set[str]:
    """The ids that a backfill of all dates tells."""
    after = app.store.log.head()
    span = Asked("w", index, field, ("none",), 0, None)
    job = Backfill(
        span, app.clusters["w"], app.watchers["w"].event_factory, app.store, app.notifier, lambda: None, app.clock
    )
    sent, finished = job.run(lambda: False, lambda sent, total: None)
    told = [row.event.doc_id for row in app.store.log.read(after, 1000)]
    assert finished
    assert sent == len(told) == len(set(told))
    return set(told)


KINDS: dict[str, Any] = {
    "seconds": {"type": "long"},
    "word": {"type": "keyword"},
    "words": {"type": "text"},
    "yes": {"type": "boolean"},
    "steps": {"type": "nested", "properties": {"at": {"type": "date"}}},
    "made": {"type": "date"},
    "outer": {"properties": {"inner": {"properties": {"at": {"type": "date"}}}}},
}
DOCUMENT = {
    "seconds": 1764000000,
    "word": "2026-11-24T10:00:00Z",
    "words": "2026-11-24T10:00:00Z",
    "yes": True,
    "steps": [{"at": "2026-11-24T10:00:00Z"}],
    "made": "2026-11-24T10:00:00Z",
    "outer": {"inner": {"at": "2026-11-24T10:00:00Z"}},
}
NO_DATES = {
    "seconds": "mapped as long",
    "word": "mapped as (keyword|string)",
    "words": "mapped as (text|string)",
    "yes": "mapped as boolean",
    "steps": "mapped as nested",
    "steps.at": "mapped as date within the nested 'steps'",
    "outer.inner": "mapped as object",
    "updated_at": "no document has such a field",
}


def _mapping(raw: Raw, kinds: dict[str, Any]) -> dict[str, Any]:
    """Before 5.x a text and a keyword were strings."""
    old = raw.typed and raw.engine.major < 5
    return {
        name: {"type": "string"} if old and how.get("type") in ("text", "keyword") else how
        for name, how in kinds.items()
    }


def test_a_backfill_by_what_is_no_date(raw: Raw, index: str, tmp_path: Path) -> None:
    """It is refused before anything is read: by its kind, and with the dates that there are."""
    raw.create(index, _mapping(raw, KINDS))
    raw.bulk(index, [({"index": {"_id": "a"}}, DOCUMENT)], refresh="true")
    feed = Feed(raw.engine.url, index, tmp_path, timestamp_field="")
    for field, what in NO_DATES.items():
        with pytest.raises(ConfigError, match=what) as refused:
            backfilled(feed.app, index, field)
        assert "made" in refused.value.hint
        assert "outer.inner.at" in refused.value.hint
        assert refused.value.key == "watches.w.timestamp_field"
    assert feed.new() == []
    assert backfilled(feed.app, index, "made") == backfilled(feed.app, index, "outer.inner.at") == {"a"}
    feed.close()


def test_a_backfill_of_indices_that_disagree(raw: Raw, index: str, tmp_path: Path) -> None:
    """A date in one index and none in another is no date; documents of an index without the field have no date."""
    for name, kinds in (("a", {"at": KINDS["made"]}), ("b", {"at": KINDS["word"]}), ("c", {"n": KINDS["seconds"]})):
        raw.create(f"{index}-{name}", _mapping(raw, kinds))
    raw.put(f"{index}-a", "a", {"at": "2026-11-24T10:00:00Z"})
    raw.put(f"{index}-b", "b", {"at": "2026-11-24T10:00:00Z"})
    raw.put(f"{index}-c", "c", {"n": 1})
    raw.refresh(f"{index}-*")
    feed = Feed(raw.engine.url, f"{index}-*", tmp_path, timestamp_field="")
    with pytest.raises(ConfigError, match=f"as (keyword|string) in '{index}-b', not as a date.*no date field"):
        backfilled(feed.app, f"{index}-*", "at")
    assert backfilled(feed.app, f"{index}-a,{index}-c", "at") == {"a"}
    feed.close()


def test_a_backfill_of_nothing(raw: Raw, index: str, tmp_path: Path) -> None:
    """Where no document is yet, no field has to be."""
    raw.create(index, {})
    feed = Feed(raw.engine.url, index, tmp_path, timestamp_field="")
    assert backfilled(feed.app, index) == set()
    feed.close()


@pytest.mark.parametrize("engine", ["es2", "es9"], indirect=True)
def test_check_and_backfill_say_the_same(raw: Raw, index: str, tmp_path: Path) -> None:
    """As commands: exit 2 by one, and a word beforehand by the other, where the watch can be followed otherwise."""
    raw.create(index, _mapping(raw, KINDS))
    raw.bulk(index, [({"index": {"_id": "a"}}, DOCUMENT)], refresh="true")
    feed = Command(tmp_path, raw.engine.url, index, timestamp_field="seconds")
    refused, checked = feed("backfill", "--since", "7d"), feed("check")
    assert refused.returncode == 2
    told = "mapped as long"
    assert told in refused.stderr
    assert told in " ".join((checked.stdout + checked.stderr).split())
    assert checked.returncode == (3 if raw.engine.name == "es2" else 0)


@pytest.mark.parametrize("engine", ["es5", "es6", "es7", "es8", "es9", "os2", "os3"], indirect=True)
def test_a_date_whose_name_has_dots(raw: Raw, index: str, tmp_path: Path) -> None:
    """Written as one name or as an object, it is the same field to an engine, and the date of the document. (2.x
    refuses such names.)
    """
    raw.create(index, {"event": {"properties": {"ingested": {"type": "date"}}}})
    at = "2026-11-24T10:00:00Z"
    documents = {"one": {"event.ingested": at}, "two": {"event": {"ingested": at}}, "none": {"event.other": 1}}
    raw.bulk(index, [({"index": {"_id": id}}, source) for id, source in documents.items()], refresh="true")
    feed = Feed(raw.engine.url, index, tmp_path, timestamp_field="event.ingested", tracker="updated_at")
    dates = {event["data"]["id"]: event["data"]["origin"]["updated_at"] for event in feed.poll()}
    assert dates == {"one": at, "two": at, "none": None}
    assert backfilled(feed.app, index, "event.ingested") == {"one", "two"}
    feed.close()


def test_a_date_without_doc_values(raw: Raw, index: str, tmp_path: Path) -> None:
    """An engine can search by it, but neither sort nor count: said in words where a watch or a backfill has to."""
    raw.create(index, {"updated_at": {"type": "date", "doc_values": False}})
    raw.bulk(index, [({"index": {"_id": "a"}}, {"updated_at": "2026-11-24T10:00:00Z"})], refresh="true")
    feed = Feed(raw.engine.url, index, tmp_path, tracker="updated_at")
    if raw.engine.name == "es2":  # it has other means
        assert [event["data"]["id"] for event in feed.poll()] == ["a"]
    else:
        with pytest.raises(ConfigError, match='mapped as date with "doc_values": false'):
            feed.poll()
    if raw.engine.name == "es5":
        with pytest.raises(ConfigError, match='mapped as date with "doc_values": false'):
            backfilled(feed.app, index)
    else:
        assert backfilled(feed.app, index) == {"a"}
    feed.close()
