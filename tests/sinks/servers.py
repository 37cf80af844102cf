"""A real server of a test module's own (see ``tests.support.services``), with the words that its tests need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from esfeed.model.event import Event
from esfeed.ports import Outcome, Sink
from tests.support.services import VARIABLE, OwnService, selected


class Server:
    """Up once made. What its record holds is an attribute: ``port``, ``tls_port``, ``username``, ``ca_certs``, …"""

    def __init__(self, name: str, settings: Mapping[str, str] | None = None) -> None:
        if name not in selected():
            pytest.skip(f"{VARIABLE} leaves out {name}")
        self._own = OwnService(name, settings)

    def __getattr__(self, key: str) -> Any:
        return getattr(self._own.now, key)

    def start(self) -> None:
        """Starts it again, on its port and data."""
        self._own.start()

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        self._own.kill()
        self._own.stop()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped meanwhile (SIGSTOP): it takes connections, as the kernel does that, and answers nothing."""
        self._own.pause()
        try:
            yield
        finally:
            self._own.resume()

    def close(self) -> None:
        """Ends it and removes its data."""
        self._own.discard()


def kill_amid(
    sink: Sink,
    event: Callable[[int], Event],
    kill: Callable[[], None],
    again: Callable[[], None],
    look: Callable[[Sequence[Event], Sequence[Outcome]], None] = lambda events, outcomes: None,
    size: int = 50,
    after: float = 0.1,
) -> int:
    """Sends batches of ``event(1)`` and so on until ``kill``, ``after`` seconds on, broke one, and then what is left.

    ``again`` starts the server anew; ``look`` sees each broken batch before that. Returns how many events there were.
    """
    killer = threading.Timer(after, kill)
    killer.start()
    made = faults = 0
    left: list[Event] = []
    try:
        while left or not faults:
            if not left:
                left = [event(made + n) for n in range(1, size + 1)]
                made += size
            outcomes = sink.send(left)
            if not all(outcome.ok for outcome in outcomes):
                faults += 1
                assert faults < 20
                killer.join()
                look(left, outcomes)
                again()
            left = [e for e, outcome in zip(left, outcomes, strict=True) if not outcome.ok]
    finally:
        killer.join()
        if not faults:
            again()  # or the tests after this one would find nobody
    return made
