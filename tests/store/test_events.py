"""How events lie in the log, and that what is read of it is the same from memory as from the database."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esfeed.model.event import Event, Key, Origin, Owners
from esfeed.ports import Commit, Entry
from esfeed.store.codec import pack_events, unpack_event
from esfeed.store.compression import ZstdPacker
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event
from tests.store.test_sql import entry, key, revision

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_MAYBE = st.none() | _TEXT
_BODY = st.none() | st.builds(
    lambda text, times: msgspec.Raw(msgspec.json.encode({"a": text, "b": [text] * times, "n": 2**63})),
    _TEXT,
    st.integers(0, 40),
)
_ORIGIN = st.builds(
    Origin,
    _TEXT,
    _TEXT,
    st.integers(0, 2**63 - 1),
    st.none() | st.integers(0, 2**63 - 1),
    _MAYBE,
    _MAYBE,
    _MAYBE,
    st.booleans(),
)
_NAMES = st.lists(_TEXT, max_size=3).map(tuple)
_OWNERS = st.none() | st.builds(Owners, _TEXT, _TEXT, _NAMES, _NAMES, _NAMES)
_PACKER = ZstdPacker()
_EVENTS = st.builds(
    Event,
    _TEXT,
    _TEXT,
    _TEXT,
    st.sampled_from(["created", "updated", "deleted", "read"]),
    _TEXT,
    _TEXT,
    st.none() | _NAMES,
    _BODY,
    _BODY,
    _ORIGIN,
    st.sampled_from([None, "admin", "user"]),
    st.just(7),
    owners=_OWNERS,
)


@given(event=_EVENTS, packed=st.booleans())
@example(event=sample_event(op="created", after=b"null", position=7), packed=False)
@example(event=sample_event(op="read", after=b"null", position=7), packed=True)
def test_an_event_is_read_as_it_was_packed(event: Event, packed: bool) -> None:
    """All of it, whatever is in it, whether its content was packed before or not."""
    body = _PACKER.pack_all([bytes(event.after)])[0] if packed and event.after is not None else None
    assert unpack_event(pack_events([(event, body)], _PACKER)[0], 7, _PACKER.unpack) == event


@given(event=_EVENTS)
def test_events_of_states_before_0006_are_read(event: Event) -> None:
    """They were one text each, deflated where that was worth it."""
    text = msgspec.json.encode(event)
    read = unpack_event(zlib.compress(text, 1) if len(text) > 256 else text, 7, _PACKER.unpack)
    # Such a text cannot tell a content that is ``null`` from none.
    assert read == event


def rows(store: SqlState, *about: Any) -> list[Any]:
    return [*store.log.read(*about)]


@pytest.fixture
def states(tmp_path: Path) -> Any:
    """The store that writes, and another process's view of the same state, which has nothing in memory."""
    url = f"sqlite:///{tmp_path}/state.db"
    mine, other = SqlState(url), SqlState(url)
    yield mine, other
    mine.close()
    other.close()


def test_the_last_commit_is_read_as_from_the_database(states: tuple[SqlState, SqlState]) -> None:
    """From any place, any number of rows, any number of bytes; events of one sink and of all, changes of all kinds."""
    mine, other = states
    large = {"text": "é" * 3000}
    for begin in range(0, 30, 10):
        entries = [
            Entry(
                key(n),
                sample_event(doc_id=str(n), op=op, after=large if n % 3 == 0 else None),
                "one" if n % 4 == 0 else None,
            )
            for n, op in zip(range(begin, begin + 10), 5 * ("created", "updated", "deleted", "read"), strict=False)  # type: ignore[misc]
            if not (op == "deleted" and n % 3 == 0)
        ]
        mine.commits.commit("w", Commit(entries=entries))
    fresh = mine.log.recent[0].position
    assert fresh > 1
    for after in range(mine.log.last() + 2):
        for about in ((1,), (3,), (100,), (100, 1), (100, 9000)):
            expected = rows(other, after, *about)
            found = rows(mine, after, *about)
            assert found == expected[: len(found)]
            assert bool(found) == bool(expected)
            if after >= fresh - 1:
                assert found == expected


def test_contents_that_differ_from_the_state_are_told_as_they_are(states: tuple[SqlState, SqlState]) -> None:
    """Its content lies with the document's only where both are the same: here it is one line, there it is not."""
    mine, other = states
    batch = Commit(
        {key("a"): revision(1)},
        {key("a"): b'{"n":\n1}'},
        entries=[Entry(key("a"), sample_event(doc_id="a", op="created", after=b'{"n": 1}'))],
    )
    mine.commits.commit("w", batch)
    (row,) = rows(other, 0, 10)
    assert row.event.after == msgspec.Raw(b'{"n": 1}')
    assert mine.commits.documents("w", [key("a")]) == {key("a"): b'{"n":\n1}'}


def test_what_another_process_wrote_between_is_not_passed_over(states: tuple[SqlState, SqlState]) -> None:
    """Rows of the last commit are taken from memory only by who has all before them."""
    mine, other = states
    mine.commits.commit("w", Commit(entries=[entry("a")]))
    other.commits.commit("w", Commit(entries=[entry("b")]))
    mine.commits.commit("w", Commit(entries=[entry("c")]))
    told = [[row.event.doc_id for row in rows(mine, after, 10)] for after in range(4)]
    assert told == [["a", "b", "c"], ["b", "c"], ["c"], []]
    other.commits.commit("w", Commit(entries=[entry("d")]))
    assert [row.event.doc_id for row in rows(mine, 2, 10)] == ["c"]
    assert [row.event.doc_id for row in rows(mine, 3, 10)] == ["d"]


def test_what_is_pruned_is_not_read_from_memory(states: tuple[SqlState, SqlState]) -> None:
    """A place whose next rows are gone is told by where the log begins, so both have to say the same."""
    mine, other = states
    mine.commits.commit("w", Commit(entries=[entry(n) for n in range(10)]))
    assert mine.retention.prune(2**60, 1 << 40, {}, rows=4).rows == 4
    assert mine.log.first() == 5
    for after in range(12):
        assert rows(mine, after, 100) == rows(other, after, 100)


def test_a_commit_that_fails_leaves_nothing_to_read(states: tuple[SqlState, SqlState]) -> None:
    """What no database holds must not be sent."""
    mine, _ = states
    mine.commits.commit("w", Commit(entries=[entry("a")]))
    broken = Commit({Key("_doc", "x"): revision(1)}, {}, entries=[entry("b")], known={Key("_doc", "x"): revision(5)})
    with pytest.raises(Exception, match="another process has changed"):
        mine.commits.commit("w", broken)
    assert [row.event.doc_id for row in rows(mine, 0, 10)] == ["a"]
    assert rows(mine, 1, 10) == []


def test_a_commit_of_many_bytes_is_not_kept(states: tuple[SqlState, SqlState], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded; it is read from the database."""
    monkeypatch.setattr("esfeed.store.log._MAX_FRESH", 100)
    mine, other = states
    body = msgspec.json.encode({"text": "x" * 200})
    mine.commits.commit(
        "w", Commit({key("a"): revision(1)}, {key("a"): body}, entries=[entry("a", op="created", after=body)])
    )
    assert mine.log.recent == ()
    assert rows(mine, 0, 10) == rows(other, 0, 10) != []
