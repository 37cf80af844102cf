"""Opens a state database, migrates its schema, and turns its errors into errors with a hint."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from esfeed.errors import ConfigError, StateError
from esfeed.store.identity import SameFile, make_private
from esfeed.store.schema import REVISION

_BUSY_MS = 30_000
_AT_ONCE = 40
_KEPT = 8
"""Connections that stay open. Each has a page cache of up to 2 MB and its own statements, so the pool reuses the last
one, and closes those beyond this number after use. To open one takes 0.2 ms.
"""
_SPARE_PAGES, _MOST_PAGES = 1000, 4000


def open_database(url: str) -> sa.Engine:
    """Opens and migrates the database at ``url``. Raises ``ConfigError`` (bad url), ``StateError`` (bad database)."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise ConfigError("state", url, 'write a database URL such as "sqlite:///esfeed.db"') from None
    if parsed.get_backend_name() != "sqlite":
        raise ConfigError("state", parsed.drivername, 'only SQLite is supported so far, such as "sqlite:///esfeed.db"')
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError("state", url, 'name a file, such as "sqlite:///esfeed.db": a feed must survive its process')
    parent = Path(parsed.database).absolute().parent
    if not parent.is_dir():
        raise ConfigError("state", url, f"the folder {parent} does not exist; make it, or name another")
    engine = sa.create_engine(parsed, pool_size=_KEPT, max_overflow=_AT_ONCE - _KEPT, pool_use_lifo=True)
    path = Path(parsed.database).absolute()
    try:
        make_private(path)
        same = SameFile(path)
    except OSError as error:
        hint = "let this user read and write the file and its folder"
        raise StateError(f"the state cannot be opened ({path}: {error.strerror})", hint) from error
    # Before a connection, which would create a missing file, and before each transaction.
    sa.event.listen(engine, "do_connect", lambda *_: same.check())
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", lambda _: same.check())
    sa.event.listen(engine, "begin", _on_begin)
    with guarded(url):
        if _revision(engine) != REVISION:
            # Imported only now: Alembic takes as long to import as a whole poll by cron.
            from esfeed.store.upgrade import migrate

            migrate(engine)
    return engine


def _revision(engine: sa.Engine) -> str | None:
    """The schema version of the database; ``None`` if it is empty."""
    if not sa.inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _on_connect(connection: Any, _record: object) -> None:
    # The driver's implicit BEGIN would come too late and be of the wrong kind; _on_begin sends it instead.
    connection.isolation_level = None
    # This must come before the first table, or it has no effect. It lets freed pages be returned bit by bit. A state of
    # an older esfeed reuses them instead, which limits the file as well.
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    # FULL: a sent row of the log must survive a power cut, or its position would be used again.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}", "temp_store=FILE"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    # A writing transaction takes the write lock at once: two that read first would block each other for ever.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def give_back(engine: sa.Engine) -> bool:
    """Gives a limited number of unused pages, except for a reserve, back to the file system.

    Returns whether it gave any back.
    """
    raw = engine.raw_connection()
    try:
        driver: Any = raw.driver_connection
        free = driver.execute("PRAGMA freelist_count").fetchone()[0]
        if free <= _SPARE_PAGES:
            return False
        # As a script: `execute` takes one step of a statement without columns, and each step frees one page.
        driver.executescript(f"PRAGMA incremental_vacuum({min(free - _SPARE_PAGES, _MOST_PAGES)})")
        return bool(driver.execute("PRAGMA freelist_count").fetchone()[0] < free)
    finally:
        raw.close()


def shrink(engine: sa.Engine) -> None:
    """Gives all unused pages, except for a reserve, back to the file system, and empties the write-ahead log."""
    while give_back(engine):
        pass
    raw = engine.raw_connection()
    try:
        driver: Any = raw.driver_connection
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        raw.close()


_HINTS = (
    (
        "disk is full",
        "the disk under the state is full",
        "free some space; nothing was lost, and the feed goes on",
    ),
    ("disk i/o error", "the disk under the state fails or is full", "look at the disk; nothing committed was lost"),
    ("readonly", "the state is read-only", "let this user write the file and its folder"),
    ("unable to open", "the state cannot be opened", "let this user read and write the file and its folder"),
    ("not a database", "the state is not a SQLite database", "name another file in `state`, or restore a backup"),
    ("malformed", "the state is corrupt", "restore a backup, or move it away and start anew"),
    ("locked", "the state is locked by another process for too long", "see who else writes to that file"),
)


@contextmanager
def guarded(where: str) -> Iterator[None]:
    """Turns errors of the database into ``StateError``. ``where`` is the name of the database for the message."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        text = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
        for part, what, hint in _HINTS:
            if part in text.lower():
                raise StateError(f"{what} ({where}: {text})", hint) from error
        raise StateError(f"the state failed ({where}: {text})", "see the database's own message") from error
