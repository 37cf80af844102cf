"""The state's file: its schema, and what is said of one that is newer, corrupt, closed, full or not there."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import alembic.autogenerate
import alembic.command
import alembic.config
import pytest
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from esfeed.errors import ConfigError, StateError
from esfeed.ports import Commit
from esfeed.store import schema
from esfeed.store.codec import pack_events
from esfeed.store.compression import ZstdPacker
from esfeed.store.database import open_database
from esfeed.store.state import SqlState
from tests.store.long_keys import long_key
from tests.store.test_sql import ROOT, entry, key, seen
from tests.support.clients import obey_modes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state that was opened once."""
    SqlState(f"sqlite:///{tmp_path}/state.db").close()
    return tmp_path / "state.db"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def obeying(path: Path, code: str = "store.commits.commit('w', seen('a'))") -> str:
    """What a process that file modes bind says of that state; empty where all went well."""
    script = f"from tests.store.test_sql import *\nstore = SqlState({url(path)!r})\n{code}"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=obey_modes, check=False)
    return done.stderr.strip().split("\n")[-1]


def test_the_schema_is_what_the_migrations_make(path: Path) -> None:
    """Nothing is in schema.py that no step makes, and the reverse."""
    engine = open_database(url(path))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert context.get_current_revision() == schema.REVISION
        assert alembic.autogenerate.compare_metadata(context, schema.metadata) == []
        made = {name: sorted(tuple(row) for row in columns(connection, name)) for name in schema.metadata.tables}
    fresh = sa.create_engine("sqlite://")
    with fresh.connect() as connection:
        schema.metadata.create_all(connection)
        assert {
            name: sorted(tuple(row) for row in columns(connection, name)) for name in schema.metadata.tables
        } == made
    engine.dispose()


def columns(connection: sa.Connection, table: str) -> list[sa.Row[object]]:
    """Name, type, not null, default and place in the primary key; and how the table is laid."""
    found = connection.exec_driver_sql(
        f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{table}')"
    )
    laid = connection.exec_driver_sql(f"SELECT name, wr, strict, 0, 0 FROM pragma_table_list('{table}')")
    return [*found, *laid]  # type: ignore[list-item]  # rows are covariant in no stub


