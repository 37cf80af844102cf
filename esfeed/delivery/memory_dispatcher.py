"""A sink with ``persist = false``: events go from the commit into memory, and from there to the target, once.

Best effort, and cheap: no cursor, no parked events, nothing after a restart. It drops and counts what the target does
not take and what exceeds the memory. Only events that were never tried wait for a target to come back.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence

from esfeed.delivery.backoff import for_target
from esfeed.delivery.dispatcher import Delivery
from esfeed.delivery.options import DeliveryOptions
from esfeed.delivery.page import seconds
from esfeed.delivery.reader import left_of
from esfeed.delivery.target import Target
from esfeed.errors import Retryable
from esfeed.model.event import Event, weight
from esfeed.ports import Clock, LogRow, retry
from esfeed.routing.router import RouteFailed, Router

MAX_EVENTS, MAX_BYTES = 10_000, 64 << 20
"""The limits of the memory of one sink: events, bytes."""


class MemoryDispatcher:
    """Delivers to one sink from memory. Any thread may call ``hear``; one thread calls the rest."""

    def __init__(
        self,
        name: str,
        target: Target,
        router: Router,
        options: DeliveryOptions,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._target = target
        self._router = router
        self._options = options
        self._clock = clock
        self._chance = chance
        self._queue: deque[Event] = deque()
        self._size_bytes = 0
        self._lock = threading.Lock()
        self._lost = 0
        self._failures = 0
        self._retry_at = float("-inf")
        self._why = ""

    def start(self) -> None:
        """Does nothing: the sink gets what is committed from now on."""

    def close(self) -> None:
        """Closes the target; the next ``run_once`` opens it again."""
        self._target.close()

    @property
    def backlog(self) -> int:
        """How many events wait in memory."""
        return len(self._queue)

    def hear(self, rows: Sequence[LogRow]) -> None:
        """Takes the events of a commit, except those of a backfill. If the memory is full, it drops the oldest."""
        for event in (row.event for row in rows if row.sink is None):
            try:
                shaped = self._router.shape(self.name, event)
            except RouteFailed as error:
                self._why = str(error)
                self._lost += 1
                continue
            if shaped is not None:
                with self._lock:
                    self._queue.append(shaped)
                    self._size_bytes += weight(shaped)
                    while len(self._queue) > MAX_EVENTS or (self._size_bytes > MAX_BYTES and len(self._queue) > 1):
                        self._size_bytes -= weight(self._queue.popleft())
                        self._lost += 1

    def run_once(self) -> Delivery:
        """Sends one batch. Raises ``ConfigError`` and ``ReaderGone``; the result reports all other failures."""
        left = max(0.0, self._retry_at - self._clock.monotonic())
        with self._lock:
            first = self._queue[0] if self._queue else None
            waiting = len(self._queue)
        if first is None:
            return self._result(0, idle=True)
        if left:
            return self._result(0, wait=left)
        if self._options.linger and waiting < self._options.batch:
            wait = left_of(self._options.linger, first, self._clock.now().timestamp())
            if wait:
                return self._result(0, wait=wait)
        if not self._reached():
            return self._result(0, wait=self._retry_at - self._clock.monotonic())
        batch = self._take()
        sent = self._send(batch) if batch else 0
        return self._result(sent, wait=max(0.0, self._retry_at - self._clock.monotonic()))

    def _reached(self) -> bool:
        try:
            self._target.open()
        except Retryable as error:
            self._pause(error.wait, str(error))
            return False
        return True

    def _take(self) -> list[Event]:
        oldest = self._options.oldest(self._clock.now().timestamp())
        batch: list[Event] = []
        size_bytes = 0
        with self._lock:
            while self._queue and len(batch) < self._options.batch:
                event = self._queue[0]
                late = seconds(event) < oldest
                if batch and not late and size_bytes + weight(event) > self._options.batch_bytes:
                    break
                self._queue.popleft()
                self._size_bytes -= weight(event)
                if late:
                    self._lost += 1
                else:
                    size_bytes += weight(event)
                    batch.append(event)
        return batch

    def _send(self, batch: list[Event]) -> int:
        asked = None
        try:
            outcomes = self._target.send(batch)
        except Retryable as error:
            asked = error.wait
            outcomes = [retry(str(error), error.wait)] * len(batch)
        back = [event for event, outcome in zip(batch, outcomes, strict=True) if not outcome.tried]
        lost = [outcome for outcome in outcomes if not outcome.ok and outcome.tried]
        sent = sum(outcome.ok for outcome in outcomes)
        with self._lock:
            self._queue.extendleft(reversed(back))
            self._size_bytes += sum(map(weight, back))
            self._lost += len(lost)
        self._failures = 0 if sent else self._failures
        self._why = lost[0].reason if lost else ""
        asked = max((outcome.wait for outcome in lost if outcome.wait), default=asked)
        if asked or (lost and not sent) or (back and not sent):
            self._pause(asked, self._why)
        return sent

    def _pause(self, asked: float | None, why: str) -> None:
        self._failures += 1
        self._why = why
        self._retry_at = self._clock.monotonic() + for_target(self._failures, asked, self._chance())

    def _result(self, sent: int, wait: float = 0.0, idle: bool = False) -> Delivery:
        with self._lock:
            lost, self._lost = self._lost, 0
        return Delivery(sent, dropped=lost, wait=None if idle else wait, idle=idle, error=self._why)
