"""One connection to an AMQP server and its channel, driven by the calling thread, each call with a deadline.

The blocking channel of pika waits for the server after every message; this one publishes many, then waits for all.
https://www.rabbitmq.com/docs/confirms · https://pika.readthedocs.io/en/stable/modules/adapters/select.html
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.spec import Basic

from esfeed.sinks.common.tls import plain

_GRACE = 0.5

# Outcomes report what pika logs as errors. It would log them once per attempt while a server is down.
logging.getLogger("pika").addHandler(logging.NullHandler())
logging.getLogger("pika").propagate = False


class Message(NamedTuple):
    """A message to publish. ``id`` is unique within a call."""

    id: str
    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties
    mandatory: bool


class Reply(NamedTuple):
    """The answer of the server to a message: taken or not; ``returned`` says why if no queue would get it."""

    taken: bool
    returned: str = ""


class LinkLost(Exception):
    """The connection is lost, or the deadline has passed; the text says why."""


class Link:
    """A connection; call ``connect`` first. After ``LinkLost``, only ``close`` is useful. For one thread at a time."""

    def __init__(self, parameters: pika.ConnectionParameters, clock: Callable[[], float] = time.monotonic) -> None:
        self._parameters = parameters
        self._clock = clock
        self._loop = IOLoop()
        self._connection: pika.SelectConnection | None = None
        self._channel: Channel | None = None
        self._connected = False
        self._lost: BaseException | None = None
        self._channel_lost: BaseException | None = None
        self._confirming = False
        self._blocked = ""
        self._tags: dict[int, str] = {}
        self._replies: dict[str, Reply] = {}
        self._returned: dict[str, str] = {}
        self._next_tag = 1
        self._closed = False

    def connect(self, deadline: float) -> None:
        """Connects and logs in. Raises the error of the server (an ``AMQPError`` of pika), or ``LinkLost``."""
        self._connection = pika.SelectConnection(
            self._parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_lost,
            on_close_callback=self._on_lost,
            custom_ioloop=self._loop,
        )
        self._drive(lambda: self._connected or self._lost is not None, deadline)
        if self._lost is not None:
            raise self._lost if isinstance(self._lost, AMQPError) else LinkLost(text_of(self._lost))
        if not self._connected:
            raise LinkLost("no answer in time")
        self._connection.add_on_connection_blocked_callback(self._on_blocked)
        self._connection.add_on_connection_unblocked_callback(self._on_unblocked)

    def check_exchange(self, exchange: str, deadline: float) -> BaseException | None:
        """The error of the server about an exchange; ``None`` if it exists, or if the server does not say."""
        found: list[Any] = []
        channel = self._open_channel(deadline)
        with contextlib.suppress(AMQPError):
            channel.exchange_declare(exchange, passive=True, callback=found.append)
        self._drive(lambda: bool(found) or self._channel_lost is not None or self._lost is not None, deadline)
        if found or (isinstance(self._channel_lost, ChannelClosedByBroker) and self._channel_lost.reply_code != 404):
            return None
        return self._lost or self._channel_lost or LinkLost("no answer in time")

    @property
    def alive(self) -> bool:
        """Whether the connection is still open, after reading what has arrived since the last call."""
        if self._connection is not None and self._lost is None:
            try:
                for _ in range(3):  # bytes, their meaning, and the end of the stream
                    self._drive(lambda: False, self._clock())
            except LinkLost as error:
                self._lost = error
        return self._connected and self._lost is None

    def publish(
        self, messages: Mapping[str, Message], deadline: float
    ) -> tuple[Mapping[str, Reply], BaseException | None]:
        """Publishes in order and waits for the answer of the server to each message, by id.

        Also returns the error with which the server closed the channel, if it did: messages without a reply were
        dropped then. Raises ``LinkLost`` if the connection ended or the deadline passed; ``replies`` has the replies
        until then.
        """
        self._replies, self._returned, self._tags = {}, {}, {}
        channel = self._channel
        if channel is None or not channel.is_open or not self._confirming:
            channel = self._confirming_channel(deadline)
        try:
            for message in messages.values():
                channel.basic_publish(*message[1:4], message.properties, mandatory=message.mandatory)
                self._tags[self._next_tag] = message.id
                self._next_tag += 1
        except AMQPError as error:
            raise LinkLost(str(self._lost or error)) from error
        self._drive(
            lambda: len(self._replies) == len(messages) or self._lost is not None or self._channel_lost is not None,
            deadline,
        )
        if len(self._replies) < len(messages):
            if self._lost is not None:
                raise LinkLost(text_of(self._lost))
            if self._channel_lost is None:
                blocked = f"no confirmation in time; the server takes no messages now ({self._blocked})"
                raise LinkLost(blocked if self._blocked else "no confirmation in time")
        return self._replies, self._channel_lost

    @property
    def replies(self) -> Mapping[str, Reply]:
        """The replies of the server to the last ``publish`` so far."""
        return self._replies

    def close(self) -> None:
        """Closes the connection: gracefully if the server answers, by force otherwise."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._hang_up(connection)
        if not self._closed:
            self._closed = True
            self._loop.close()

    def _hang_up(self, connection: pika.SelectConnection) -> None:
        # Errors of pika do not matter here: the connection is not used any more.
        with contextlib.suppress(AMQPError, OSError, LinkLost):
            if not (connection.is_closing or connection.is_closed):
                connection.close()  # ends at once if it is not open yet
                self._drive(lambda: self._lost is not None, self._clock() + _GRACE)
        with contextlib.suppress(AMQPError, OSError, LinkLost):
            if self._lost is None and not connection.is_closed:
                # A server that hangs never answers the close; pika has no public way to abort the connection.
                connection._terminate_stream(None)
                self._drive(lambda: self._lost is not None, self._clock() + _GRACE)

    def _confirming_channel(self, deadline: float) -> Channel:
        channel = self._open_channel(deadline)
        selected: list[Any] = []
        with contextlib.suppress(AMQPError):
            channel.add_on_return_callback(self._on_return)
            channel.confirm_delivery(self._on_reply, callback=selected.append)
        self._drive(lambda: bool(selected) or self._channel_lost is not None or self._lost is not None, deadline)
        if not selected:
            fault = self._lost or self._channel_lost
            raise LinkLost("no answer in time" if fault is None else text_of(fault))
        self._confirming, self._next_tag = True, 1
        return channel

    def _open_channel(self, deadline: float) -> Channel:
        self._channel, self._channel_lost, self._confirming = None, None, False
        opened: list[Channel] = []
        try:
            assert self._connection is not None
            self._connection.channel(on_open_callback=opened.append)
        except AMQPError as error:
            raise LinkLost(text_of(self._lost or error)) from error
        self._drive(lambda: bool(opened) or self._lost is not None, deadline)
        if not opened:
            raise LinkLost("no answer in time" if self._lost is None else text_of(self._lost))
        self._channel = opened[0]
        self._channel.add_on_close_callback(self._on_channel_lost)
        return self._channel

    def _drive(self, done: Callable[[], bool], deadline: float) -> None:
        """Runs the I/O loop and its callbacks until ``done`` or the deadline; at least once."""
        timer = self._loop.call_later(max(deadline - self._clock(), 0.0), lambda: None)
        self._loop.activate_poller()
        try:
            while True:
                self._loop.poll()
                self._loop.process_timeouts()
                if done() or self._clock() >= deadline:
                    return
        except AssertionError as error:
            # pika fails on its own assertions if a connection ends half open.
            raise LinkLost(f"pika failed: {error}") from error
        finally:
            self._loop.deactivate_poller()
            self._loop.remove_timeout(timer)

    def _on_open(self, _: object) -> None:
        self._connected = True

    def _on_lost(self, _: object, reason: str | BaseException) -> None:
        self._lost = LinkLost(reason) if isinstance(reason, str) else reason

    def _on_channel_lost(self, channel: Channel, reason: BaseException) -> None:
        if channel is self._channel:
            self._channel_lost = reason

    def _on_blocked(self, _: object, frame: Any) -> None:
        self._blocked = frame.method.reason or "an alarm"

    def _on_unblocked(self, _: object, __: object) -> None:
        self._blocked = ""

    def _on_return(self, _: object, method: Basic.Return, properties: pika.BasicProperties, __: bytes) -> None:
        self._returned[properties.message_id or ""] = f"{method.reply_code} {method.reply_text}"

    def _on_reply(self, frame: Any) -> None:
        method = frame.method
        taken = isinstance(method, Basic.Ack)
        tags = [tag for tag in self._tags if tag <= method.delivery_tag] if method.multiple else [method.delivery_tag]
        for tag in tags:
            if name := self._tags.pop(tag, ""):
                self._replies[name] = Reply(taken, self._returned.get(name, ""))


def text_of(error: BaseException) -> str:
    """The text of a fault: that of the server if there is one, without names of classes and objects."""
    if hasattr(error, "reply_text"):
        return f"{error.reply_code} {error.reply_text}"  # type: ignore[attr-defined]  # both come together
    # pika wraps the cause in several ways.
    inner = getattr(error, "exception", None) or (getattr(error, "exceptions", None) or error.args or [None])[-1]
    if isinstance(inner, BaseException):
        return text_of(inner)
    if isinstance(error, ssl.SSLError):
        return plain(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
