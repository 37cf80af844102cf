"""What stands for the state in fast tests holds what the state itself holds: the same suites."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from esfeed.model.event import Document, Key, Revision
from esfeed.ports import Batch
from esfeed.runtime.notifier import LocalNotifier
from esfeed.testing.state_contract import (
    DatedRevisionsContract,
    LogContract,
    NotifierContract,
    OutboxContract,
    ShardRevisionsContract,
)
from tests.delivery.fakes import FakeStore
from tests.unit import test_accounting, test_seq_no


class _Fake:
    @pytest.fixture(autouse=True)
    def _state(self) -> None:
        self.log = self.outbox = FakeStore()

    def append(self, doc: str, sink: str | None = None) -> int:
        return self.log.add(doc, sink)


class TestLog(_Fake, LogContract):
    pass


class TestOutbox(_Fake, OutboxContract):
    pass


class TestMemoryOfSeqNo(ShardRevisionsContract):
    @pytest.fixture(autouse=True)
    def _state(self) -> None:
        self.known = self.memory = test_seq_no.Memory()

    def learn(self, revisions: Mapping[Key, Revision]) -> None:
        self.memory.known |= {key: (revision, b"") for key, revision in revisions.items()}

    def forget(self, keys: Collection[Key]) -> None:
        for key in keys:
            revision, _ = self.memory.known.pop(key)
            self.memory.graves[key] = revision, self.memory.polls, None


class TestMemoryOfUpdatedAt(DatedRevisionsContract):
    @pytest.fixture(autouse=True)
    def _state(self) -> None:
        self.known = self.memory = test_accounting.Memory()

    def learn(self, revisions: Mapping[Key, Revision]) -> None:
        docs = [
            Document(key, one.index, one.uuid, one.version, source=b"{}", stamp=one.stamp)
            for key, one in revisions.items()
        ]
        self.memory.take(Batch(docs))

    def forget(self, keys: Collection[Key]) -> None:
        self.memory.take(Batch(gone=[(key, self.memory.known[key]) for key in keys]))


class TestNotifier(NotifierContract):
    @pytest.fixture(autouse=True)
    def _notifier(self) -> None:
        self.notifier = LocalNotifier()
