"""Log rows that refer to the contents of documents: what is read of them is what was logged, whatever changes since."""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esfeed.model.event import Event, Key, Origin
from esfeed.ports import Commit, Entry, Parked, Settlement
from esfeed.store.codec import is_reference, pack_reference, unpack_event, with_content
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event
from tests.store.test_dictionaries import servers
from tests.store.test_sql import key, revision

_SNAPSHOT = Origin("main", "servers", 1, 4, "2026-11-24T10:00:00Z", None, None, True)


def snapshot(name: Key, body: bytes, **more: object) -> Event:
    """The ``read`` event of a first reading."""
    event = sample_event(op="read", type=name.type, doc_id=name.id, after=body, before=None, changed=None)
    return msgspec.structs.replace(event, origin=_SNAPSHOT, position=0, **more)


def read(store: SqlState, bodies: Mapping[Key, bytes]) -> None:
    """A first reading of those documents."""
    entries = [Entry(name, snapshot(name, body)) for name, body in bodies.items()]
    store.commits.commit("w", Commit({name: revision(1) for name in bodies}, bodies, entries=entries, known={}))


def change(store: SqlState, name: Key, body: bytes | None, **more: object) -> None:
    """An update, or a delete, with an event that has the content before it."""
    before = store.commits.documents("w", [name])[name]
    event = sample_event(op="updated" if body else "deleted", doc_id=name.id, type=name.type, before=before, after=body)
    entries = [Entry(name, msgspec.structs.replace(event, **more))]
    if body is None:
        store.commits.commit("w", Commit(gone=[name], entries=entries))
    else:
        store.commits.commit("w", Commit({name: revision(2)}, {name: body}, entries=entries))


def events(store: SqlState) -> list[Event]:
    """All of the log, as a process that has nothing in memory reads it."""
    other = SqlState(str(store.sessions.engine.url))
    try:
        return [row.event for row in other.log.read(0, 100_000, 1 << 40)]
    finally:
        other.close()


def numbers(store: SqlState, statement: str) -> int:
    with store.sessions.reading() as connection:
        return int(connection.exec_driver_sql(statement).scalar() or 0)


def test_a_snapshot_stores_each_content_once(store: SqlState) -> None:
    """The log has about a hundred bytes a document, and is read as it was written."""
    bodies = servers(0, 1000)
    read(store, bodies)
    assert store.log.size_bytes() < 110 * len(bodies)
    assert [bytes(event.after or b"") for event in events(store)] == [*bodies.values()]
    assert events(store) == [row.event for row in store.log.recent]


def test_the_row_of_the_change_has_the_old_content(store: SqlState) -> None:
    """An update and a delete copy nothing; the log reads as before."""
    bodies = servers(0, 4)
    read(store, bodies)
    before, size = events(store), store.log.size_bytes()
    change(store, key(1), b'{"new":1}')
    change(store, key(2), None)
    change(store, key(1), b'{"new":2}')
    assert events(store)[:4] == before
    assert numbers(store, "SELECT count(*) FROM superseded") == 2
    others = sum(len(row) for row in _packed(store)[4:])
    assert store.log.size_bytes() == size + others


@pytest.mark.parametrize("with_event", [False, True], ids=["silent", "another before"])
@pytest.mark.parametrize("goes", [False, True], ids=["rewritten", "deleted"])
def test_no_row_has_the_old_content(store: SqlState, with_event: bool, goes: bool) -> None:
    """A change without an event, or with another content before it: the row gets its own copy."""
    bodies = servers(0, 3)
    read(store, bodies)
    before = events(store)
    entries = [Entry(key(1), sample_event(op="updated", doc_id="1", before=b'{"x":1}'))] if with_event else []
    store.commits.commit(
        "w",
        Commit(gone=[key(1)], entries=entries)
        if goes
        else Commit({key(1): revision(2)}, {key(1): b"{}"}, entries=entries),
    )
    assert events(store)[:3] == before
    assert numbers(store, "SELECT count(*) FROM superseded") == 0
    assert store.log.size_bytes() == sum(map(len, _packed(store)))


def test_a_parked_event_has_its_own_copy(store: SqlState) -> None:
    """It is there when the document has changed, and when the log has dropped the row."""
    read(store, servers(0, 3))
    first, second, third = (row.event for row in store.log.read(0, 3))
    change(store, key(1), b'{"new":1}')
    store.log.recent = ()
    rows = store.log.read(0, 3)
    store.outbox.settle(
        "s", Settlement(3, parked=[Parked("s", row.position, 1, "no", row.document, "dead") for row in rows])
    )
    for name in (0, 2):
        change(store, key(name), None)
    assert store.retention.prune(2**60, 1 << 40, {}, rows=100).rows == 6
    assert [row.event for row in store.outbox.parked_events("s", [1, 2, 3])] == [first, second, third]
    assert [one.event for one in store.dead_letters.page(["s"])] == [first, second, third]


