"""Events as messages to people: Slack, mail, PagerDuty and everything else that Apprise knows, from a template.

Apprise answers yes or no, and logs why. A no becomes ``retry`` with the logged text, without its secrets.
https://github.com/caronc/apprise/wiki
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import apprise
from pydantic import BeforeValidator, ConfigDict, Field

from esfeed.config.types import Duration, Secret, SinkSection, as_tuple
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError
from esfeed.model.event import Event, Op
from esfeed.ports import OK, Outcome, not_tried, rejected, retry, waits
from esfeed.routing.template import Template, Templated, TemplateFailed
from esfeed.sinks.common.deadline import within
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.ordering import document

Kind = Literal["info", "success", "warning", "failure"]

_MAX_REMEMBERED = 10_000
_KINDS: dict[Op, Kind] = {"created": "success", "updated": "info", "deleted": "warning", "read": "info"}


class AppriseSettings(SinkSection):
    """Events as messages to people, through any service that Apprise knows."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["apprise"] = Field("apprise", description="Slack, mail, PagerDuty and many more, by Apprise.")
    urls: Annotated[tuple[Secret, ...], BeforeValidator(as_tuple)] = Field(
        min_length=1,
        description='URLs of the services in the syntax of Apprise, such as ["slack://…", "mailtos://…"]; each can be '
        '"env:NAME". '
        "They are never shown. An event is delivered when all services accepted it.",
    )
    title: Templated = Field(Template("{type} {op}"), description="The title of a message.")
    body: Templated | None = Field(
        None, description='Its text, such as "{name} is {status}". Default: the whole event, in `format`.'
    )
    types: dict[Op, Kind] = Field(
        default_factory=dict,
        description='The kind of a message by op: "info", "success", "warning" or "failure". Default: created is '
        "success, deleted is warning, others are info.",
    )
    interval: Duration | None = Field(
        None,
        description="The minimum time between two messages to a service. Default: that of Apprise, some seconds for "
        "most services, so that the service does not block you.",
    )
    timeout: Duration = Field(
        30.0,
        gt=0,
        description="The timeout of one batch; one message gets half of it; the rest waits.",
    )


