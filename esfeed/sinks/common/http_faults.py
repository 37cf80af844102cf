"""Why no complete answer came over HTTP, as text without addresses of objects and without URLs, which may be secret."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Sequence

import urllib3

from esfeed.net.bounds import TooLarge, Undecodable
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.restricted_http import LookupFailed, Refused
from esfeed.sinks.common.tls import plain

FAULTS = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, TooLarge, Undecodable)
"""What a request may raise."""

_TIMEOUTS = (TimeoutError, urllib3.exceptions.TimeoutError)
_OURS = (TooLarge, Undecodable, Refused, LookupFailed)


def why(error: BaseException, timeout: float) -> str:
    """The reason of a fault of a request that had ``timeout`` seconds. ``error`` may wrap the cause several times."""
    causes = _causes(error)
    if ours := next((each for each in causes if isinstance(each, _OURS)), None):
        return str(ours)
    if any(isinstance(each, _TIMEOUTS) for each in causes):
        return f"no complete answer within {timeout:g} s"
    for each in reversed(causes):
        if isinstance(each, ssl.SSLError):
            return shown(f"TLS: {plain(each)}")
        if isinstance(each, http.client.RemoteDisconnected):
            return "the connection was closed without an answer"
        if isinstance(each, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
            return "the connection was closed in the middle of the answer"
        if isinstance(each, http.client.HTTPException):
            return f"no HTTP answer ({type(each).__name__})"
        if isinstance(each, OSError) and each.strerror:
            return shown(each.strerror)
    return f"no HTTP answer ({type(error).__name__})"


def _causes(error: BaseException) -> Sequence[BaseException]:
    """``error`` and what it wraps, the innermost last. Libraries hand on a cause in three ways."""
    found: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None and inner not in found:
        found.append(inner)
        given = [part for part in (getattr(inner, "reason", None), *inner.args) if isinstance(part, BaseException)]
        inner = given[0] if given else inner.__cause__ or inner.__context__
    return found
