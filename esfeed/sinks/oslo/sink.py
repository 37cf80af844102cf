"""Events as oslo.messaging notifications, so that an OpenStack service gets changes like its other notifications.

The notifier of oslo.messaging logs what it could not send and continues. This sink uses the transport below it, which
raises. https://docs.openstack.org/oslo.messaging/latest/reference/notifier.html
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal

from oslo_config import cfg
from pydantic import ConfigDict, Field, SecretStr, field_validator

from esfeed.config.types import Duration, Secret, SinkSection, Text
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, not_tried, rejected, retry
from esfeed.routing.template import Template, Templated, TemplateFailed
from esfeed.sinks.common.http_status import shown
from esfeed.text.jsontext import Unreadable, parse

with warnings.catch_warnings():
    # The import loads eventlet, which is not used here, and which prints a long warning against its use.
    warnings.simplefilter("ignore")
    import oslo_messaging

_VERSION = 2.0


class OsloSettings(SinkSection):
    """Notifications on OpenStack's message bus."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["oslo"] = Field("oslo", description="The OpenStack message bus, through oslo.messaging.")
    url: Secret = Field(
        description='The transport, like transport_url: "rabbit://user:password@host:5672/"; can be "env:NAME".'
    )
    exchange: Text = Field("esfeed", description="The exchange of the notifications.")
    topic: Templated = Field(
        Template("esfeed"),
        description='The topic, such as "esfeed" or "esfeed-{owner}"; its queue has this name with ".info" appended.',
    )
    publisher_id: Text = Field("esfeed", description="The publisher id of the notifications.")
    durable: bool = Field(
        False, description="Whether queues survive the broker; must match amqp_durable_queues of the consumers."
    )
    timeout: Duration = Field(10.0, gt=0, description="The timeout of one notification.")

    @field_validator("url")
    @classmethod
    def _transport(cls, url: SecretStr) -> SecretStr:
        if not re.match(r"[a-z+]+://\S+$", url.get_secret_value()):
            raise ValueError('write a transport url such as "rabbit://user:password@host:5672/"')
        return url


class OsloSink:
    """Sends each event as a notification ``esfeed.created``, ``.updated``, ``.deleted`` or ``.read``, at level info.

    The payload is the event in ``format``; ``message_id`` is the id of the event, the same on a repeat. ``ok`` means
    that the broker confirmed it, in a queue that exists from the first notification on, with or without a listener.
    """

    Settings = OsloSettings

    def __init__(self, settings: OsloSettings) -> None:
        self._settings = settings
        self._encode = envelope(settings.format).encode
        self._transport: Any = None

    def open(self) -> None:
        """Creates the transport; the first notification connects to the broker. Raises ``ConfigError``."""
        self.close()
        conf = cfg.ConfigOpts()
        conf([], project="esfeed", default_config_files=[], default_config_dirs=[])
        try:
            self._transport = oslo_messaging.get_notification_transport(conf, self._settings.url.get_secret_value())
        except (oslo_messaging.InvalidTransportURL, oslo_messaging.DriverLoadFailure, ValueError) as error:
            hint = f"it is not a usable transport url ({type(error).__name__}); write one such as rabbit://host:5672/"
            raise ConfigError("url", None, hint) from None
        with contextlib.suppress(cfg.NoSuchOptError, cfg.NoSuchGroupError):
            conf.set_override("amqp_durable_queues", self._settings.durable, group="oslo_messaging_rabbit")

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Sends the events one by one. A fault of the broker is ``retry``, and the rest waits."""
        if self._transport is None:
            self.open()
        outcomes: list[Outcome] = []
        down: Outcome | None = None
        with _Worker() as worker:
            for event in events:
                if down is not None:
                    outcomes.append(down)
                    continue
                outcome = self._send(worker, event)
                if outcome.kind == "retry":
                    down = not_tried(outcome.reason)
                    self._abandon()
                outcomes.append(outcome)
        return outcomes

    def close(self) -> None:
        """Closes the connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            _in_time(transport.cleanup, self._settings.timeout)

    def _abandon(self) -> None:
        """Abandons connections that failed; one that hangs would hang again."""
        transport, self._transport = self._transport, None
        threading.Thread(target=transport.cleanup, name="esfeed-oslo-cleanup", daemon=True).start()

    def _send(self, worker: _Worker, event: Event) -> Outcome:
        try:
            topic = self._settings.topic.render(event)
        except TemplateFailed as error:
            return rejected(str(error))
        try:
            payload = _without_decimals(parse(self._encode(event)))
        except (Unreadable, RecursionError) as error:
            return rejected(f"the event cannot be converted to a notification: {error}")
        target = oslo_messaging.Target(topic=f"{topic}.info", exchange=self._settings.exchange)
        message = {
            "message_id": event.id,
            "publisher_id": self._settings.publisher_id,
            "event_type": f"esfeed.{event.op}",
            "priority": "INFO",
            "payload": payload,
            "timestamp": event.time.replace("T", " ").replace("Z", ""),
        }
        transport = self._transport

        def work() -> None:
            transport._send_notification(target, {}, message, _VERSION, retry=0)

        try:
            worker.do(work, self._settings.timeout)
        except TimeoutError:
            return retry(f"oslo: no confirmation within {self._settings.timeout:g} s")
        except (oslo_messaging.MessagingException, OSError) as error:
            return retry(f"oslo: {_reason(error)}")
        except Exception as error:
            # The URL chooses the driver, and each raises the errors of its own client.
            return retry(f"oslo: {type(error).__name__}: {_reason(error)}")
        return OK


def _without_decimals(value: Any) -> Any:
    """The value with numbers that no double can hold as strings: the serializer of notifications has only doubles."""
    if isinstance(value, dict):
        return {name: _without_decimals(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_decimals(part) for part in value]
    return str(value) if isinstance(value, Decimal) else value


class _Worker:
    """Runs one call at a time in its own thread, which is abandoned if it hangs."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="esfeed-oslo", daemon=True)

    def __enter__(self) -> _Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._work.put(None)

    def do(self, work: Callable[[], Any], seconds: float) -> None:
        """Runs ``work`` and raises what it raises, or ``TimeoutError``: then no further call is possible."""
        self._work.put(work)
        try:
            error = self._done.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        if error is not None:
            raise error

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except BaseException as error:
                self._done.put(error)
            else:
                self._done.put(None)


def _in_time(work: Callable[[], Any], seconds: float) -> None:
    thread = threading.Thread(target=work, name="esfeed-oslo-close", daemon=True)
    thread.start()
    thread.join(seconds)


_USER_INFO = re.compile(r"//[^@/\s]*@")


def _reason(error: BaseException) -> str:
    """The text of the error, without the user and password that a URL in it may contain."""
    return shown(_USER_INFO.sub("//", str(error)))
