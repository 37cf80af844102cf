"""Reads the log once for all readers: one thread reads new entries, and a ring keeps the newest ones.

Readers run in the event loop of the server. A reader that keeps up finds its events in the ring, encoded once for all.
A reader that is behind the ring reads pages of the log itself, a few at a time, until it has caught up. Nothing waits
for a reader: a slow one costs only what is in flight to it. Without readers, the log is not read.
"""

from __future__ import annotations

import asyncio
import bisect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from esfeed.errors import EsfeedError
from esfeed.model.event import Event
from esfeed.ports import Log, LogRow, Notifier
from esfeed.web.query import Wanted
from esfeed.web.texts import message

log = structlog.get_logger("esfeed")

PAGE = 500
_RING = 2000
_RING_BYTES = 16 << 20
_PAGES_AT_ONCE = 4
_LOOK_AGAIN = 0.2
_AFTER_A_FAULT = 1.0


class Slot:
    """An event of the log, with cached results. For the event loop only."""

    __slots__ = ("_known", "_messages", "event", "position", "size_bytes")

    def __init__(self, row: LogRow) -> None:
        self.position = row.position
        # An event for one sink only (a backfill) is not for readers.
        self.event = row.event if row.sink is None else None
        parts = (self.event.before, self.event.after) if self.event else ()
        self.size_bytes = sum(len(bytes(part)) for part in parts if part is not None)
        self._messages: dict[bool, bytes] = {}
        self._known: dict[str, bool] = {}

    def seen_by(self, wanted: Wanted) -> Event | None:
        """The event as that reader gets it, or ``None``."""
        return None if self.event is None else wanted.of(self.event, self._known)

    def message(self, visible: Event, safe_integers: bool) -> bytes:
        """``visible`` as a server-sent event; cached if it is the unchanged event of the log."""
        if visible is not self.event:
            return message(visible, safe_integers)
        if safe_integers not in self._messages:
            self._messages[safe_integers] = message(visible, safe_integers)
        return self._messages[safe_integers]


class Tail:
    """The newest part of the log. Create it; then call ``start`` and ``close`` in the event loop of the readers.

    The constructor raises ``StateError`` if the log is unreadable.
    """

    def __init__(self, event_log: Log, notifier: Notifier) -> None:
        self._log = event_log
        self._notifier = notifier
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: list[Slot] = []
        self._positions: list[int] = []
        self._size_bytes = 0
        self._base = self._end = event_log.head()
        self._news = asyncio.Event()
        self._pages = asyncio.Semaphore(_PAGES_AT_ONCE)
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.readers = 0

    @property
    def closing(self) -> bool:
        """Whether readers must leave."""
        return self._closed.is_set()

    def start(self) -> None:
        """Starts at the end of the log at the time of creation."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._read, name="web tail", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Disconnects all readers and ends the thread."""
        self._closed.set()
        self._wanted.set()
        self._wake()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The log is read while any reader is in this context."""
        self.readers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self.readers -= 1
            if not self.readers and not self.closing:
                self._wanted.clear()

    async def after(self, position: int, timeout: float) -> Sequence[Slot]:
        """Slots after ``position``, in order, up to a page; waits up to ``timeout`` seconds for the first.

        Raises ``StateError`` if the log is unreadable.
        """
        if position < self._base:
            return await self.page(position)
        found = self._from(position)
        if found or self.closing or timeout <= 0:
            return found
        news = self._news
        try:
            async with asyncio.timeout(timeout):
                await news.wait()
        except TimeoutError:
            return ()
        return self._from(position) if position >= self._base else await self.page(position)

    async def page(self, position: int, size: int = PAGE) -> Sequence[Slot]:
        """A page of the log itself, after ``position``."""
        async with self._pages:
            rows = await asyncio.to_thread(self._log.read, position, size)
        return [Slot(row) for row in rows]

    def _from(self, position: int) -> Sequence[Slot]:
        start = bisect.bisect_right(self._positions, position)
        return self._slots[start : start + PAGE]

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _add(self, rows: Sequence[LogRow]) -> None:
        for row in rows:
            slot = Slot(row)
            self._slots.append(slot)
            self._positions.append(slot.position)
            self._size_bytes += slot.size_bytes
        spare = max(0, len(self._slots) - _RING)
        size_bytes = self._size_bytes - sum(slot.size_bytes for slot in self._slots[:spare])
        while size_bytes > _RING_BYTES and spare < len(self._slots) - 1:
            size_bytes -= self._slots[spare].size_bytes
            spare += 1
        if spare:
            self._base = self._positions[spare - 1]
            del self._slots[:spare], self._positions[:spare]
        self._size_bytes = size_bytes
        self._wake()

    def _begin_at(self, position: int) -> None:
        """There was no reader for a while, and the log grew by more than the ring: what the ring has is too old."""
        self._slots.clear()
        self._positions.clear()
        self._size_bytes = 0
        self._base = position
        self._wake()

    def _read(self) -> None:
        while not self._closed.is_set():
            if not self._wanted.is_set():
                self._wanted.wait()
                self._skip()
                continue
            try:
                rows = self._log.read(self._end, PAGE)
            except EsfeedError as error:
                log.error("web.log_unreadable", error=str(error))
                self._closed.wait(_AFTER_A_FAULT)
                continue
            if rows:
                self._end = rows[-1].position
                self._tell(self._add, rows)
            else:
                self._notifier.wait(_LOOK_AGAIN)

    def _skip(self) -> None:
        try:
            head = self._log.head()
        except EsfeedError:
            return
        if head - self._end > _RING:
            self._end = head
            self._tell(self._begin_at, head)

    def _tell(self, what: object, *args: object) -> None:
        try:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(what, *args)  # type: ignore[arg-type]
        except RuntimeError:
            self._closed.set()
