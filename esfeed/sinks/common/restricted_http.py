"""HTTP connections that go only where they may, and take only as long as they may.

*Where*: a name is resolved once, each address is checked, and that very address is connected to. A name that answers
differently a second later (DNS rebinding) gains nothing, since nobody asks a second time.
*How long*: one deadline covers looking up, connecting, TLS, sending and reading. urllib3's own time-outs begin anew
with each byte that arrives, so a server that drips would hold them for ever.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection

from esfeed.net.bounds import Bounded
from esfeed.sinks.common.deadline import within

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


class Refused(OSError):
    """The destination has only addresses that may not be connected to."""


class LookupFailed(OSError):
    """The name has no address, or nobody could say."""


def is_public(text: str) -> bool:
    """Whether an address is one of the open internet: not loopback, link-local, private, multicast or reserved.

    An IPv4 address in the clothes of an IPv6 one (mapped, 6to4, NAT64) is judged as the IPv4 address that it is.
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
    """What the connections of one sink hold to: whether private addresses are allowed, and the deadline of the day."""

    def __init__(self, allow_private: bool) -> None:
        self.allow_private = allow_private
        self._end = 0.0

    def start(self, seconds: float) -> None:
        """From now on, everything together has that long."""
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises ``TimeoutError`` where there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class ThreadLimits(threading.local, Limits):
    """The same, for each thread by itself."""


def resolve(host: str, port: int, limits: Limits) -> Sequence[tuple[Any, ...]]:
    """The addresses (as ``getaddrinfo`` gives them) of ``host`` that may be connected to; at least one.

    Raises :class:`LookupFailed`, :class:`Refused` or ``TimeoutError``.
    """

    def look_up() -> Sequence[tuple[Any, ...]]:
        try:
            return socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise LookupFailed(f"no address for {host} ({getattr(error, 'strerror', None) or error})") from error

    # The resolver knows no time-out.
    found = within(limits.left(), look_up, "esfeed-resolve")
    allowed = [one for one in found if limits.allow_private or is_public(str(one[4][0]))]
    if not allowed:
        raise Refused(f"{host} is {found[0][4][0]}, an address that is not of the open internet")
    return allowed


def _connect(host: str, port: int, limits: Limits) -> socket.socket:
    """A connected socket. Where there are many addresses, each has its share of the time that is left."""
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
    """An HTTP connection within ``limits``, which are to be set before it connects."""

    limits: Limits

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port or self.default_port, self.limits)


class GuardedHTTPS(HTTPSConnection):
    """The same with TLS; the name in the URL is the one that the certificate must bear."""

    limits: Limits

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port or self.default_port, self.limits)

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, Bounded):
            self.sock.limits = self.limits
