"""The forms in which an event can be written for a consumer; a sink's ``format`` names one.

Each form is one module here with one pure function; whoever adds one adds its name to ``Format`` and ``_ENVELOPES``.
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
    """A form: ``encode`` makes JSON text (bytes, UTF-8) of an event, ``content_type`` says what it is to who asks."""

    content_type: str
    encode: Callable[[Event], bytes]


_ENVELOPES: dict[Format, Envelope] = {
    "cloudevents": Envelope("application/cloudevents+json", cloudevent),
    "debezium": Envelope("application/json", debezium),
    "searchlight": Envelope("application/json", searchlight),
    "raw": Envelope("application/json", raw),
}


def envelope(name: Format) -> Envelope:
    """The form of that name."""
    return _ENVELOPES[name]
