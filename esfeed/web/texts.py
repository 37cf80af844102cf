"""An event as text for a reader over HTTP: CloudEvents, with large integers as strings on request.

JavaScript has no integers beyond 2**53, and versions of Searchlight are larger: https://www.rfc-editor.org/rfc/rfc7493.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from esfeed.envelopes import envelope
from esfeed.model.event import Event
from esfeed.text.jsontext import quick

LARGEST_SAFE = 2**53 - 1
_MAY_BE_LARGE = re.compile(rb"\d{16}")
_encode = envelope("cloudevents").encode
_exact = msgspec.json.Encoder(decimal_format="number")


def text(event: Event, safe_integers: bool = False) -> bytes:
    """The event as one line of JSON. ``safe_integers``: write every integer beyond 2**53 as a string."""
    plain = _encode(event)
    if not safe_integers or not _MAY_BE_LARGE.search(plain):
        return plain
    try:
        return _exact.encode(safe(quick(plain)))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return plain


def safe(value: Any) -> Any:
    """The value with integers beyond 2**53 as strings, at any depth."""
    if isinstance(value, bool) or not isinstance(value, int | list | dict):
        return value
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_SAFE else str(value)
    if isinstance(value, list):
        return [safe(part) for part in value]
    return {name: safe(part) for name, part in value.items()}


def message(event: Event, safe_integers: bool) -> bytes:
    """The event as one server-sent event; its id is the position, which a client sends back as ``Last-Event-ID``.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    return b"id: %d\ndata: %b\n\n" % (event.position, text(event, safe_integers))
