"""Limits an HTTP request: one deadline for all of it, and a limit of bytes for the response after decompression.

The timeouts of urllib3 start again with each byte that arrives, so a slow server could hold a request for ever. And it
reads a response to its end, so an endless one, or a few kilobytes of gzip, could fill the memory.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_PIECE = 1 << 20
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class TooLarge(Exception):
    """A response has more bytes than ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the answer is larger than {max_bytes:,} bytes")
        self.max_bytes = max_bytes


class Undecodable(Exception):
    """A response has an unrequested compression, or does not match its declared one."""


class Limits(Protocol):
    """The deadline of a socket."""

    def left(self) -> float:
        """Seconds left. Raises ``TimeoutError`` if there are none."""


class Bounded(socket.socket):
    """A socket that sets its timeout to the remaining time before each call."""

    limits: Limits | None = None

    def _bound(self) -> None:
        if self.limits is not None:
            self.settimeout(self.limits.left())

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        self._bound()
        return super().recv_into(buffer, nbytes or 0, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        self._bound()
        super().sendall(data, flags)


class BoundedTLS(Bounded, ssl.SSLSocket):
    """The same over TLS. ``ssl`` creates these itself (``SSLContext.sslsocket_class``)."""

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        self._bound()
        return super().send(data, flags)


def tls_context(context: ssl.SSLContext) -> ssl.SSLContext:
    """Makes the sockets of ``context`` respect the deadline. Returns ``context``."""
    context.sslsocket_class = BoundedTLS
    return context


def whole(response: Any, max_bytes: int) -> bytes:
    """The complete body of an unread urllib3 response, decompressed.

    Raises ``TooLarge`` for more than ``max_bytes``, and ``Undecodable``. Both close the connection.
    """
    try:
        data = _read(response, max_bytes, (response.headers.get("content-encoding") or "identity").strip().lower())
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return data


def _read(response: Any, max_bytes: int, coding: str) -> bytes:
    if coding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise Undecodable(f"the answer is compressed as {coding[:30]!r}, which esfeed did not request")
    plain = coding == "identity"
    decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
    parts: list[bytes] = []
    room = max_bytes
    while piece := response.read(_PIECE, decode_content=False):
        if not plain:
            try:
                piece = decoder.decompress(piece, room + 1)
            except zlib.error as error:
                raise Undecodable(f"the answer is not valid {coding}: {error}") from error
        room -= len(piece)
        if room < 0:
            raise TooLarge(max_bytes)
        parts.append(piece)
    if not plain and parts and not decoder.eof:
        raise Undecodable(f"the answer ends in the middle of its {coding}")
    return b"".join(parts)