def first_state(path: Path) -> None:
    """A state as the first version made it: two entries, one of them dead for a sink that was past both."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(ROOT / "esfeed" / "store" / "migrations"))
    engine = sa.create_engine(url(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0001")
        connection.exec_driver_sql("INSERT INTO watch VALUES (1, 'w')")
        for name in ("a", "b"):
            row = (1, long_key(key(name)), pack_events([(entry(name).event, None)], ZstdPacker())[0])
            connection.exec_driver_sql("INSERT INTO log (watch, key, event) VALUES (?, ?, ?)", row)
        connection.exec_driver_sql("INSERT INTO cursor VALUES ('s', 2)")
        connection.exec_driver_sql("INSERT INTO parked VALUES ('s', 1, 1, 'too large')")
    engine.dispose()


def test_a_state_of_the_first_schema(path: Path, tmp_path: Path) -> None:
    """It becomes equal to a new one; its dead events have their event now, and its entries an age that starts now."""
    old = tmp_path / "old.db"
    first_state(old)
    store = SqlState(url(old))
    with store.sessions.engine.connect() as connection, open_database(url(path)).connect() as new:
        for name in schema.metadata.tables:
            assert sorted(map(tuple, columns(connection, name))) == sorted(map(tuple, columns(new, name))), name
            assert indices(connection, name) == indices(new, name)
    (one,) = store.dead_letters.page(["s"])
    assert (one.position, one.attempts, one.error, one.state) == (1, 1, "too large", "dead")
    assert one.event is not None
    assert one.event.doc_id == "a"
    assert store.log.size_bytes() > 0
    assert store.retention.prune(int((time.time() - 60) * 1000), 1 << 30, {"s": ["w"]}).rows == 0
    assert [row.position for row in store.log.read(0, 9)] == [1, 2]
    assert store.dead_letters.counts()["s"].dropped == 0
    store.close()


def indices(connection: sa.Connection, table: str) -> list[str]:
    found = connection.exec_driver_sql(f"SELECT name FROM pragma_index_list('{table}')")
    return sorted(name for (name,) in found if not name.startswith("sqlite_"))


def test_opening_again_changes_nothing(path: Path) -> None:
    """An up-to-date state is not written to."""
    before = path.read_bytes()
    SqlState(url(path)).close()
    assert path.read_bytes() == before


def test_a_newer_schema(path: Path) -> None:
    """It is named, with what to do, and left as it is."""
    execute(path, "UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(StateError, match=r"newer esfeed.*'9999'") as caught:
        SqlState(url(path))
    assert "later" in caught.value.hint
    assert path.read_bytes() == before


def execute(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def test_a_database_of_something_else(tmp_path: Path) -> None:
    """Tables of the same names that esfeed did not make: an error, and they are as they were."""
    path = tmp_path / "other.db"
    execute(path, "CREATE TABLE log (line TEXT)", "INSERT INTO log VALUES ('mine')")
    with pytest.raises(StateError, match=r"other\.db"):
        SqlState(url(path))
    database = sqlite3.connect(path)
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("log",)]
    assert database.execute("SELECT line FROM log").fetchall() == [("mine",)]
    database.close()


@pytest.mark.parametrize("content", [b"notes\n" * 1000, b"SQLite format 3\0" + b"\xff" * 5000, os.urandom(8192)])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    """It is said, and the file is left as it is."""
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"not a SQLite database|corrupt"):
        SqlState(url(path))
    assert path.read_bytes() == content


def test_a_damaged_database(path: Path) -> None:
    """Pages that were overwritten are called corrupt, with what to do."""
    store = SqlState(url(path))
    for n in range(20):
        store.commits.commit("w", seen(*range(n * 50, n * 50 + 50)))
    store.close()
    whole = bytearray(path.read_bytes())
    for at in range(2 * 4096, len(whole), 4096):
        whole[at : at + 64] = b"\xff" * 64
    path.write_bytes(whole)
    with pytest.raises(StateError, match="corrupt") as caught:  # noqa: PT012 - whichever step meets a damaged page
        store = SqlState(url(path))
        for n in range(1000):
            store.log.read(n, 100)
            store.commits.commit("w", seen(n, version=2))
    assert "backup" in caught.value.hint


def test_a_file_that_may_not_be_written(path: Path) -> None:
    """Read-only file, closed file, read-only folder: each says what to allow."""
    assert obeying(path) == ""
    path.chmod(0o400)
    assert "the state is read-only" in obeying(path)
    path.chmod(0)
    assert "the state cannot be opened" in obeying(path)
    path.chmod(0o600)
    path.parent.chmod(0o500)
    told = obeying(path)
    path.parent.chmod(0o700)
    assert "StateError" in told
    assert "let this user" in told


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """It is named, as a fault of the setting; so is a url that names no file, or another kind of database."""
    with pytest.raises(ConfigError, match=str(tmp_path / "no")):
        SqlState(f"sqlite:///{tmp_path}/no/state.db")
    for wrong in ("sqlite://", "sqlite:///:memory:", "mysql://u:s3cret@h/d", "nonsense"):
        with pytest.raises(ConfigError) as caught:
            SqlState(wrong)
        assert caught.value.key == "state"
        assert "s3cret" not in str(caught.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match="cannot be opened"):
        SqlState(f"sqlite:///{tmp_path}/folder")


def test_a_full_disk(path: Path) -> None:
    """SQLITE_FULL in the middle of a commit takes all of it back; with room again everything goes on."""
    store = SqlState(url(path))
    store.commits.commit("w", seen("a"))
    engine = store.sessions.engine
    limit = 40

    @sa.event.listens_for(engine, "checkout")
    def bound(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit}")

    large = {"text": os.urandom(200_000).hex()}
    with pytest.raises(StateError, match="disk under the state is full") as caught:
        store.commits.commit("w", Commit(seen("b").revisions, entries=[entry("b"), entry("b", after=large)]))
    assert "space" in caught.value.hint
    assert [row.position for row in store.log.read(0, 9)] == [1]
    assert store.commits.known("w").count() == 1
    limit = 10_000
    store.commits.commit("w", Commit(seen("b").revisions, entries=[entry("b"), entry("b", after=large)]))
    assert [row.position for row in store.log.read(0, 9)] == [1, 2, 3]
    store.close()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=False).returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_really_full_disk(tiny: Path) -> None:
    """Commits until nothing goes any more: the error says so, and each commit that was done is whole."""
    store = SqlState(url(tiny / "state.db"))
    done = 0
    with pytest.raises(StateError, match="full"):  # noqa: PT012 - whichever commit is the first not to fit
        for n in range(1000):
            store.commits.commit(
                "w", Commit(seen(n).revisions, entries=[entry(n, after={"x": os.urandom(5000).hex()})])
            )
            done = n + 1
    assert done > 10
    assert store.commits.known("w").count() == len(store.log.read(0, 10_000)) == done
    with pytest.raises(StateError, match="full"):
        store.commits.commit("w", Commit(entries=[entry(0, after={"x": os.urandom(50_000).hex()})]))
    subprocess.run(["mount", "-o", "remount,size=8m", str(tiny)], check=True)
    store.commits.commit("w", Commit(entries=[entry(0)]))
    assert store.log.head() == done + 1
    store.close()


def test_a_disk_that_is_full_from_the_start(tiny: Path) -> None:
    """Not even the schema fits: said as such."""
    with (tiny / "filler").open("wb") as filler:
        filler.truncate(0)
        try:
            while True:
                os.write(filler.fileno(), b"x" * 4096)
        except OSError:
            pass
    with pytest.raises(StateError, match="full"):
        SqlState(url(tiny / "state.db"))


def test_another_program_that_locks_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's long transaction: after a while the error says that it is locked, and by whom it may be."""
    monkeypatch.setattr("esfeed.store.database._BUSY_MS", 200)
    store = SqlState(url(path))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="locked"):
        store.commits.commit("w", seen("a"))
    other.execute("ROLLBACK")
    store.commits.commit("w", seen("a"))
    assert store.commits.known("w").count() == 1
    other.close()
    store.close()
