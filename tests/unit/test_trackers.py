"""Both trackers hold what ``ports.Tracker`` promises, over models of a cluster."""

from __future__ import annotations

import pytest

from esfeed.model.event import Key
from esfeed.ports import Batch, Tracker
from esfeed.testing.tracker_contract import TrackerContract
from tests.unit import test_accounting, test_seq_no


class _Modelled(TrackerContract):
    world: test_seq_no.World | test_accounting.World

    def write(self, *docs: int) -> None:
        for doc in docs:
            self.world.step("write", doc)

    def delete(self, *docs: int) -> None:
        for doc in docs:
            self.world.step("delete", doc)


class TestSeqNo(_Modelled):
    @pytest.fixture(autouse=True)
    def _world(self) -> None:
        self.world = self.model = test_seq_no.World()
        self.feed = test_seq_no.Feed(self.model)

    def rest(self) -> None:
        self.model.rest()

    def make(self) -> Tracker:
        self.feed.start()
        return self.feed.tracker

    def keep(self, batch: Batch) -> None:
        self.feed.memory.take(batch)

    def key(self, doc: int) -> Key:
        return test_seq_no.key(doc)


class TestUpdatedAt(_Modelled):
    field = "at"

    @pytest.fixture(autouse=True)
    def _world(self) -> None:
        self.world = self.model = test_accounting.World(lag=False)
        self.memory = test_accounting.Memory()

    def rest(self) -> None:
        self.model.wait()

    def make(self) -> Tracker:
        return test_accounting.Feed(self.model, eager=True, field=self.field, memory=self.memory).tracker

    def keep(self, batch: Batch) -> None:
        self.memory.take(batch)


class TestUpdatedAtWithoutADate(TestUpdatedAt):
    field = ""
