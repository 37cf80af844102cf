"""Values at the edges of what machines hold: each is told as it stands, and its change is."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Raw
from tests.support.engines import Engine
from tests.support.feed import Feed

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
"""By id, a number before and after. 2.x reads every number in a document, so there those of doubles alone."""
SAME = {"spelling": (b"1.0", b"10e-1"), "zeros": (b"12345678901234567.89", b"12345678901234567.890")}


@pytest.fixture
def raw(engine: Engine) -> Iterator[Raw]:
    made = Raw(engine)
    made.index = f"values-{secrets.token_hex(4)}"  # type: ignore[attr-defined]
    yield made
    made.drop(made.index)  # type: ignore[attr-defined]


def _put(raw: Raw, index: str, values: dict[str, bytes]) -> None:
    raw.bulk(
        index,
        [({"index": {"_id": id}}, b'{%s"amount":%s}' % (HALF if id == "kind" else b"", value)) for id, value in values.items()],
        refresh="true",
    )


@pytest.mark.parametrize("keep", [True, False])
def test_a_change_of_a_decimal_is_told(raw: Raw, tmp_path: Path, keep: bool) -> None:
    """Beyond what doubles tell apart, too; another spelling of the same decimal is none. A reconcile finds nothing."""
    index: str = raw.index  # type: ignore[attr-defined]
    raw.create(index, {"amount": {"type": "object", "enabled": False}})
    before, after = ({id: both[place] for id, both in {**CHANGES, **SAME}.items()} for place in (0, 1))
    _put(raw, index, before)
    feed = Feed(tmp_path, raw.engine.url, index, keep_documents=keep)
    feed.poll()
    assert _amounts(feed, 0) == {id: ("read", value) for id, value in before.items()}
    _put(raw, index, after)
    feed.poll()
    assert _amounts(feed, len(before)) == {id: ("updated", both[1]) for id, both in CHANGES.items()}
    done = feed("reconcile")
    assert done.returncode == 0, done.stderr
    assert not _amounts(feed, len(before) + len(CHANGES))


def _amounts(feed: Feed, after: int) -> dict[str, tuple[str, bytes]]:
    """(op, amount as it is spelled) by id, of the events after so many."""
    found = {}
    for line in feed.events.read_bytes().splitlines()[after:]:
        data: dict[str, Any] = json.loads(line, parse_float=_Spelled, parse_int=_Spelled)["data"]
        amount = data["after"]["amount"]
        found[data["id"]] = (data["op"], _spelled(amount))
    return found


class _Spelled(str):
    """A number as it is written."""


def _spelled(amount: Any) -> bytes:
    return f'{{"deep":[{amount["deep"][0]}]}}'.encode() if isinstance(amount, dict) else amount.encode()
