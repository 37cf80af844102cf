"""Remembers SIGTERM and SIGINT; code that works asks for it."""

from __future__ import annotations

import signal
from types import FrameType


class StopSignal:
    """Call it: whether the process must stop. Create it in the main thread, as Python requires.

    The handler sets a plain flag. Setting a ``threading.Event`` there can deadlock: the handler runs in the main thread
    between any two of its steps, and the main thread may hold the lock of the event at that moment.
    """

    def __init__(self) -> None:
        self._received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received = True

    def __call__(self) -> bool:
        return self._received
