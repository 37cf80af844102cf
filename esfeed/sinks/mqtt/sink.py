"""Events to an MQTT 5 broker: published at QoS 1; the sink waits for each PUBACK and checks its reason code.

https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html, and for the properties
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/mqtt-protocol-binding.md
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from urllib.parse import quote

from paho.mqtt.properties import Properties

from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, not_tried, rejected, retry
from esfeed.routing.template import TemplateFailed
from esfeed.sinks.common.ordering import in_waves
from esfeed.sinks.mqtt.link import Link, Message, publish_properties, reason
from esfeed.sinks.mqtt.settings import MqttSettings

_LONGEST_TEXT = 65_535
# What an MQTT string must not or should not contain (1.5.4): brokers close the connection over it.
_UNTEXT = "\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
_ILLEGAL_IN_TEXT = re.compile(f"[{_UNTEXT}]")
_ILLEGAL_IN_TOPIC = re.compile(f"[%+#{_UNTEXT}]|^\\$")
_NOT_AUTHORIZED = 0x87
_NEVER = (0x90, 0x95, 0x99)  # topic name invalid, packet too large, payload format invalid


class MqttSink:
    """Publishes each event as one message.

    ``ok`` means that the broker acknowledged it (PUBACK), whether or not anyone is subscribed.
    """

    Settings = MqttSettings

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._envelope = envelope(settings.format)
        self._link: Link | None = None
        self._end = 0.0

    def open(self) -> None:
        """Connects and logs in.

        Raises ``ConfigError`` for unusable credentials, client ids or certificates, ``Retryable`` if the broker does
        not answer.
        """
        self.close()
        self._link = Link(self._settings, time.monotonic() + self._settings.timeout)

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Publishes the events. Raises nothing.

        ``rejected``: larger than the Maximum Packet Size of the broker, or a topic that the broker calls invalid.
        Everything else that the broker does not acknowledge is ``retry``.
        """
        self._end = time.monotonic() + self._settings.timeout
        return in_waves(events, self._wave)

    def close(self) -> None:
        """Closes the connection gracefully."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _linked(self) -> Link:
        if self._link is not None and self._link.lost:
            self.close()
        if self._link is None:
            try:
                self._link = Link(self._settings, self._end)
            except ConfigError as error:  # it was right when the sink was opened
                where = self._settings.address.shown
                raise Retryable(f"{where}: {error.key} is no longer accepted", error.hint) from error
        return self._link

    def _wave(self, events: Sequence[Event]) -> Sequence[Outcome]:
        link = self._linked()
        made = [self._messages(event, link.largest) for event in events]
        codes, why = link.publish([m for one in made if not isinstance(one, Outcome) for m in one], self._end)
        if None in codes:
            self._link = None  # what is in flight must not arrive after the repeat
            link.close(at_once=True)
        answers, fault = iter(codes), ""
        outcomes: list[Outcome] = []
        for one in made:
            if isinstance(one, Outcome):
                outcomes.append(one)
                continue
            acks = [next(answers) for _ in one]
            worst = max((code for code in acks if code is not None), default=0)
            if None not in acks:
                outcomes.append(_judge(worst))
            elif fault:
                outcomes.append(not_tried(fault))
            else:
                fault = f"{self._settings.address.shown}: {why}"
                outcomes.append(retry(fault))
        return outcomes

    def _messages(self, event: Event, largest: int) -> Sequence[Message] | Outcome:
        try:
            topic = legal_topic(self._settings.topic.render(event))
        except TemplateFailed as error:
            return rejected(str(error))
        if len(topic.encode()) > _LONGEST_TEXT:
            return rejected(f"the topic has more than {_LONGEST_TEXT} bytes")
        clear = event.op == "deleted" and self._settings.clear_deleted
        user_properties = properties(event, self._envelope.content_type)
        message = Message(topic, self._envelope.encode(event), self._settings.retain and not clear, user_properties)
        if message.size > largest:
            return rejected(f"the message has {message.size} bytes; the limit of the broker is {largest}")
        return [message, Message(topic, b"", True, publish_properties())] if clear else [message]


def _judge(code: int) -> Outcome:
    """What the reason code of a PUBACK means (3.4.2.1); codes from 0x80 on are failures."""
    if code < 0x80:
        return OK
    said = f"the broker answered: {reason(code)}"
    if code in _NEVER:
        return rejected(said)
    return retry(f"{said}: allow this user to publish to this topic" if code == _NOT_AUTHORIZED else said)


def legal_topic(text: str) -> str:
    """``text`` as a topic name: each illegal character becomes %XX of its UTF-8. The mapping is one to one."""
    return _ILLEGAL_IN_TOPIC.sub(lambda match: quote(match[0], safe="", errors="replace"), text)


def legal_text(text: str) -> str:
    """``text`` as the value of a property: each illegal character becomes %XX of its UTF-8."""
    return _ILLEGAL_IN_TEXT.sub(lambda match: quote(match[0], safe="", errors="replace"), text)


def properties(event: Event, content_type: str) -> Properties:
    """The attributes of the event as the properties of its message."""
    user = [
        ("specversion", "1.0"),
        ("id", event.id),
        ("source", legal_text(f"esfeed://{event.origin.cluster}/{event.watch}")),
        ("type", f"esfeed.{event.op}"),
        ("subject", legal_text(event.subject)),
        ("time", event.time),
    ]
    return publish_properties(content_type, user)
