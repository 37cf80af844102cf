"""HTTP to a service with several hosts, one request at a time, within one deadline (see ``restricted_http``)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esfeed.errors import Retryable
from esfeed.net.bounds import whole
from esfeed.sinks.common.address import Address
from esfeed.sinks.common.http_faults import FAULTS, why
from esfeed.sinks.common.restricted_http import Connection, Limits, answer_to, connection_to

_MAX_BODY = 64 << 20
"""The limit of an answer. A bulk request of 10,000 events gets at most a few kilobytes for each failed one."""


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
        self._context = context
        self._limits = Limits(allow_private=True)
        self._timeout = 0.0
        self._connection: Connection | None = None

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
            except FAULTS as error:
                fault = self._fault(error)
                continue
            try:
                response = answer_to(connection, method, path, body, headers)
                said = whole(response, _MAX_BODY)
                if connection.sock is None:
                    self.close()
                return Answer(response.status, response.headers, said)
            except FAULTS as error:
                raise self._fault(error) from error
        assert fault is not None
        raise fault

    def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> Connection:
        connection = self._connection
        if connection is None or not connection.is_connected:
            self.close()
            host = self._hosts[0]
            connection = connection_to(host.scheme, host.host, host.port, self._limits, self._context)
            self._connection = connection
            connection.connect()
        return connection

    def _fault(self, error: BaseException) -> Retryable:
        where = self.where
        self.close()
        self._hosts.append(self._hosts.pop(0))
        return Retryable(
            f"{where}: {why(error, self._timeout)}", "start the server, or correct the settings of the sink"
        )
