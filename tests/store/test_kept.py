"""What the connections to a state keep in memory: bounded, whatever the numbers and sizes of documents are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esfeed.ports import Commit, Settlement
from esfeed.store.database import open_database
from esfeed.store.state import SqlState
from esfeed.store.statements import sought
from tests.store.test_outbox import fill, noise, park
from tests.store.test_sql import key, revision, seen


@contextmanager
def statements(store: SqlState) -> Iterator[list[tuple[str, Any]]]:
    """Collects what the driver runs: each text, with its parameters."""
    run: list[tuple[str, Any]] = []

    def note(connection: object, cursor: object, text: str, parameters: Any, *_: object) -> None:
        run.append((text, parameters))

    sa.event.listen(store.sessions.engine, "before_cursor_execute", note)
    try:
        yield run
    finally:
        sa.event.remove(store.sessions.engine, "before_cursor_execute", note)


def step(store: SqlState, count: int) -> set[str]:
    """The texts of what a feed does with ``count`` documents: it reads, writes, parks, sends and forgets them."""
    keys = [key(name) for name in range(count)]
    known = store.commits.known("w")
    with statements(store) as run:
        store.commits.commit("w", seen(*range(count), seq_no=1, shard=0))
        store.commits.commit("w", Commit({name: revision(2, seq_no=1, shard=0) for name in keys}))
        last = store.log.last()
        places = range(last - count + 1, last + 1)
        store.outbox.settle("s", Settlement(0, [park(store, place) for place in places]))
        assert len(known.revisions(keys)) == len(store.commits.documents("w", keys)) == count
        assert len(known.at("u", 0, range(1, count + 1))) == count
        assert len(store.outbox.parked_events("s", places)) == count
        store.outbox.settle("s", Settlement(last, taken=places))
        store.commits.commit("w", Commit(gone=keys))
        assert len(known.tombstoned(keys)) == count
    assert known.count() == 0
    assert not store.outbox.parked("s")
    return {text for text, _ in run}


def test_the_number_of_documents_makes_no_new_statement(store: SqlState, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver keeps a hundred statements on each connection: a text for each number of keys would take megabytes."""
    monkeypatch.setattr("esfeed.store.dictionaries._MIN_DOCUMENTS", 1 << 30)  # a dictionary comes once
    few = set[str]().union(*(step(store, count) for count in (1, 2, 4, 8, 16, 32, 64, 126, 128, 228)))
    more = set[str]().union(*(step(store, count) for count in (3, 7, 21, 45, 77, 99, 127, 150, 201, 300)))
    assert more <= few


def test_values_that_are_sought() -> None:
    """Each is in some piece, and pieces have few lengths."""
    for count in range(300):
        pieces = [*sought(range(count))]
        assert {value for piece in pieces for value in piece} == {*range(count)}
        assert {len(piece) for piece in pieces} <= {1, 2, 4, 8, 16, 32, 64, 128}


@pytest.mark.parametrize("size", [100, 20_000])
def test_large_documents_do_not_stay_beside_a_statement(store: SqlState, size: int) -> None:
    """A connection keeps the values that a statement was last run with: a hundred large documents, where it writes so
    many at once. Small ones still go by the hundred.
    """
    with statements(store) as run:
        fill(store, 200, size)
        keys = [key(n) for n in range(200)]
        store.commits.commit(
            "w", Commit({one: revision() for one in keys}, {one: noise(1, size).encode() for one in keys})
        )
    rows = [row for text, many in run if text.startswith(("INSERT INTO document", "INSERT INTO log ")) for row in many]
    assert max(sum(len(value) for value in row if isinstance(value, bytes)) for row in rows) < 400_000
    assert {len(row) for row in rows} == ({400, 600} if size == 100 else {4, 6})
    assert len(store.commits.documents("w", keys)) == 200


def test_few_connections_stay_open(tmp_path: Path) -> None:
    """After many at a time, some are closed, and of the others the same one is used again: each has a cache."""
    engine = open_database(f"sqlite:///{tmp_path}/state.db")
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(engine.connect())
    assert engine.pool.checkedin() <= 8  # type: ignore[attr-defined]  # of a pool that queues
    used = set()
    for _ in range(30):
        with engine.connect() as connection:
            used.add(id(connection.connection.driver_connection))
    assert len(used) == 1
    engine.dispose()
