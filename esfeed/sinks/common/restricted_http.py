"""HTTP connections with restricted destinations and one deadline.

*Destinations*: a name is resolved once, each address is checked, and the connection goes to exactly that address. A
name that resolves differently a second later (DNS rebinding) gains nothing, because it is not resolved again.
*Deadline*: one deadline covers lookup, connecting, TLS, sending and reading. The timeouts of urllib3 restart with each
byte that arrives, so a server that sends byte by byte would block forever.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import BaseHTTPResponse

from esfeed.net.bounds import Bounded, tls_context
from esfeed.sinks.common.deadline import within

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


class Refused(OSError):
    """The destination has only addresses that are not permitted."""


class LookupFailed(OSError):
    """The name has no address, or the lookup failed."""


def is_public(text: str) -> bool:
    """Whether an address is public: not loopback, link-local, private, multicast or reserved.

    An IPv4 address embedded in an IPv6 one (mapped, 6to4, NAT64) counts as that IPv4 address.
    https://www.iana.org/assignments/iana-ipv6-special-registry/
    """
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and address.is_site_local:
            return False
        address = inner or address
    return address.is_global and not (address.is_multicast or address.is_reserved)


class Limits:
    """The limits for the connections of one sink: whether private addresses are permitted, and the current deadline."""

    def __init__(self, allow_private: bool) -> None:
        self.allow_private = allow_private
        self._end = 0.0

    def start(self, seconds: float) -> None:
        """Starts the deadline: from now on, everything together has ``seconds``."""
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises ``TimeoutError`` if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class ThreadLimits(threading.local, Limits):
    """The same, but separate for each thread."""


def resolve(host: str, port: int, limits: Limits) -> Sequence[tuple[Any, ...]]:
    """The permitted addresses of ``host`` (as ``getaddrinfo`` returns them); at least one.

    Raises :class:`LookupFailed`, :class:`Refused` or ``TimeoutError``.
    """

    def look_up() -> Sequence[tuple[Any, ...]]:
        try:
            return socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise LookupFailed(f"no address for {host} ({getattr(error, 'strerror', None) or error})") from error

    # The resolver has no timeout.
    found = within(limits.left(), look_up, "esfeed-resolve")
    allowed = [one for one in found if limits.allow_private or is_public(str(one[4][0]))]
    if not allowed:
        raise Refused(
            f"{host} is {found[0][4][0]}, which is not a public address; set allow_private = true to permit it"
        )
    return allowed


def _connect(host: str, port: int, limits: Limits) -> socket.socket:
    """A connected socket. Several addresses share the remaining time."""
    addresses = resolve(host, port, limits)
    fault: OSError = OSError("no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = Bounded(family, kind, protocol)
        try:
            sock.settimeout(limits.left() / (len(addresses) - number))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            fault = error
        else:
            sock.settimeout(limits.left())
            sock.limits = limits
            return sock
    raise fault


class GuardedHTTP(HTTPConnection):
    """An HTTP connection within ``limits``. Set them before it connects."""

    limits: Limits

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port or self.default_port, self.limits)


class GuardedHTTPS(HTTPSConnection):
    """The same with TLS; the certificate must match the name in the URL."""

    limits: Limits

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port or self.default_port, self.limits)

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, Bounded):
            self.sock.limits = self.limits


Connection = GuardedHTTP | GuardedHTTPS


def connection_to(
    scheme: str, host: str, port: int, limits: Limits, context: ssl.SSLContext | None = None
) -> Connection:
    """A connection that is not made yet.

    ``context`` is for https, and respects the deadline from now on. The default trusts the authorities of the system.
    """
    connection: Connection
    if scheme == "http":
        connection = GuardedHTTP(host, port)
    else:
        connection = GuardedHTTPS(host, port, ssl_context=tls_context(context or ssl.create_default_context()))
    connection.limits = limits
    return connection


def answer_to(
    connection: Connection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> BaseHTTPResponse:
    """Sends a request. Returns the response, its body unread and as it was sent."""
    # A server that has seen enough (413) answers and closes while we still send. Its answer is worth reading.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, path, body=body, headers=headers, preload_content=False, decode_content=False)
    return connection.getresponse()
