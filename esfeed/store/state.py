"""The state in SQLite (``ports.State``): opens it, and has one part for each port."""

from __future__ import annotations

from esfeed.ports import State
from esfeed.store.backfills import SqlBackfills
from esfeed.store.commits import SqlCommits
from esfeed.store.database import open_database
from esfeed.store.dead_letters import SqlDeadLetters
from esfeed.store.dictionaries import Dictionaries
from esfeed.store.log import SqlLog
from esfeed.store.notes import SqlControl, SqlNotes
from esfeed.store.outbox import SqlOutbox
from esfeed.store.retention import SqlRetention
from esfeed.store.sessions import Sessions
from esfeed.store.sinks import SqlSinkRegistry
from esfeed.store.tokens import SqlTokens
from esfeed.store.watches import SqlWatches


class SqlState:
    """See ``ports.State``. ``url`` is a SQLAlchemy URL. Opening it creates or migrates the database.

    Raises ``ConfigError`` for a bad url, ``StateError`` for a bad database.
    """

    def __init__(self, url: str) -> None:
        engine = open_database(url)
        self.sessions = Sessions(engine, str(engine.url.database))
        self.watches = SqlWatches(self.sessions)
        dictionaries = Dictionaries(self.sessions)
        self.log = SqlLog(self.sessions, dictionaries)
        self.commits = SqlCommits(self.sessions, self.watches, self.log, dictionaries)
        self.backfills = SqlBackfills(self.sessions)
        self.outbox = SqlOutbox(self.sessions, dictionaries)
        self.dead_letters = SqlDeadLetters(self.sessions, dictionaries)
        self.retention = SqlRetention(self.sessions, self.log)
        self.sinks = SqlSinkRegistry(self.sessions)
        self.notes = SqlNotes(self.sessions)
        self.control = SqlControl(self.sessions, self.notes)
        self.tokens = SqlTokens(self.sessions)

    def size_bytes(self) -> int:
        with self.sessions.reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar() or 0
            return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar() or 0)

    def close(self) -> None:
        self.sessions.engine.dispose()


def open_state(url: str) -> State:
    """Opens the state at ``url``. Raises as ``SqlState`` does."""
    return SqlState(url)
