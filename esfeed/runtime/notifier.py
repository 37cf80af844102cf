"""Wakes threads that wait for the log (``ports.Notifier``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from esfeed.ports import LogRow


class LocalNotifier:
    """See ``ports.Notifier``. Commits of another process wake no thread here."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._subscribers: list[Callable[[Sequence[LogRow]], None]] = []

    def publish(self, rows: Sequence[LogRow]) -> None:
        if not rows:
            return
        for subscriber in self._subscribers:
            subscriber(rows)
        self.wake()

    def subscribe(self, subscriber: Callable[[Sequence[LogRow]], None]) -> None:
        self._subscribers.append(subscriber)

    def wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
