"""Events to a Kafka topic, through librdkafka: an idempotent producer, ``acks=all``, the key is the document.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from esfeed.envelopes import envelope
from esfeed.envelopes.cloudevents import attributes
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, not_tried, rejected, retry, waits
from esfeed.routing.template import TemplateFailed
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.ordering import document, in_waves
from esfeed.sinks.common.tls import client_context
from esfeed.sinks.kafka.settings import KafkaSettings, producer_settings

_ILLEGAL = re.compile(r"[^a-zA-Z0-9._-]")
_LONGEST_TOPIC = 249
_GRACE = 1.0  # for the reports of librdkafka after a purge
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_NEVER = {KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP}
_NO_ANSWER = {
    KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT,
    KafkaError._TIMED_OUT,
    KafkaError._MSG_TIMED_OUT,
}
_OF_TOPIC = {
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
}
_silent = logging.getLogger("esfeed.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False

_json = msgspec.json.Encoder()


class _Record(NamedTuple):
    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]


def key_of(event: Event) -> bytes:
    """The document as the key of a record: a JSON array of watch, type, id, routing and view."""
    watch, kind, doc_id, view, routing = document(event)
    return _json.encode((watch, kind, doc_id, routing, view))


class KafkaSink:
    """Produces each event; the next one of the same document only after Kafka has the previous one.

    ``ok`` means that all in-sync replicas have it. A record that is too large for a broker is ``rejected``; if a whole
    batch was too large, each record of that batch is tried alone.
    """

    Settings = KafkaSettings

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._envelope = envelope(settings.format)
        self._hosts = ",".join(settings.hosts)
        self._producer: Producer | None = None
        self._last_error: KafkaError | None = None

    def open(self) -> None:
        """Connects and requests the list of brokers.

        Raises ``ConfigError`` for settings that librdkafka refuses, for a login that the brokers refuse, and for
        unusable certificate files; otherwise ``Retryable``.
        """
        self.close()
        settings = self._settings
        if settings.tls:
            client_context(settings)  # librdkafka would not say which file is at fault
        self._last_error = None
        try:
            config = producer_settings(settings) | {"error_cb": self._note}
            producer = Producer(config, logger=_silent)
        except KafkaException as error:
            raise ConfigError("options", None, f"librdkafka refuses them: {_said(error.args[0])}") from error
        except (ValueError, TypeError) as error:
            raise ConfigError("options", None, "librdkafka refuses them: a value is of the wrong type") from error
        self._producer = producer
        try:
            producer.list_topics(timeout=settings.timeout)
        except KafkaException as error:
            producer.poll(0)  # delivers what librdkafka noted meanwhile, such as a refused login
            fault = self._last_error or error.args[0]
            self.close()
            if fault.code() == KafkaError._AUTHENTICATION:
                hint = f"the brokers refuse user and password ({_said(fault)}); correct them, or mechanism"
                raise ConfigError("password", None, hint) from error
            raise Retryable(f"{self._hosts}: {_said(fault)}", _hint(fault)) from error

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Produces the events and waits for the answer of Kafka to each, up to ``timeout``.

        Raises ``Retryable`` if an earlier batch broke the producer and the sink was not opened since.
        """
        producer = self._producer
        if producer is None:
            raise Retryable(f"{self._hosts}: the sink is not open")
        self._last_error = None
        batch = _Batch(producer, self._clock, self._clock() + self._settings.timeout, self._hosts, self._noted)
        outcomes = in_waves(events, lambda wave: batch.send(map(self._records, wave)))
        if batch.fatal:
            self.close()  # a fatal error makes the producer unusable
        return outcomes

    def close(self) -> None:
        """Discards what is in flight and closes the connections."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(_GRACE)

    def _note(self, error: KafkaError) -> None:
        # "All brokers are down" follows the error that says why.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._last_error is None:
            self._last_error = error

    def _noted(self) -> KafkaError | None:
        return self._last_error

    def _records(self, event: Event) -> list[_Record] | Outcome:
        """The records for an event: one, and a tombstone for a delete if configured; or why there are none."""
        try:
            topic = _ILLEGAL.sub("_", self._settings.topic.render(event))
        except TemplateFailed as error:
            return rejected(f"topic: {error}")
        if topic in (".", "..") or len(topic) > _LONGEST_TOPIC:
            return rejected(
                f"topic: {shown(topic)!r} is not a valid name of a topic (up to {_LONGEST_TOPIC} characters)"
            )
        key = key_of(event)
        records = [_Record(topic, key, self._envelope.encode(event), self._headers(event))]
        if event.op == "deleted" and self._settings.tombstones:
            records.append(_Record(topic, key, None, []))
        return records

    def _headers(self, event: Event) -> list[tuple[str, str | bytes | None]]:
        """The structured mode of CloudEvents if the value is a CloudEvent, otherwise its binary mode.

        The binding permits the headers of the binary mode in a structured record, but the CloudEvents SDK for Python
        takes such a record for a binary one.
        """
        kind = self._envelope.content_type
        headers: list[tuple[str, str | bytes | None]] = [("content-type", kind)]
        if not kind.startswith("application/cloudevents"):
            headers += [(f"ce_{name}", value) for name, value in attributes(event).items()]
        return headers


class _Batch:
    """The waves of one ``send``: they share a deadline, and after a fault of Kafka itself no wave is tried."""

    def __init__(
        self,
        producer: Producer,
        clock: Callable[[], float],
        deadline: float,
        hosts: str,
        noted: Callable[[], KafkaError | None],
    ) -> None:
        self._producer = producer
        self._clock = clock
        self._deadline = deadline
        self._hosts = hosts
        self._noted = noted
        self._down: Outcome | None = None
        self.fatal = False

    def send(self, wave: Iterable[list[_Record] | Outcome]) -> Sequence[Outcome]:
        outcomes: list[Outcome | None] = []
        records: dict[int, list[_Record]] = {}

        def made() -> Iterator[tuple[int, list[_Record]]]:
            # One by one, so that librdkafka sends the first records while the next are encoded.
            for index, each in enumerate(wave):
                if isinstance(each, Outcome):
                    outcomes.append(each)
                else:
                    outcomes.append(None)
                    records[index] = each
                    yield index, each

        errors = self._produce(made())
        crowd = [index for index, error in errors.items() if error is not None and error.code() in _TOO_LARGE]
        if len(records) > 1:
            for index in crowd:
                errors |= self._produce([(index, records[index])])
        for index, error in errors.items():
            outcomes[index] = self._judge(error)
        return [outcome or waits() for outcome in outcomes]

    def _produce(self, wanted: Iterable[tuple[int, list[_Record]]]) -> dict[int, KafkaError | None]:
        """The answer of Kafka to each, or one of ``_NO_ANSWER``; nothing is in flight when this returns."""
        if self._down is not None:
            return {index: KafkaError(KafkaError._PURGE_QUEUE) for index, _ in wanted}
        indexes: list[int] = []
        errors: dict[int, KafkaError | None] = {}

        def report(index: int) -> Callable[[KafkaError | None, Message], None]:
            def delivered(error: KafkaError | None, _: Message) -> None:
                errors[index] = errors.get(index) or error

            return delivered

        for index, records in wanted:
            indexes.append(index)
            for record in records:
                try:
                    self._put(record, report(index))
                except KafkaException as error:
                    errors[index] = error.args[0]
                    break
        self._producer.flush(max(self._deadline - self._clock(), 0.0))
        if len(self._producer):
            # What is still in flight would overtake the next records.
            self._producer.purge()
            self._producer.flush(_GRACE)
        return {index: errors.get(index) if index in errors else _no_word() for index in indexes}

    def _put(self, record: _Record, delivered: Callable[[KafkaError | None, Message], None]) -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, headers=record.headers, on_delivery=delivered
                )
                return
            except BufferError:
                if self._clock() > self._deadline:
                    raise KafkaException(KafkaError(KafkaError._QUEUE_FULL)) from None
                self._producer.poll(0.1)

    def _judge(self, error: KafkaError | None) -> Outcome:
        if error is None:
            return OK
        if error.code() in _TOO_LARGE:
            return rejected(
                f"{self._hosts}: larger than Kafka accepts ({_said(error)}); see max_bytes, max.message.bytes"
            )
        if error.code() in _NEVER:
            return rejected(f"{self._hosts}: {_said(error)}")
        if error.code() in _OF_TOPIC:
            return retry(f"{self._hosts}: {_said(error)}: {_hint(error)}")
        if self._down is not None:
            return self._down
        self.fatal = error.fatal()
        reason = f"{self._hosts}: {_said(error)}"
        if error.code() in _NO_ANSWER and (noted := self._noted()) is not None:
            reason += f" ({_said(noted)})"
        self._down = not_tried(reason)
        return retry(reason)


def _no_word() -> KafkaError:
    return KafkaError(KafkaError._TIMED_OUT)


def _said(error: KafkaError) -> str:
    return "no answer in time" if error.code() in _NO_ANSWER else shown(error.str())


def _hint(error: KafkaError) -> str:
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return "let this user write to the topic"
    if error.code() in _OF_TOPIC:
        return "create the topic, or let the brokers create topics"
    return ""
