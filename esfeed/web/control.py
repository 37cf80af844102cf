"""The messages between a feed and the process that serves it over HTTP: one JSON value per line, over a socket pair."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

_SENT_WITHIN = 2
"""Seconds after which a line that the other side does not read is abandoned."""


class News(msgspec.Struct, frozen=True, tag="news"):
    """To the server: the log has new entries."""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """To the server: the answer to its request ``number``."""

    number: int
    metrics: str = ""
    history: Mapping[str, Sequence[int]] = {}


class Leave(msgspec.Struct, frozen=True, tag="leave"):
    """To the server: disconnect all readers, and end."""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """To the feed: answer ``what`` under that ``number``."""

    number: int
    what: Literal["metrics", "history", "alive"]


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """To the feed: the server listens at ``url``; ``link`` lets one browser in, once."""

    url: str
    link: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """To the feed: the server cannot start. With a ``key``, the settings are at fault (see ``ConfigError``)."""

    message: str
    hint: str
    key: str = ""


class Logged(msgspec.Struct, frozen=True, tag="logged"):
    """To the feed: an event for its log."""

    level: str
    event: str
    fields: dict[str, Any]


Message = News | Answer | Leave | Ask | Ready | Refused | Logged
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class Channel:
    """One end of the connection. Any thread may send, one receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lines = sock.makefile("rb")
        self._turn = threading.Lock()
        # The other side may be stopped: do not wait for it forever.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SENT_WITHIN, 0))

    def send(self, message: Message) -> bool:
        """Sends a message; returns whether the other side took it. If not, the channel ends: a line may be cut off."""
        line = msgspec.json.encode(message) + b"\n"
        with self._turn:
            try:
                self._sock.sendall(line)
            except OSError:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)
                return False
        return True

    def receive(self) -> Iterator[Message]:
        """The messages of the other side, until it is gone."""
        with contextlib.suppress(OSError, ValueError):
            for line in self._lines:
                yield _decoder.decode(line)

    def close(self) -> None:
        """Ends the channel for both sides."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._sock.close()
