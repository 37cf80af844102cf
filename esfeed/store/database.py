"""Opens a state database, brings its schema up to date, and turns its faults into errors that name the mend."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.script
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError

from esfeed.errors import ConfigError, StateError

_BUSY_MS = 30_000


def open_database(url: str) -> sa.Engine:
    """An engine on ``url``, migrated. Raises ``ConfigError`` for a bad url, ``StateError`` for a bad database."""
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
    engine = sa.create_engine(parsed, pool_size=20, max_overflow=20)
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    with guarded(url):
        migrate(engine)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    # The driver's own implicit BEGIN would come too late and be of the wrong kind: _on_begin says it instead.
    connection.isolation_level = None
    # FULL: a row of the log that was sent must still be there after a power cut, or its position would be used twice.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}", "temp_store=FILE"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    # A transaction that will write takes the write lock at once: two that first read would block one another for good.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def migrate(engine: sa.Engine) -> None:
    """Runs the steps that the database lacks. Raises ``StateError`` where it has steps that this esfeed lacks."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    script = alembic.script.ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is not None and current not in {step.revision for step in script.walk_revisions()}:
        raise StateError(
            f"the state {engine.url.database} was written by a newer esfeed (its schema is {current!r}, "
            f"this one knows up to {script.get_current_head()!r})",
            "run that version or a later one; a backup made before the upgrade fits this one",
        )
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except CommandError as error:
            raise StateError(f"the state {engine.url.database} cannot be brought up to date", str(error)) from error


_MENDS = (
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
    """Turns the database's own errors into ``StateError``; ``where`` is the database's name for the message."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        text = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
        for part, what, mend in _MENDS:
            if part in text.lower():
                raise StateError(f"{what} ({where}: {text})", mend) from error
        raise StateError(f"the state failed ({where}: {text})", "see the database's own message") from error