def test_what_is_noted_goes_with_the_rows(store: SqlState) -> None:
    read(store, servers(0, 6))
    for name in range(6):
        change(store, key(name), b'{"new":1}')
    kept = events(store)
    assert store.retention.prune(2**60, 1 << 40, {}, rows=4).rows == 4
    assert numbers(store, "SELECT min(position) FROM superseded") == 5
    assert events(store) == kept[4:]
    assert store.retention.prune(2**60, 1 << 40, {}, rows=100).rows == 8
    assert numbers(store, "SELECT count(*) FROM superseded") == 0
    assert store.log.size_bytes() == 0


def test_a_document_that_comes_again_is_read_again(store: SqlState) -> None:
    """A watch that starts anew logs the same document a second time; each row has its own content."""
    read(store, servers(0, 2))
    entries = [Entry(key(0), snapshot(key(0), b'{"again":1}'))]
    store.commits.commit("w", Commit({key(0): revision(2)}, {key(0): b'{"again":1}'}, entries=entries))
    told = [bytes(event.after or b"") for event in events(store)]
    assert told == [*servers(0, 2).values(), b'{"again":1}']


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_log_reads_as_it_was_written(store: SqlState, seed: int) -> None:
    """Readings, updates, deletes, silent changes, and a log that is pruned, in any order."""
    rng = random.Random(seed)
    written: list[Event] = []
    dropped, next_name, there = 0, 0, set[Key]()
    for n in range(60):
        last = store.log.last()
        what = rng.choice(["read", "read", "update", "update", "delete", "silent", "vanish", "prune"])
        some = rng.choice(sorted(there)) if there else None
        if what == "read":
            bodies = servers(next_name, rng.randint(1, 30))
            next_name += len(bodies)
            there |= bodies.keys()
            read(store, bodies)
        elif what == "prune":
            dropped += store.retention.prune(2**60, 1 << 40, {}, rows=rng.randint(1, 10)).rows
        elif some is not None and what in ("update", "delete"):
            change(store, some, b'{"n":%d}' % n if what == "update" else None)
            there -= {some} if what == "delete" else set()
        elif some is not None:
            vanishes = what == "vanish"
            store.commits.commit(
                "w", Commit(gone=[some]) if vanishes else Commit({some: revision(n)}, {some: b'{"s":%d}' % n})
            )
            there -= {some} if vanishes else set()
        written += [row.event for row in store.log.recent if row.position > last]
        if n % 6 == 0:
            assert events(store) == written[dropped:]
            assert store.log.size_bytes() == sum(map(len, _packed(store)))
    assert events(store) == written[dropped:]


def _packed(store: SqlState) -> list[bytes]:
    with store.sessions.reading() as connection:
        return [row.event for row in connection.exec_driver_sql("SELECT event FROM log ORDER BY position")]


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_MAYBE = st.none() | _TEXT


@example(Key("_doc", "a", "r"), "a" * 32, "", "a", "_doc", None, True, "read")
@example(Key("_doc", "a", "r"), "a" * 32, "", "a", "_doc", "r", True, "read")
@given(
    key=st.builds(Key, _TEXT, _TEXT, _MAYBE, _MAYBE),
    id=st.sampled_from(["a" * 32, "0" * 31, "A" * 32, "", "xyz"]),
    time=st.sampled_from(["2026-11-24T10:00:00.000Z", "2026-11-24T10:00:00Z", "", "2026-11-24T10:00:00.1234Z", "x"]),
    doc_id=_TEXT,
    type=_TEXT,
    routing=_MAYBE,
    snapshot=st.booleans(),
    op=st.sampled_from(["read", "created"]),
)
def test_any_event_is_a_whole_reference_or_none(
    key: Key, id: str, time: str, doc_id: str, type: str, routing: str | None, snapshot: bool, op: str
) -> None:
    """What a reference cannot say is stored in full; all else comes back exactly."""
    origin = msgspec.structs.replace(_SNAPSHOT, routing=routing, snapshot=snapshot)
    event = sample_event(id=id, time=time, doc_id=doc_id, type=type, op=op, after=b'{"a":1}', changed=None)  # type: ignore[arg-type]
    event = msgspec.structs.replace(event, origin=origin, before=None, position=3)
    packed = pack_reference(event, key)
    if packed is not None:
        assert is_reference(packed)
        assert unpack_event(with_content(packed, key, b'{"a":1}'), 3, bytes) == event
    has_plain_id = id in ("a" * 32, "")
    assert (packed is not None) is (op == "read" and snapshot and has_plain_id and routing == key.routing)
