"""Limits for a connection before its caller is known: bytes, time, and number of connections.

With httptools, uvicorn limits neither the size of the head of a request nor its time. The limits here are close to the
defaults of nginx and Apache.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from esfeed.web.problems import Problem

MAX_URL = 8 << 10
MAX_HEAD = 16 << 10
MAX_BODY = 1 << 20
HEAD_WITHIN = 10.0
"""Seconds for the head of a request, from the connection or the end of the previous answer."""
BODY_WITHIN = 30.0
"""Seconds for the rest of the request."""

_BESIDE = 4
"""The bytes between a name and its value, and behind the value."""
_WHY = {
    HTTPStatus.REQUEST_TIMEOUT: f"the head of a request must arrive within {HEAD_WITHIN:g} s",
    HTTPStatus(413): f"the body of a request may have up to {MAX_BODY:,} bytes",
    HTTPStatus(414): f"a URL may have up to {MAX_URL:,} bytes",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"the head of a request may have up to {MAX_HEAD:,} bytes",
    HTTPStatus.SERVICE_UNAVAILABLE: "too many connections (http.connections, http.connections_of_one)",
}


class Connections:
    """Counts connections, in all and by address, against ``limit`` and ``limit_of_one``.

    ``refused`` is called with the status of each refused one. Runs in the event loop of the server.
    """

    def __init__(self, limit: int, limit_of_one: int, refused: Callable[[int], None]) -> None:
        self._limit = limit
        self._limit_of_one = limit_of_one
        self.refused = refused
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Counts a connection; returns whether it is within the limits."""
        self._by_address[address] += 1
        return self._by_address.total() <= self._limit and self._by_address[address] <= self._limit_of_one

    def leave(self, address: str) -> None:
        """Uncounts a connection."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def protocol(self) -> type[asyncio.Protocol]:
        """The protocol class of connections that are counted here, for ``uvicorn.Config(http=…)``."""
        return type("CountedProtocol", (BoundedProtocol,), {"counted": self})


class _Refused(Exception):
    """Raised in the callbacks of the parser, to stop it."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection with limited requests. A request beyond a limit gets an answer with the reason, and closes it."""

    counted: Connections

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._address = ""
        self._in_head = True
        self._size_bytes = 0
        self._why: HTTPStatus | None = None
        self._ended = False
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        if self.counted.enter(self._address):
            self._wait(HEAD_WITHIN)
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._quiet()
        self.counted.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._size_bytes += len(data)
        super().data_received(data)
        # The parser makes no callback for the beginning of an unfinished line.
        if self._in_head and self._size_bytes > MAX_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._size_bytes = True, 0
        self._wait(HEAD_WITHIN)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL:
            self._why = HTTPStatus(414)
            raise _Refused

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) + _BESIDE for name, value in self.headers) > MAX_HEAD:
            self._why = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise _Refused
        self._in_head, self._size_bytes = False, 0
        self._wait(BODY_WITHIN)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._size_bytes > MAX_BODY:
            self._why = HTTPStatus(413)
            raise _Refused
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._quiet()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._why is None:
            super().send_400_response(msg)
        else:
            self._refuse(self._why)

    def _wait(self, seconds: float) -> None:
        self._quiet()
        self._alarm = self.loop.call_later(seconds, self._late)

    def _quiet(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _late(self) -> None:
        if self._in_head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answers with that status, and closes the connection without reading on."""
        if self._ended:
            return
        self._ended = True
        self._quiet()
        self.counted.refused(status)
        if self.cycle is None or self.cycle.response_complete:
            answer = Problem(status, _WHY[status], headers={"connection": "close"}).response()
            lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
            lines += [name + b": " + value for name, value in answer.raw_headers]
            self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()
