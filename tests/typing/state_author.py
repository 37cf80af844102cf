"""Another implementation of a port of the state, held to its contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_type

from esfeed.model.event import Event
from esfeed.ports import Control, ControlRequest, Log, LogRow, State
from esfeed.store.state import open_state
from esfeed.testing.state_contract import ControlContract


class MemoryControl:
    """Requests in memory."""

    def __init__(self) -> None:
        self._requests: dict[str, ControlRequest] = {}

    def send(self, watch: str, request: ControlRequest) -> None:
        self._requests[watch] = request

    def waiting(self) -> Mapping[str, ControlRequest]:
        return dict(self._requests)

    def take(self) -> Mapping[str, ControlRequest]:
        taken, self._requests = self._requests, {}
        return taken


class TestMemoryControl(ControlContract):
    control: Control = MemoryControl()


def newest(url: str) -> Event | None:
    """The newest event of a state, whatever database holds it."""
    state = open_state(url)
    assert_type(state, State)
    log: Log = state.log
    rows = log.read(max(log.last() - 1, 0), 1)
    assert_type(rows, Sequence[LogRow])
    return rows[0].event if rows else None
