"""A process hears that it is to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from esfeed.runtime.signals import StopSignal


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever was there before is there afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_told_by_a_signal_and_stays_so(number: signal.Signals) -> None:
    """Not before the signal, and for good after it."""
    told = StopSignal()
    assert not told()
    os.kill(os.getpid(), number)
    assert told()
    assert told()
