"""The formats of events for consumers; the ``format`` of a sink names one.

Each format is one module with one pure function. To add one, add its name to ``Format`` and ``_ENVELOPES``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from esfeed.envelopes.cloudevents import cloudevent
from esfeed.envelopes.debezium import debezium
from esfeed.envelopes.raw import raw
from esfeed.envelopes.searchlight import searchlight
from esfeed.model.event import Event

Format = Literal["cloudevents", "debezium", "searchlight", "raw"]


class Envelope(NamedTuple):
    """A format: ``encode`` turns an event into JSON text (bytes, UTF-8) with that ``content_type``."""

    content_type: str
    encode: Callable[[Event], bytes]


_ENVELOPES: dict[Format, Envelope] = {
    "cloudevents": Envelope("application/cloudevents+json", cloudevent),
    "debezium": Envelope("application/json", debezium),
    "searchlight": Envelope("application/json", searchlight),
    "raw": Envelope("application/json", raw),
}


def envelope(name: Format) -> Envelope:
    """The format with that name."""
    return _ENVELOPES[name]