class _Ears(logging.Handler):
    """Collects what Apprise logs in chosen threads. It goes nowhere else, because it may contain secrets."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._heard: dict[int, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        heard = self._heard.get(threading.get_ident())
        # Apprise logs the actual error at level DEBUG only, among much else (whole messages).
        if heard is not None and (record.levelno >= logging.WARNING or "xception" in str(record.msg)):
            heard.append(record.getMessage())

    @contextmanager
    def listening(self, heard: list[str]) -> Any:
        """Adds what is logged in this thread to ``heard``, within the context."""
        self._heard[threading.get_ident()] = heard
        try:
            yield
        finally:
            del self._heard[threading.get_ident()]


_ears = _Ears()
_logger = logging.getLogger("apprise")
_logger.addHandler(_ears)
_logger.propagate = False
_logger.setLevel(logging.DEBUG)


class _Service:
    """The service behind one URL."""

    def __init__(self, number: int, url: str, settings: AppriseSettings) -> None:
        """Raises ``ConfigError`` if Apprise cannot use the URL."""
        self._url = url
        self._said: list[str] = []
        asset = apprise.AppriseAsset(secure_logging=True, async_mode=False)
        with _ears.listening(self._said):
            plugin: Any = apprise.Apprise.instantiate(url, asset=asset)
        if plugin is None:
            raise ConfigError(
                "urls", f"number {number}", f"Apprise cannot use this URL ({self.said() or 'unknown service'})"
            )
        self.name = f"urls[{number - 1}] ({plugin.service_name})"
        timeout = settings.timeout / 2
        if settings.interval is not None:
            plugin.request_rate_per_sec = settings.interval
        plugin.socket_connect_timeout = min(plugin.socket_connect_timeout or timeout, timeout)
        plugin.socket_read_timeout = min(plugin.socket_read_timeout or timeout, timeout)
        cuts = str(getattr(plugin.overflow_mode, "value", plugin.overflow_mode)) != "upstream"
        self.longest: int | None = None if cuts or plugin.body_maxlen <= 0 else plugin.body_maxlen
        original = plugin.send

        def send(*args: Any, **kwargs: Any) -> Any:
            # Apprise calls this from its own threads, and swallows what it raises.
            with _ears.listening(self._said):
                try:
                    return original(*args, **kwargs)
                except Exception as error:
                    self._said.append(f"{type(error).__name__}: {error}")
                    raise

        plugin.send = send
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(plugin)

    def notify(self, title: str, body: str, kind: Kind) -> bool:
        """Whether the service took the message."""
        self._said.clear()
        return bool(
            self._apprise.notify(body=body, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT)
        )

    def said(self) -> str:
        """What was logged meanwhile, without any part of the URL but its scheme."""
        text = "; ".join(dict.fromkeys(self._said))
        rest = self._url.partition("://")[2] or self._url
        parts = {part for word in (rest, unquote(rest)) for part in re.split(r"[/:@?&=#,\s]+", word)}
        for part in sorted(parts, key=len, reverse=True):
            text = text.replace(part, "***") if len(part) > 3 else text
        return shown(text)


class AppriseSink:
    """Sends each event as one message to each service. ``ok`` means that all of them took it.

    If a service took an event and another failed, the sink does not send it to the first one again while it is open.
    """

    Settings = AppriseSettings

    def __init__(self, settings: AppriseSettings) -> None:
        self._settings = settings
        self._encode = envelope(settings.format).encode
        self._services: list[_Service] = []
        self._done: OrderedDict[str, set[str]] = OrderedDict()

    def open(self) -> None:
        """Reads the URLs; sends nothing. Raises ``ConfigError`` for one that Apprise cannot use."""
        self.close()
        urls = [url.get_secret_value() for url in self._settings.urls]
        self._services = [_Service(number, url, self._settings) for number, url in enumerate(urls, 1)]

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Sends the events one after the other. Raises nothing.

        A failure is ``retry``, because Apprise does not say whether the event or the service is at fault; after two in
        a row, the rest waits. A text that is too long for a service is ``rejected``.
        """
        end = time.monotonic() + self._settings.timeout / 2
        outcomes: list[Outcome] = []
        stuck: set[tuple[str | None, ...]] = set()
        in_a_row, why = 0, ""
        for event in events:
            if document(event) in stuck:
                outcome = waits()
            elif in_a_row > 1:
                outcome = not_tried(why)
            elif outcomes and time.monotonic() >= end:
                outcome = waits("not tried: the messages before it used the whole timeout")
            else:
                outcome = self._event(event)
                in_a_row = in_a_row + 1 if outcome.kind == "retry" else 0
                why = outcome.reason
            if outcome.kind == "retry":
                stuck.add(document(event))
            outcomes.append(outcome)
        return outcomes

    def close(self) -> None:
        """Forgets the services; they hold no connection."""
        self._services = []
        self._done.clear()

    def _event(self, event: Event) -> Outcome:
        settings = self._settings
        try:
            title = settings.title.render(event)
            whole = self._encode(event).decode(errors="replace")
            body = whole if settings.body is None else settings.body.render(event)
        except TemplateFailed as error:
            return rejected(str(error))
        for service in self._services:
            if service.longest is not None and len(body) > service.longest:
                return rejected(
                    f"the text has {len(body)} characters, and {service.name} accepts up to {service.longest}; "
                    "write a shorter body, or add overflow=truncate to that url"
                )
        kind = settings.types.get(event.op, _KINDS[event.op])
        done = self._done.setdefault(event.id, set())
        if len(self._done) > _MAX_REMEMBERED:
            self._done.popitem(last=False)
        for service in self._services:
            if service.name in done:
                continue
            try:
                taken = within(settings.timeout / 2, lambda s=service: s.notify(title, body, kind))  # type: ignore[misc]
            except TimeoutError:
                return retry(f"{service.name}: no answer within {settings.timeout / 2:g} s")
            except Exception as error:  # any error of the plugin of a service
                return retry(f"{service.name}: {service.said() or type(error).__name__}")
            if not taken:
                return retry(f"{service.name}: {service.said() or 'it did not accept the message and gave no reason'}")
            done.add(service.name)
        self._done.pop(event.id, None)
        return OK
