"""``GET /v1/changes``: a page of events, a page that waits for its first event, or a stream of events.

A position is the whole state of a reader, so a reader continues from its own position after a disconnect or a restart
of the server. For positions that the log no longer holds, the answer is 410 with the first one that is left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import msgspec
import structlog
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from esfeed.config.http import HttpSettings
from esfeed.config.load import WatchSettings
from esfeed.errors import EsfeedError
from esfeed.ports import Log
from esfeed.web import query
from esfeed.web.callers import Caller
from esfeed.web.identity import Identity
from esfeed.web.metrics import HttpMetrics
from esfeed.web.problems import Problem, unauthorized
from esfeed.web.query import Query, TenantFields
from esfeed.web.tail import PAGE, Slot, Tail
from esfeed.web.texts import text

log = structlog.get_logger("esfeed")

_RETRY_MS = 2000
_MAX_PAGES = 20
_MAX_PAGE_BYTES = 4 << 20
_CHUNK = 256 << 10
_FULL = {"retry-after": "5"}


class Feed:
    """Serves the log to readers. Runs in the event loop of the server."""

    def __init__(
        self,
        event_log: Log,
        tail: Tail,
        identity: Identity,
        settings: HttpSettings,
        watches: Mapping[str, WatchSettings],
        metrics: HttpMetrics,
    ) -> None:
        self._log = event_log
        self._tail = tail
        self._identity = identity
        self._settings = settings
        self._watches = watches
        shape = settings.shape()
        self._tenant_fields = (
            TenantFields(shape, {name: one.timestamp_field for name, one in watches.items()}) if shape else None
        )
        self._metrics = metrics
        self._readers: dict[str, int] = {}

    async def changes(self, request: Request) -> Response:
        """The endpoint. Raises ``Problem``."""
        caller: Caller = request.state.caller
        asked = query.parse(request.query_params, request.headers, caller, self._watches, self._tenant_fields)
        since = await self._begin(asked.since)
        if asked.feed == "normal" or request.method == "HEAD":
            return await self._page(asked, since)
        self._have_room(caller)
        if asked.feed == "longpoll":
            with self._among_the_readers(caller, "longpoll"):
                return await self._page(asked, since, self._token_check(request, caller), asked.timeout)
        seat = self._among_the_readers(caller, "eventsource")
        return _Stream(
            self._stream(asked, since, self._token_check(request, caller)), self._settings.cut_off, seat, self._metrics
        )

    async def _begin(self, since: int | None) -> int:
        """The position to read after. Raises ``Problem`` 410 if it is no longer in the log, 409 if it never was."""
        head, first = await asyncio.to_thread(lambda: (self._log.head(), self._log.first()))
        # An empty log has no first position, but what was in it is gone all the same.
        left = head + 1 if first is None else first
        if since is None:
            return left - 1
        if since < 0:
            return head
        if since > head:
            detail = f"the log ends at position {head}; {since} is from another log, or from before a restore"
            raise Problem(409, detail, {"last": head})
        if since + 1 < left:
            raise _gone(since, left, head)
        return since

    def _have_room(self, caller: Caller) -> None:
        """Raises ``Problem`` if the limit of readers is reached."""
        if sum(self._readers.values()) >= self._settings.readers:
            raise Problem(503, f"{self._settings.readers} readers is the limit (http.readers); try again", None, _FULL)
        if not caller.admin and self._readers.get(caller.name, 0) >= self._settings.readers_of_one:
            limit = self._settings.readers_of_one
            raise Problem(429, f"{limit} readers per token is the limit (http.readers_of_one)", None, _FULL)

    @contextmanager
    def _among_the_readers(self, caller: Caller, kind: str) -> Iterator[None]:
        self._readers[caller.name] = self._readers.get(caller.name, 0) + 1
        self._metrics.readers(kind, 1)
        try:
            with self._tail.reading():
                yield
        finally:
            self._metrics.readers(kind, -1)
            self._readers[caller.name] -= 1
            if not self._readers[caller.name]:
                del self._readers[caller.name]

    def _token_check(self, request: Request, caller: Caller) -> TokenCheck:
        """Created when a reader is admitted, right after its token was checked."""
        return TokenCheck(lambda: self._identity.still_good(request, caller), self._identity.recheck)

    async def _page(self, asked: Query, since: int, check: TokenCheck | None = None, timeout: float = 0.0) -> Response:
        """Up to ``limit`` events; with a ``timeout``, waits until there is one or the time is over.

        Raises ``Problem`` 401 if the token of the reader becomes invalid while it waits.
        """
        until = time.monotonic() + timeout
        page = _ChangesPage(asked, since)
        for _ in range(_MAX_PAGES):
            wait = 0.0 if page.events else until - time.monotonic()
            if timeout > 0 and check is not None:
                slots = await self._wait(page.position, wait, check)
            else:
                slots = await self._tail.page(page.position, page.room)
            if slots and slots[0].position > page.position + 1 and (first := await self._dropped(page.position)):
                # Dropped since this request was admitted.
                raise _gone(page.position, first)
            if timeout > 0:
                page.take(slots)
            else:
                # No other reader shares these: evaluate thousands of expressions in a thread, not in the loop.
                await asyncio.to_thread(page.take, slots)
            if page.full or not (slots or (timeout > 0 and wait > 0)) or self._tail.closing:
                break
        head = max(page.position, await asyncio.to_thread(self._log.head))
        self._metrics.events_out(asked.feed, len(page.events))
        body = b'{"events":[%b],"last":%d,"head":%d}' % (b",".join(page.events), page.position, head)
        return Response(body, media_type="application/json")

    async def _wait(self, position: int, seconds: float, check: TokenCheck) -> Sequence[Slot]:
        """The slots after ``position``, as soon as there are any; rechecks the reader at intervals."""
        until = time.monotonic() + seconds
        while True:
            slots = await self._tail.after(position, max(0.0, min(until - time.monotonic(), check.due_in)))
            if not await check.passes():
                raise unauthorized("the token was removed or expired while this request waited")
            if slots or self._tail.closing or time.monotonic() >= until:
                return slots

    async def _stream(self, asked: Query, since: int, check: TokenCheck) -> AsyncIterator[bytes]:
        position, told_of = since, -1
        spoke = time.monotonic()
        yield b"retry: %d\n\n" % _RETRY_MS
        while not self._tail.closing and await check.passes():
            silent = time.monotonic() - spoke
            try:
                slots = await self._tail.after(position, min(max(0.0, self._settings.heartbeat - silent), check.due_in))
            except EsfeedError as error:
                log.error("web.log_unreadable", error=str(error))
                return
            if slots and slots[0].position > position + 1 and (first := await self._dropped(position)):
                # Dropped from the log while this reader was behind: it gets a message, and its next request the 410.
                yield b"event: gone\ndata: %b\n\n" % msgspec.json.encode({"first": first})
                return
            for chunk, number, last in _chunks(slots, asked):
                if not await check.passes():
                    return
                self._metrics.events_out("eventsource", number)
                told_of, spoke = last, time.monotonic()
                yield chunk
            position = slots[-1].position if slots else position
            if time.monotonic() - spoke >= self._settings.heartbeat:
                # An id alone is remembered and dispatches nothing: a reader with a narrow filter keeps its position.
                yield b":\n\n" if told_of == position else b"id: %d\n\n" % position
                told_of, spoke = position, time.monotonic()

    async def _dropped(self, position: int) -> int | None:
        """The first position left, if entries after ``position`` were dropped from the log; otherwise ``None``."""
        first = await asyncio.to_thread(self._log.first)
        return first if first is not None and first > position + 1 else None


def _gone(since: int, first: int, head: int | None = None) -> Problem:
    detail = f"the log no longer holds position {since + 1}; the first one left is {first}: read with since={first - 1}"
    return Problem(410, detail, {"first": first, **({} if head is None else {"last": head})})


class TokenCheck:
    """Whether an admitted reader may stay: calls ``good`` again every ``recheck`` seconds, and not more often."""

    def __init__(self, good: Callable[[], Awaitable[bool]], recheck: float) -> None:
        self._good = good
        self._recheck = recheck
        self._asked = time.monotonic()

    @property
    def due_in(self) -> float:
        """Seconds until the next check."""
        return max(0.0, self._asked + self._recheck - time.monotonic())

    async def passes(self) -> bool:
        if self.due_in:
            return True
        self._asked = time.monotonic()
        return await self._good()


class _ChangesPage:
    """A page while it fills."""

    def __init__(self, asked: Query, since: int) -> None:
        self.position = since
        self.events: list[bytes] = []
        self._asked = asked
        self._size_bytes = 0

    @property
    def full(self) -> bool:
        return len(self.events) >= self._asked.limit or self._size_bytes >= _MAX_PAGE_BYTES

    @property
    def room(self) -> int:
        """How many rows to read: as many as are missing if the reader gets every event, otherwise a whole page."""
        return self._asked.limit - len(self.events) if self._asked.wanted.everything else PAGE

    def take(self, slots: Sequence[Slot]) -> None:
        """Adds the wanted events of ``slots``, until the page is full."""
        for slot in slots:
            if self.full:
                return
            self.position = slot.position
            visible = slot.seen_by(self._asked.wanted)
            if visible is not None:
                self.events.append(text(visible, self._asked.safe_integers))
                self._size_bytes += len(self.events[-1])


def _chunks(slots: Sequence[Slot], asked: Query) -> Iterator[tuple[bytes, int, int]]:
    """The messages of some slots, joined to chunks of a good size: (chunk, number of messages, last position)."""
    parts: list[bytes] = []
    size = last = 0
    for slot in slots:
        visible = slot.seen_by(asked.wanted)
        if visible is None:
            continue
        parts.append(slot.message(visible, asked.safe_integers))
        size, last = size + len(parts[-1]), slot.position
        if size >= _CHUNK:
            yield b"".join(parts), len(parts), last
            parts, size = [], 0
    if parts:
        yield b"".join(parts), len(parts), last


class _Stream(EventSourceResponse):
    """A stream that gives up its seat at the end, and cuts off a reader that does not read."""

    def __init__(
        self, content: AsyncIterator[bytes], cut_off: float, seat: AbstractContextManager[None], metrics: HttpMetrics
    ) -> None:
        super().__init__(content, ping=0, send_timeout=cut_off, sep="\n")
        self._seat = seat
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seat:
            try:
                await super().__call__(scope, receive, send)
            except SendTimeoutError:
                self._metrics.cut_off()
