"""``requests`` with a deadline and a limit of bytes, for OpenStack clients. See ``restricted_http``, ``net.bounds``."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

from esfeed.net.bounds import TooLarge, Undecodable, tls_context, whole
from esfeed.sinks.common.restricted_http import GuardedHTTP, GuardedHTTPS, Limits

_MAX_BODY = 16 << 20


def restricted_session(limits: Limits, verify: bool | str) -> requests.Session:
    """A session with ``limits`` that ignores proxies and .netrc of the environment.

    ``verify``: whether to verify certificates, or a PEM file with the authorities to trust instead of the system's.
    """
    session = requests.Session()
    session.trust_env = False
    session.verify = verify
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(limits, bool(verify)))
    return session


class _Adapter(HTTPAdapter):
    """Connections with one deadline for everything, from lookup to the last byte of an answer of limited size."""

    def __init__(self, limits: Limits, verify: bool) -> None:
        self._limits = limits
        self._verify = verify
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
        context = tls_context(create_urllib3_context())
        context.check_hostname = self._verify
        self.poolmanager = PoolManager(connections, maxsize=maxsize, block=block, ssl_context=context, **more)
        held = {"limits": self._limits}
        plain = type("_Plain", (GuardedHTTP,), held)
        tls = type("_TLS", (GuardedHTTPS,), held)
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("_TLSPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        """Raises ``requests.ConnectionError`` if the answer is incomplete or too large."""
        response = super().send(request, *args, **more)
        try:
            response._content = whole(response.raw, _MAX_BODY)
        except (HTTPError, TooLarge, Undecodable) as error:
            raise requests.ConnectionError(error, request=request) from error
        response._content_consumed = True
        return response
