"""Events to a URL: one POST each, a CloudEvent in structured mode, one after another.

``_request`` makes what is sent, ``guarded`` brings it there, ``answers`` reads the answer; each can change without the
others. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import urllib3
from urllib3.response import BaseHTTPResponse
from urllib3.util import make_headers
from urllib3.util.ssl_ import create_urllib3_context

from esfeed import __version__
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.event import Event
from esfeed.ports import Outcome, retry, waits
from esfeed.sinks.answers import judge, shown
from esfeed.sinks.guarded import GuardedHTTP, GuardedHTTPS, Limits, LookupFailed, Refused, resolve, tls_context
from esfeed.sinks.webhook_settings import Target, WebhookSettings, target_of

_MOST_BODY = 1 << 16
_FAULTS = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class WebhookSink:
    """Posts each event, in order; after a fault, later events of the same document wait, others go on.

    ``ok`` means that the server answered 2xx, whole. A server that cannot be reached or does not answer in time is
    asked once a batch, not once an event.
    """

    Settings = WebhookSettings

    def __init__(self, settings: WebhookSettings, clock: Callable[[], datetime] = _utc_now) -> None:
        self._settings = settings
        self._clock = clock
        self._encode = envelope(settings.format).encode
        self._target: Target = target_of(settings.url.get_secret_value())
        self._limits = Limits(settings.allow_private)
        self._headers = self._fixed_headers()
        self._context: ssl.SSLContext | None = None
        self._connection: GuardedHTTP | GuardedHTTPS | None = None

    def open(self) -> None:
        """Reads certificates, looks the host up, and checks that it may be connected to; sends nothing.

        Raises ``ConfigError`` for an unreadable certificate or a forbidden address, ``Retryable`` where the name has
        no address now.
        """
        self.close()
        if self._target.scheme == "https":
            self._context = self._tls()
        self._limits.start(self._settings.timeout)
        try:
            resolve(self._target.host, self._target.port, self._limits)
        except Refused as error:
            raise ConfigError("url", self._target.origin, _reason(error, self._settings.timeout)) from error
        except (LookupFailed, TimeoutError) as error:
            raise Retryable(f"{self._target.origin}: {_reason(error, self._settings.timeout)}") from error

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Posts the events one by one. 2xx is ok; 408, 425, 429, 5xx and every fault of the connection are ``retry``,
        with the ``Retry-After`` that the server gave; any other answer is ``rejected``. Raises nothing.
        """
        outcomes: list[Outcome] = []
        stuck: set[tuple[str | None, ...]] = set()
        down: Outcome | None = None
        for event in events:
            document = (event.watch, event.type, event.doc_id, event.view, event.origin.routing)
            if document in stuck:
                outcome = waits()
            elif down is not None:
                outcome = down
            else:
                try:
                    outcome = self._post(event)
                except _FAULTS as error:
                    self._disconnect()
                    reason = f"{self._target.origin}: {_reason(error, self._settings.timeout)}"
                    outcome, down = retry(reason), waits(f"not tried after an earlier fault: {reason}")
            if not outcome.ok:
                stuck.add(document)
            outcomes.append(outcome)
        return outcomes

    def close(self) -> None:
        """Closes the connection."""
        self._disconnect()

    def _request(self, event: Event) -> tuple[Mapping[str, str], bytes]:
        """The headers and the body that stand for an event."""
        return self._headers, self._encode(event)

    def _fixed_headers(self) -> Mapping[str, str]:
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "user-agent": f"esfeed/{__version__}",
            "accept-encoding": "identity",  # an error's text is to be read, and no bomb to be unpacked
        }
        if self._target.userinfo is not None:
            headers |= make_headers(basic_auth=self._target.userinfo)
        own = {name.lower(): value.get_secret_value() for name, value in self._settings.headers.items()}
        return headers | own

    def _post(self, event: Event) -> Outcome:
        self._limits.start(self._settings.timeout)
        connection = self._connected()
        headers, body = self._request(event)
        # A server that has seen enough (413) answers and hangs up while we still send; its answer is worth reading.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(
                "POST", self._target.path, body=body, headers=headers, preload_content=False, decode_content=False
            )
        response = connection.getresponse()
        said, whole = _read(response)
        if not whole or connection.sock is None:
            self._disconnect()
        return judge(response.status, response.headers, said, self._clock())

    def _connected(self) -> GuardedHTTP | GuardedHTTPS:
        connection = self._connection
        if connection is None or not connection.is_connected:
            self._disconnect()
            host, port = self._target.host, self._target.port
            if self._target.scheme == "http":
                connection = GuardedHTTP(host, port)
            else:
                self._context = self._context or self._tls()
                connection = GuardedHTTPS(host, port, ssl_context=self._context)
            connection.limits = self._limits
            self._connection = connection
            connection.connect()
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _tls(self) -> ssl.SSLContext:
        settings = self._settings
        context = create_urllib3_context()
        if not settings.verify_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif settings.ca_certs is None:
            context.load_default_certs()
        else:
            try:
                context.load_verify_locations(settings.ca_certs)
            except OSError as error:  # ssl.SSLError is one
                raise ConfigError("ca_certs", settings.ca_certs, f"cannot be used ({_plain(error)})") from error
        if settings.client_cert is not None:
            try:
                # An empty password instead of none: else OpenSSL asks on the terminal for that of an encrypted key.
                context.load_cert_chain(settings.client_cert, settings.client_key, password="")
            except OSError as error:
                hint = f"cannot be used with client_key ({_plain(error)}); give PEM files, the key unencrypted"
                raise ConfigError("client_cert", settings.client_cert, hint) from error
        return tls_context(context)


def _read(response: BaseHTTPResponse) -> tuple[bytes, bool]:
    """As much of the body as anybody needs, and whether that is all. Raises where it ends before its end."""
    body = b""
    while len(body) < _MOST_BODY:
        part = response.read1(_MOST_BODY - len(body))
        if not part:
            return body, True
        body += part
    return body, False


def _plain(error: OSError) -> str:
    return error.strerror or getattr(error, "reason", None) or str(error)


def _reason(error: BaseException, timeout: float) -> str:
    """A fault in words: without addresses of objects, and without the URL, which may hold secrets."""
    if isinstance(error, urllib3.exceptions.HTTPError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, TimeoutError):
        return f"no whole answer within {timeout:g} s"
    if isinstance(error, Refused):
        return f"{error}; set allow_private = true if that is meant"
    if isinstance(error, LookupFailed):
        return str(error)
    if isinstance(error, ssl.SSLError):
        return shown(f"TLS: {getattr(error, 'verify_message', None) or error.reason or error}")
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
        return "the connection was closed in the middle of the answer"
    if isinstance(error, OSError):
        return shown(_plain(error))
    return shown(f"no HTTP answer ({type(error).__name__})")
