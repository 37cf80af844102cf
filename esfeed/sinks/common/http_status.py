"""What the answer of an HTTP server means for an event. Pure: status, headers, body and the time are arguments."""

from __future__ import annotations

import http
from collections.abc import Mapping
from datetime import datetime

from esfeed.net.retry_after import retry_after
from esfeed.ports import OK, Outcome, rejected, retry

LONGEST_WAIT = 3600.0
"""The limit in seconds for a ``Retry-After``: a typo must not stop a feed for years."""

GONE = "410 Gone: the receiver accepts no more events"

_MAX_SHOWN = 200
_LATER = {401, 403, 404, 405, 407, 408, 410, 425, 429}
_STOPS = {401, 404, 405, 407, 410, 429}


def judge(status: int, headers: Mapping[str, str], body: bytes, now: datetime, redirect: str = "") -> Outcome:
    """What an answer means for its event (RFC 9110 §15, RFC 8470 for 425, RFC 6585 for 429).

    2xx is ok. ``retry``: temporary failures (408, 425, 429, 5xx), and errors of the address or the credentials, because
    an operator can correct them (401, 403, 404, 405, 407, 410, and 3xx; ``redirect`` says why it was not followed).
    Everything else is ``rejected``: the server would refuse the same event again.
    """
    if 200 <= status < 300:
        return OK
    said = shown(body.decode("utf-8", "replace"))
    known = status in http.HTTPStatus._value2member_map_
    reason = f"{status} {http.HTTPStatus(status).phrase}" if known else str(status)
    if 300 <= status < 400:
        why = redirect or "esfeed does not follow redirects"
        return retry(f"{reason}: {why}; its location is {shown(headers.get('location', '')) or '-'}")
    reason = f"{reason}: {said}" if said else reason
    if status in _LATER or status >= 500:
        return retry(reason, wait_of(headers, now))
    return rejected(reason)


def stops(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer applies to all events, so that the rest of a batch is not worth a try, or must not be tried."""
    if 300 <= status < 400 or status in _STOPS:
        return True
    return status >= 500 and "retry-after" in headers


def wait_of(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that an answer asks to wait, up to ``LONGEST_WAIT``; ``None`` if it does not."""
    wait = retry_after(headers.get("retry-after"), now)
    return None if wait is None else min(wait, LONGEST_WAIT)


def shown(text: str) -> str:
    """Untrusted text, safe to log: its beginning, on one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text[:_MAX_SHOWN]).split())
