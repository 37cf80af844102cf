"""Values at the edges of what machines hold: each is told as it stands, and its change is."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from esfeed.event import Event
from tests.engines.test_oracle import Feed
from tests.support.clients import Raw
from tests.support.engines import Engine

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


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "digested"])
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
    after = feed.app.store.head()
    feed.app.poll("w")
    events = [row.event for row in feed.app.store.read_log(after, 100)]
    return {event.doc_id: (event.op, _amount(event), event.changed) for event in events}


def _amount(event: Event) -> bytes:
    assert event.after is not None
    return bytes(event.after).partition(b'"amount":')[2][:-1]
