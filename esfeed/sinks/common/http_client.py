"""HTTP to a service with several hosts, one request at a time, within one deadline (see ``restricted_http``)."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import urllib3

from esfeed.errors import Retryable
from esfeed.net.bounds import TooLarge, Undecodable, tls_context, whole
from esfeed.sinks.common.address import Address
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.restricted_http import GuardedHTTP, GuardedHTTPS, Limits
from esfeed.sinks.common.tls import plain

_MAX_BODY = 64 << 20
"""The limit of an answer. A bulk request of 10,000 events gets at most a few kilobytes for each failed one."""
_FAULTS = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, TooLarge, Undecodable)


class Answer(NamedTuple):
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """A connection to the first host that accepts it; after a fault, the next host goes first. For one thread."""

    def __init__(self, hosts: Sequence[Address], headers: Mapping[str, str], context: ssl.SSLContext | None) -> None:
        self._hosts = list(hosts)
        self._headers = {"accept-encoding": "identity"} | dict(headers)
        self._context = None if context is None else tls_context(context)
        self._limits = Limits(allow_private=True)
        self._timeout = 0.0
        self._connection: GuardedHTTP | GuardedHTTPS | None = None

    def start(self, seconds: float) -> None:
        """Starts the deadline: from now on, all calls together have ``seconds``."""
        self._timeout = seconds
        self._limits.start(seconds)

    @property
    def where(self) -> str:
        """The current host, safe to log."""
        return self._hosts[0].shown

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Answer:
        """The answer. Raises ``Retryable`` if no host accepts the connection, or if the answer is not complete."""
        headers = self._headers | ({"content-type": kind} if body is not None else {})
        fault: Exception | None = None
        for _ in self._hosts:
            try:
                connection = self._connected()
            except _FAULTS as error:
                fault = self._fault(error)
                continue
            try:
                # A server that has seen enough (413) answers and closes while we still send. Its answer is worth
                # reading.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, path, body=body, headers=headers, preload_content=False)
                response = connection.getresponse()
                said = whole(response, _MAX_BODY)
                if connection.sock is None:
                    self.close()
                return Answer(response.status, response.headers, said)
            except _FAULTS as error:
                raise self._fault(error) from error
        assert fault is not None
        raise fault

    def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> GuardedHTTP | GuardedHTTPS:
        connection = self._connection
        if connection is None or not connection.is_connected:
            self.close()
            host = self._hosts[0]
            if host.scheme == "http":
                connection = GuardedHTTP(host.host, host.port)
            else:
                connection = GuardedHTTPS(host.host, host.port, ssl_context=self._context)
            connection.limits = self._limits
            self._connection = connection
            connection.connect()
        return connection

    def _fault(self, error: BaseException) -> Retryable:
        where = self.where
        self.close()
        self._hosts.append(self._hosts.pop(0))
        return Retryable(f"{where}: {self._reason(error)}", "start the server, or correct the settings of the sink")

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, urllib3.exceptions.HTTPError) and error.__cause__ is not None:
            error = error.__cause__
        if isinstance(error, TooLarge | Undecodable):
            return str(error)
        if isinstance(error, TimeoutError):
            return f"no complete answer within {self._timeout:g} s"
        if isinstance(error, ssl.SSLError):
            return shown(f"TLS: {plain(error)}")
        if isinstance(error, http.client.RemoteDisconnected):
            return "the connection was closed without an answer"
        if isinstance(error, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
            return "the connection was closed in the middle of the answer"
        if isinstance(error, OSError):
            return shown(plain(error))
        return shown(f"no HTTP answer ({type(error).__name__})")
