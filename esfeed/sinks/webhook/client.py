"""Sends requests to a URL: one connection at a time, within one deadline, to permitted addresses only.

``restricted_http`` enforces addresses and time. A redirect is followed only if the settings permit it, only from POST
to POST, never from TLS to plain HTTP, never to a forbidden address; and to another host without credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urljoin

from urllib3.response import BaseHTTPResponse
from urllib3.util import make_headers

from esfeed import __version__
from esfeed.errors import ConfigError, Retryable
from esfeed.sinks.common.http_faults import FAULTS, why
from esfeed.sinks.common.restricted_http import (
    Connection,
    Limits,
    LookupFailed,
    Refused,
    answer_to,
    connection_to,
    resolve,
)
from esfeed.sinks.common.tls import client_context, server_context
from esfeed.sinks.webhook.messages import Message
from esfeed.sinks.webhook.settings import Target, WebhookSettings, target_of

_MAX_BODY = 1 << 16
_MAX_REDIRECTS = 5
_REPEATED = {301, 302, 307, 308}
"""Redirects that repeat the POST. 303 asks for a GET, which would not deliver the event (RFC 9110 §15.4)."""


class Unreachable(Exception):
    """No complete answer came. The text says from where and why, and contains no secrets."""


class Answer(NamedTuple):
    """An answer. If it is a redirect, ``redirect`` says why it was not followed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    redirect: str = ""


class Contexts:
    """The TLS contexts of one sink: for its own host, and, without the client certificate, for redirects to others."""

    def __init__(self, settings: WebhookSettings) -> None:
        """Raises ``ConfigError`` for an unusable file."""
        self.own = client_context(settings)
        self.other = server_context(settings) if settings.client_cert is not None else self.own


class WebhookClient:
    """Posts to one URL, one request at a time. For one thread at a time; the contexts may be shared."""

    def __init__(self, settings: WebhookSettings, contexts: Contexts | None) -> None:
        self._settings = settings
        self._contexts = contexts
        self._target = target_of(settings.url.get_secret_value())
        self._limits = Limits(settings.allow_private)
        self._common = {
            "user-agent": f"esfeed/{__version__}",
            "accept-encoding": "identity",  # error texts must be readable, and compressed answers could be bombs
        }
        self._credentials = _credentials(settings, self._target)
        self._connections: dict[str, Connection] = {}

    def look_up(self) -> None:
        """Looks the host up and checks that its address is permitted; sends nothing.

        Raises ``ConfigError`` for a forbidden address, ``Retryable`` if the name has no address now.
        """
        self._limits.start(self._settings.timeout)
        try:
            resolve(self._target.host, self._target.port, self._limits)
        except Refused as error:
            raise ConfigError("url", self._target.origin, self._reason(error)) from error
        except (LookupFailed, TimeoutError) as error:
            raise Retryable(f"{self._target.origin}: {self._reason(error)}") from error

    def post(self, message: Message) -> Answer:
        """Sends one message and returns the answer, after redirects. Raises :class:`Unreachable`."""
        self._limits.start(self._settings.timeout)
        target = self._target
        headers = {**self._common, **self._credentials, **message.headers}
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._exchange(target, headers, message.body)
            if not 300 <= answer.status < 400:
                return answer
            following, why = self._following(target, answer)
            if following is None:
                return answer._replace(redirect=why)
            target = following
            own = target.origin == self._target.origin
            headers = {**self._common, **(self._credentials if own else {}), **message.headers}
        return answer._replace(redirect=f"more than {_MAX_REDIRECTS} redirects")

    def close(self) -> None:
        """Closes all connections."""
        for origin in [*self._connections]:
            self._disconnect(origin)

    def _following(self, target: Target, answer: Answer) -> tuple[Target | None, str]:
        """The target of a redirect, or why it is not followed."""
        if not self._settings.follow_redirects:
            return None, "esfeed does not follow redirects"
        if answer.status not in _REPEATED:
            return None, "the status is not a redirect of a POST"
        try:
            following = target_of(urljoin(target.origin + target.path, answer.headers.get("location", "")))
        except ValueError:
            return None, "it has no url"
        if target.scheme == "https" and following.scheme == "http":
            return None, "it leads from https to http"
        return following, ""

    def _exchange(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            connection = self._connected(target)
            response = answer_to(connection, "POST", target.path, body, headers)
            said, whole = _read(response)
        except FAULTS as error:
            self._disconnect(target.origin)
            raise Unreachable(f"{target.origin}: {self._reason(error)}") from error
        if not whole or connection.sock is None:
            self._disconnect(target.origin)
        return Answer(response.status, response.headers, said)

    def _connected(self, target: Target) -> Connection:
        connection = self._connections.get(target.origin)
        if connection is None or not connection.is_connected:
            # At most one connection to the own host and one to another are needed at a time.
            for origin in [origin for origin in self._connections if origin != self._target.origin]:
                self._disconnect(origin)
            self._disconnect(target.origin)
            connection = self._connection(target)
            self._connections[target.origin] = connection
            connection.connect()
        return connection

    def _connection(self, target: Target) -> Connection:
        if target.scheme == "http":
            return connection_to("http", target.host, target.port, self._limits)
        if self._contexts is None:
            self._contexts = Contexts(self._settings)
        context = self._contexts.own if target.origin == self._target.origin else self._contexts.other
        return connection_to(target.scheme, target.host, target.port, self._limits, context)

    def _disconnect(self, origin: str) -> None:
        connection = self._connections.pop(origin, None)
        if connection is not None:
            connection.close()

    def _reason(self, error: BaseException) -> str:
        return why(error, self._settings.timeout)


def _credentials(settings: WebhookSettings, target: Target) -> dict[str, str]:
    """Headers for the host of the URL only: its user and password, and the headers of the settings."""
    headers = {} if target.userinfo is None else make_headers(basic_auth=target.userinfo)
    return {**headers, **{name.lower(): value.get_secret_value() for name, value in settings.headers.items()}}


def _read(response: BaseHTTPResponse) -> tuple[bytes, bool]:
    """(the beginning of the body, whether that is all). Raises if the body ends too early."""
    body = b""
    while len(body) < _MAX_BODY:
        part = response.read1(_MAX_BODY - len(body))
        if not part:
            return body, True
        body += part
    return body, False
