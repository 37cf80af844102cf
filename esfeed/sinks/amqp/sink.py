"""Events to an exchange of RabbitMQ: persistent messages, each of which is ok once the server has confirmed it.

https://www.rabbitmq.com/docs/publishers ·
https://github.com/knative-extensions/eventing-rabbitmq/blob/main/cloudevents-protocol-spec/spec.md
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pika
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from esfeed.envelopes import envelope
from esfeed.envelopes.cloudevents import attributes
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, not_tried, rejected, retry, waits
from esfeed.routing.template import TemplateFailed
from esfeed.sinks.amqp.link import Link, LinkLost, Message, Reply, text_of
from esfeed.sinks.amqp.settings import SHORT, AmqpSettings
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.ordering import in_waves
from esfeed.sinks.common.tls import client_context

_PERSISTENT = 2
_PRECONDITION_FAILED, _NOT_FOUND = 406, 404


class AmqpSink:
    """Publishes each event; the next one of the same document only after the server has confirmed the previous one.

    The server returns a message that no queue would get, and its event is ``rejected``. The server closes the channel
    over a message that is too large, and drops those behind it: the sink then tries each of them alone, and rejects the
    large one. A connection that the server closed meanwhile (heartbeats are sent only while a batch is sent) is opened
    again.
    """

    Settings = AmqpSettings

    def __init__(self, settings: AmqpSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._envelope = envelope(settings.format)
        self._link: Link | None = None

    def open(self) -> None:
        """Connects, logs in, and checks that the exchange exists.

        Raises ``ConfigError`` for a refused login or vhost and for unusable certificate files, otherwise ``Retryable``.
        """
        self.close()
        self._connect(self._clock() + self._settings.timeout)

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Publishes the events and waits for the answer of the server to each, up to ``timeout``.

        Raises ``Retryable`` if the connection is lost and cannot be opened again.
        """
        if not events:
            return []
        deadline = self._clock() + self._settings.timeout
        link = self._linked(deadline)
        batch = _Batch(link, deadline, self._settings.address.shown, self._settings.exchange)
        outcomes = in_waves(events, lambda wave: batch.send([self._message(event) for event in wave]))
        if batch.down is not None:
            self.close()
        return outcomes

    def close(self) -> None:
        """Closes the connection."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _linked(self, deadline: float) -> Link:
        if self._link is not None and self._link.alive:
            return self._link
        self.close()
        try:
            return self._connect(deadline)
        except ConfigError as error:
            # The login worked before, and a server that is just starting may not know its users yet.
            raise Retryable(f"{self._settings.address.shown}: {error.hint}") from error

    def _connect(self, deadline: float) -> Link:
        settings = self._settings
        self._link = link = Link(self._parameters(), self._clock)
        try:
            link.connect(deadline)
            fault = link.check_exchange(settings.exchange, deadline) if settings.exchange else None
        except (AMQPError, OSError, LinkLost) as error:
            self.close()
            raise self._refusal(error) from error
        if fault is not None:
            self.close()
            hint = "declare the exchange" if getattr(fault, "reply_code", 0) == _NOT_FOUND else ""
            raise Retryable(f"{settings.address.shown}: {shown(text_of(fault))}", hint)
        return link

    def _refusal(self, error: BaseException) -> ConfigError | Retryable:
        settings, said = self._settings, shown(text_of(error))
        code = error.reply_code if isinstance(error, ConnectionClosedByBroker) else 0
        if isinstance(error, AuthenticationError | ProbableAuthenticationError) or code == 403:
            return ConfigError("password", None, f"the server refuses user and password ({said}); correct them")
        if isinstance(error, ProbableAccessDeniedError) or code == 530:
            hint = f"the server refuses the vhost {settings.vhost!r} ({said}); name one that this user may use"
            return ConfigError("url", settings.address.shown, hint)
        return Retryable(f"{settings.address.shown}: {said}")

    def _parameters(self) -> pika.ConnectionParameters:
        settings, address = self._settings, self._settings.address
        password = address.password if settings.password is None else settings.password.get_secret_value()
        user = settings.user or address.user
        # By default, RabbitMQ accepts "guest" from its own machine only.
        login = ("guest", "guest") if user is None and password is None else (user or "guest", password or "")
        parameters = pika.ConnectionParameters(
            host=address.host,
            port=address.port,
            virtual_host=settings.vhost,
            credentials=pika.PlainCredentials(*login),
            heartbeat=int(settings.heartbeat),
            connection_attempts=1,
            socket_timeout=settings.timeout,
            stack_timeout=settings.timeout,
            client_properties={"connection_name": "esfeed"},
        )
        if address.scheme == "amqps":
            parameters.ssl_options = pika.SSLOptions(client_context(settings), address.host)
        return parameters

    def _message(self, event: Event) -> Message | Outcome:
        """The message for an event, or why there is none."""
        try:
            routing_key = self._settings.routing_key.render(event)
        except TemplateFailed as error:
            return rejected(f"routing_key: {error}")
        if len(routing_key.encode()) > SHORT:
            return rejected(f"routing_key: {shown(routing_key)!r} is longer than the {SHORT} bytes that AMQP allows")
        properties = pika.BasicProperties(
            content_type=self._envelope.content_type,
            delivery_mode=_PERSISTENT,
            message_id=event.id,
            type=f"esfeed.{event.op}",
            app_id="esfeed",
            headers={f"ce-{name}": value for name, value in attributes(event).items()},
        )
        body = self._envelope.encode(event)
        return Message(event.id, self._settings.exchange, routing_key, body, properties, self._settings.mandatory)


class _Batch:
    """The waves of one ``send``: they share a deadline, and after a fault of the server no wave is tried."""

    def __init__(self, link: Link, deadline: float, shown_url: str, exchange: str) -> None:
        self._link = link
        self._deadline = deadline
        self._shown = shown_url
        self._exchange = exchange
        self.down: Outcome | None = None

    def send(self, wave: Sequence[Message | Outcome]) -> Sequence[Outcome]:
        messages = {each.id: each for each in wave if isinstance(each, Message)}
        outcomes: dict[str, Outcome] = {}
        closed = self._publish(messages, outcomes)
        if closed == _PRECONDITION_FAILED and len(messages) > 1:
            for name in [name for name in messages if name not in outcomes]:
                self._publish({name: messages[name]}, outcomes)
        return [each if isinstance(each, Outcome) else outcomes.get(each.id) or self._waits() for each in wave]

    def _publish(self, messages: dict[str, Message], outcomes: dict[str, Outcome]) -> int:
        """Adds the answers of the server to ``outcomes``.

        Returns ``_PRECONDITION_FAILED`` if the server closed the channel with it, otherwise 0.
        """
        if self.down is not None or not messages:
            return 0
        try:
            replies, closed = self._link.publish(messages, self._deadline)
            fault: str = "" if closed is None else text_of(closed)
        except LinkLost as error:
            replies, closed, fault = self._link.replies, None, str(error)
        outcomes |= {name: self._judge(messages[name], reply) for name, reply in replies.items()}
        code = closed.reply_code if isinstance(closed, ChannelClosedByBroker) else 0
        left = [name for name in messages if name not in outcomes]
        if not fault or not left:
            return 0
        if code == _PRECONDITION_FAILED:
            if len(messages) == 1:
                outcomes[left[0]] = rejected(f"{self._shown}: {shown(fault)}")
            return code
        hint = ": declare the exchange" if code == _NOT_FOUND else ""
        reason = f"{self._shown}: {shown(fault)}{hint}"
        outcomes[left[0]] = retry(reason)
        self.down = not_tried(reason)
        return 0

    def _judge(self, message: Message, reply: Reply) -> Outcome:
        if reply.returned:
            where = f"exchange {self._exchange!r}" if self._exchange else "the default exchange"
            key = shown(message.routing_key)
            return rejected(f"no queue is bound to {where} for the routing key {key!r} ({shown(reply.returned)})")
        if not reply.taken:
            return retry(f"{self._shown}: the server refused the message: a queue is full, or failed")
        return OK

    def _waits(self) -> Outcome:
        return self.down or waits()
