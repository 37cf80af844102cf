"""Events to a stream of NATS JetStream: each is ok once the stream has stored it; its id lets the stream drop repeats.

https://docs.nats.io/nats-concepts/jetstream ·
https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import nats.errors
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from esfeed.envelopes import envelope
from esfeed.envelopes.cloudevents import attributes
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, not_tried, rejected, retry, waits
from esfeed.routing.template import TemplateFailed
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.ordering import in_waves
from esfeed.sinks.common.tls import client_context, plain
from esfeed.sinks.nats.link import Link, Login, Message
from esfeed.sinks.nats.settings import NatsSettings, Subject

_TOO_LARGE = 10054  # JSStreamMessageExceedsMaximumErr
_SAFE = "!#$&'()*+,/:;=?@[]-._~^`{|}<>\\"
_AS_IT_IS = re.compile(f"[a-zA-Z0-9{re.escape(_SAFE)}]*")
_FAULTS = (nats.errors.Error, OSError, TimeoutError)


class NatsSink:
    """Publishes each event; the next one of the same document only after the stream has stored the previous one.

    The server drops a repeat within ``duplicate_window`` of the stream (default: two minutes). An event that is too
    large for the server or the stream is ``rejected``.
    """

    Settings = NatsSettings

    def __init__(self, settings: NatsSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._envelope = envelope(settings.format)
        self._subject = Subject(settings.subject.text)
        self._hosts = ",".join(settings.hosts)
        self._link: Link | None = None

    def open(self) -> None:
        """Connects, logs in, and checks that the stream exists.

        Raises ``ConfigError`` for a refused login, a server without the required TLS, and unusable files; otherwise
        ``Retryable``.
        """
        self.close()
        self._connect(self._clock() + self._settings.timeout)

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Publishes the events and waits for the answer of the stream to each, up to ``timeout``.

        Raises ``Retryable`` if the connection is lost and cannot be opened again.
        """
        if not events:
            return []
        deadline = self._clock() + self._settings.timeout
        batch = _Batch(self._linked(deadline), self._settings, self._clock, deadline, self._hosts)
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
            # The login worked before; a server that is being set up again may not know its users yet.
            raise Retryable(f"{self._hosts}: {error.hint}") from error

    def _connect(self, deadline: float) -> Link:
        settings = self._settings
        context = client_context(settings) if settings.tls else None
        self._link = link = Link()
        try:
            link.connect(settings.hosts, self._login(), context, deadline - self._clock())
            subject = self._subject.wildcard if settings.create_stream else None
            there = link.need_stream(settings.stream, subject, deadline - self._clock())
        except (ConfigError, *_FAULTS) as error:
            noted = link.noted
            self.close()
            raise self._refusal(error, noted) from error
        if not there:
            self.close()
            hint = "create it, or set create_stream = true"
            raise Retryable(f"{self._hosts}: there is no stream {settings.stream!r}", hint)
        return link

    def _login(self) -> Login:
        settings = self._settings
        if settings.credentials is not None:
            try:
                Path(settings.credentials).read_bytes()
            except OSError as error:
                raise ConfigError("credentials", settings.credentials, f"cannot be read ({plain(error)})") from error
        password = None if settings.password is None else settings.password.get_secret_value()
        token = None if settings.token is None else settings.token.get_secret_value()
        return Login(settings.user, password, token, settings.credentials)

    def _refusal(self, error: BaseException, noted: Exception | None) -> ConfigError | Retryable:
        if isinstance(error, ConfigError):
            return error
        settings, said = self._settings, _said(error, noted)
        if isinstance(error, nats.errors.SecureConnWantedError):
            return ConfigError(
                "tls", True, "the server does not offer TLS; configure its tls block, or set tls = false"
            )
        if isinstance(error, nats.errors.InvalidUserCredentialsError):
            return ConfigError("credentials", settings.credentials, "it is not a .creds file; create one with nsc")
        if isinstance(error, nats.errors.AuthorizationError) or "authorization" in said.lower():
            used = [key for key in ("password", "token", "credentials") if getattr(settings, key) is not None]
            key = used[0] if used else "user"
            return ConfigError(key, None, f"the server refuses the login ({said}); correct it")
        if isinstance(error, ServiceUnavailableError | NoStreamResponseError):
            return Retryable(f"{self._hosts}: JetStream does not answer", "enable it (nats-server -js), or wait for it")
        return Retryable(f"{self._hosts}: {said}")

    def _message(self, event: Event) -> Message | Outcome:
        """The message for an event, or why there is none."""
        try:
            subject = self._subject.render(event)
        except TemplateFailed as error:
            return rejected(f"subject: {error}")
        headers = {"Nats-Msg-Id": event.id, "content-type": self._envelope.content_type}
        headers |= {f"ce-{name}": _quoted(value) for name, value in attributes(event).items()}
        return Message(subject, self._envelope.encode(event), headers)


