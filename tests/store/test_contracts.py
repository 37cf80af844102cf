"""The state over SQLite holds what the ports promise."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from esfeed.model.event import Key, Revision
from esfeed.ports import Commit, Entry
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event
from esfeed.testing.state_contract import (
    CommitsContract,
    ControlContract,
    DatedRevisionsContract,
    LogContract,
    OutboxContract,
    ShardRevisionsContract,
)


class _Sql:
    @pytest.fixture(autouse=True)
    def _state(self, store: SqlState) -> None:
        self.store = store
        self.log, self.outbox, self.commits, self.control = store.log, store.outbox, store.commits, store.control
        self.known = store.commits.known("w")

    def append(self, doc: str, sink: str | None = None) -> int:
        entry = Entry(Key("_doc", doc), sample_event(doc_id=doc), sink)
        (row,) = self.store.commits.commit("w", Commit(entries=[entry]))
        return row.position

    def learn(self, revisions: Mapping[Key, Revision]) -> None:
        self.store.commits.commit("w", Commit(revisions))

    def forget(self, keys: Collection[Key]) -> None:
        self.store.commits.commit("w", Commit(gone=keys))


class TestLog(_Sql, LogContract):
    pass


class TestOutbox(_Sql, OutboxContract):
    pass


class TestCommits(_Sql, CommitsContract):
    pass


class TestShardRevisions(_Sql, ShardRevisionsContract):
    pass


class TestDatedRevisions(_Sql, DatedRevisionsContract):
    pass


class TestControl(_Sql, ControlContract):
    pass
