"""How a process is told to end: SIGTERM or SIGINT, remembered, and asked for by whoever works."""

from __future__ import annotations

import signal
from types import FrameType


class StopSignal:
    """Call it: whether the process was told to end. Make it in the main thread, as Python wants it.

    The handler sets a plain flag. Setting a ``threading.Event`` there can wait for ever: the handler runs in the main
    thread, between any two steps of it, and that may hold the event's own lock just then.
    """

    def __init__(self) -> None:
        self._received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received = True

    def __call__(self) -> bool:
        return self._received
