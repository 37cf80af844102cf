"""One MQTT 5 connection, from CONNECT to its end. It turns the callbacks of paho's thread into values to wait for."""

from __future__ import annotations

import contextlib
import copy
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from esfeed.errors import ConfigError, Retryable
from esfeed.sinks.common.deadline import within
from esfeed.sinks.common.tls import client_context, plain
from esfeed.sinks.mqtt.settings import MqttSettings

LARGEST_PACKET = 268_435_455  # the limit of the protocol
_KEEPALIVE = 30
_IN_FLIGHT = 100
_WRONG_LOGIN = (0x86, 0x87)


class Message(NamedTuple):
    """A message to publish. ``size`` is that of its packet, or a few bytes more."""

    topic: str
    payload: bytes
    retain: bool
    properties: Properties

    @property
    def size(self) -> int:
        # Computed, because paho encodes the properties again, and slowly, when it publishes.
        texts = [text for pair in getattr(self.properties, "UserProperty", ()) for text in pair]
        kind = getattr(self.properties, "ContentType", "")
        properties = 3 + len(kind) + sum(3 + len(text.encode()) for text in texts)
        return 10 + len(self.topic.encode()) + properties + len(self.payload)


class Link:
    """A connection, open once created. If it is lost, create a new one. For one thread at a time."""

    def __init__(self, settings: MqttSettings, end: float) -> None:
        """Connects before ``end`` (monotonic). Raises ``ConfigError`` or ``Retryable``."""
        self._settings = settings
        self._where = settings.address.shown
        self._changed = threading.Condition()
        self._acks: dict[int, int] = {}
        self._wanted = 0
        self._connack: tuple[ReasonCode, Properties | None] | None = None
        self._lost = ""
        self._client = self._made()
        self.largest = LARGEST_PACKET
        self._window = 1
        try:
            self._connect(end)
        except BaseException:
            self.close()
            raise

    def _made(self) -> paho.Client:
        settings, address = self._settings, self._settings.address
        client = paho.Client(
            CallbackAPIVersion.VERSION2, settings.client_id or "", protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        password = settings.password.get_secret_value() if settings.password else address.password
        user = settings.user or address.user
        if user is not None or password is not None:
            client.username_pw_set(user or "", password)
        if address.scheme == "mqtts":
            client.tls_set_context(client_context(settings))
            client.tls_insecure_set(not settings.verify_certs)
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.max_queued_messages_set(0)
        client.connect_timeout = settings.timeout
        client.on_socket_open = _no_delay
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        return client

    def _connect(self, end: float) -> None:
        address = self._settings.address

        def work() -> None:
            self._client.connect(address.host, address.port, _KEEPALIVE, clean_start=True)

        try:
            within(max(end - time.monotonic(), 0.001), work)
        except TimeoutError as error:
            raise self._late() from error
        except (OSError, ValueError) as error:
            said = plain(error) if isinstance(error, OSError) else str(error)
            raise Retryable(f"{self._where}: {said}", "start the server, or correct url") from error
        self._client.loop_start()
        with self._changed:
            while self._connack is None and not self._lost:
                if not self._changed.wait(max(end - time.monotonic(), 0)) and time.monotonic() >= end:
                    raise self._late()
        if self._connack is None:
            raise Retryable(f"{self._where}: {self._lost}", "check that it speaks MQTT 5, and its log")
        code, properties = self._connack
        if code.is_failure:
            raise self._refused(code)
        self.largest = min(LARGEST_PACKET, getattr(properties, "MaximumPacketSize", LARGEST_PACKET))
        self._window = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT))

    def _refused(self, code: ReasonCode) -> Exception:
        if code.value in _WRONG_LOGIN:
            key = "url" if self._settings.password is None else "password"
            return ConfigError(key, None, f"{self._where} does not accept it ({code}); correct user and password")
        if code.value == 0x85:
            return ConfigError("client_id", self._settings.client_id, f"{self._where} does not accept it ({code})")
        if code.value in (0x84, 0x01):
            return ConfigError("url", self._where, f"that broker does not speak MQTT 5 ({code}); name one that does")
        return Retryable(f"{self._where}: {code}", "check its load and log")

    def _late(self) -> Retryable:
        return Retryable(f"{self._where}: no answer within {self._settings.timeout:g} s", "check its load")

    # --- publishing

    @property
    def lost(self) -> str:
        """Why the connection is lost; empty while it is open."""
        with self._changed:
            return self._lost

    def publish(self, messages: Sequence[Message], end: float) -> tuple[Sequence[int | None], str]:
        """Publishes at QoS 1. Returns the reason code of each PUBACK, ``None`` if none came, and why none came."""
        with self._changed:
            self._acks.clear()
        mids: list[int] = []
        for number, message in enumerate(messages):
            # paho would queue what exceeds the Receive Maximum of the broker by its own limit, set before it knew that.
            if number >= self._window and not self._wait(number - self._window + 1, end):
                break
            told = self._client.publish(message.topic, message.payload, 1, message.retain, message.properties)
            mids.append(told.mid)
        self._wait(len(mids), end)
        with self._changed:
            why = self._lost or f"no answer within {self._settings.timeout:g} s"
            acks: list[int | None] = [self._acks.get(mid) for mid in mids]
        return [*acks, *[None] * (len(messages) - len(mids))], why

    def _wait(self, count: int, end: float) -> bool:
        """Waits until that many messages are acknowledged; false if the connection is lost or the time is over."""
        with self._changed:
            self._wanted = count
            while len(self._acks) < count:
                if self._lost or time.monotonic() >= end:
                    return False
                self._changed.wait(max(end - time.monotonic(), 0))
            return True

    def close(self, at_once: bool = False) -> None:
        """Disconnects gracefully (unless ``at_once``), and ends the thread of paho."""
        if not at_once:
            with contextlib.suppress(Exception):
                self._client.disconnect()
        # The thread of paho would wait forever to send what a hanging broker does not take.
        for bound in (0.01, 1.0) if at_once else (1.0, 1.0):
            with contextlib.suppress(Exception):
                within(bound, self._client.loop_stop)
                return
            with contextlib.suppress(Exception):
                sock = self._client.socket()
                if sock is not None:
                    sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]  # no web socket

    # --- callbacks, in the thread of paho

    def _on_connect(self, client: Any, data: Any, flags: Any, code: ReasonCode, properties: Properties | None) -> None:
        with self._changed:
            self._connack = (code, properties)
            self._changed.notify_all()

    def _on_publish(self, client: Any, data: Any, mid: int, code: ReasonCode, properties: Properties) -> None:
        with self._changed:
            self._acks[mid] = code.value
            if len(self._acks) >= self._wanted:  # waking the waiter for each message costs more than the message
                self._changed.notify_all()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        with self._changed:
            by_broker = getattr(flags, "is_disconnect_packet_from_server", False)
            lost = f"the broker closed the connection ({code})" if by_broker else "the connection was lost"
            self._lost = self._lost or lost
            self._changed.notify_all()


def _no_delay(client: Any, data: Any, sock: Any) -> None:
    """Otherwise single small messages would wait for each other's TCP acknowledgement, 40 ms each."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


_EMPTY = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]


def publish_properties(content_type: str = "", user: Sequence[tuple[str, str]] = ()) -> Properties:
    """The properties of a PUBLISH."""
    # paho creates each with a table of all possible properties, and searches it for every assignment: half of the time
    # for a message. These two may be set directly.
    told = copy.copy(_EMPTY)
    if content_type:
        object.__setattr__(told, "ContentType", content_type)
    if user:
        object.__setattr__(told, "UserProperty", [*user])
    return told


def reason(code: int) -> str:
    """The text of a PUBACK reason code in the standard."""
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=code))
    except KeyError:
        return f"reason code {code:#x}"