class _Batch:
    """The waves of one ``send``: they share a deadline, and after a fault of the server no wave is tried."""

    def __init__(
        self, link: Link, settings: NatsSettings, clock: Callable[[], float], deadline: float, hosts: str
    ) -> None:
        self._link = link
        self._settings = settings
        self._clock = clock
        self._deadline = deadline
        self._hosts = hosts
        self.down: Outcome | None = None

    def send(self, wave: Sequence[Message | Outcome]) -> Sequence[Outcome]:
        outcomes = [each if isinstance(each, Outcome) else self._too_large(each) for each in wave]
        going = [index for index, outcome in enumerate(outcomes) if outcome is None]
        messages = [each for index, each in enumerate(wave) if index in set(going) and isinstance(each, Message)]
        if self.down is None and messages:
            seconds = max(self._deadline - self._clock(), 0.0)
            answers = self._link.publish(self._settings.stream, messages, seconds)
            for index, message, answer in zip(going, messages, answers, strict=True):
                outcomes[index] = self._judge(message, answer)
        return [outcome or self.down or waits() for outcome in outcomes]

    def _too_large(self, message: Message) -> Outcome | None:
        limit = self._link.max_payload - len(f"Nats-Expected-Stream: {self._settings.stream}\r\n".encode())
        if message.size <= limit:
            return None
        return rejected(f"{self._hosts}: {message.size} bytes, more than the server's max_payload ({limit} are left)")

    def _judge(self, message: Message, answer: BaseException | None) -> Outcome:
        if answer is None:
            return OK
        if isinstance(answer, NoStreamResponseError):
            hint = f"add it to the subjects of stream {self._settings.stream!r}"
            return retry(f"{self._hosts}: no stream takes the subject {shown(message.subject)!r}: {hint}")
        if isinstance(answer, APIError):
            said = shown(answer.description or str(answer))
            if answer.err_code == _TOO_LARGE:
                return rejected(f"{self._hosts}: stream {self._settings.stream!r} does not take it: {said}")
            return retry(f"{self._hosts}: stream {self._settings.stream!r}: {said}")
        if self.down is not None:
            return self.down
        reason = f"{self._hosts}: {_said(answer, self._link.noted)}"
        self.down = not_tried(reason)
        return retry(reason)


def _quoted(value: str) -> str:
    return value if _AS_IT_IS.fullmatch(value) else quote(value, safe=_SAFE)


def _said(error: BaseException, noted: Exception | None = None) -> str:
    """The text of a fault; ``noted`` adds the reason if there was no answer."""
    if isinstance(error, TimeoutError):
        return "no answer in time" if noted is None else f"no answer in time ({_said(noted)})"
    if isinstance(error, OSError):
        # asyncio puts the address, which is shown anyway, where other libraries put the reason.
        if error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
            return shown(os.strerror(error.errno))
        return shown(plain(error))
    return shown(str(error).removeprefix("nats: ").strip("'") or type(error).__name__)
