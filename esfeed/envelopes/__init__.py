"""The forms in which an event can be written for a consumer; a sink's ``format`` names one.

Each form is one module here with one pure function; whoever adds one adds its name to ``Format`` and ``_ENVELOPES``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from esfeed.envelopes.cloudevents import cloudevent
from esfeed.event import Event

Format = Literal["cloudevents"]


class Envelope(NamedTuple):
    """A form: ``encode`` makes JSON text (bytes, UTF-8) of an event, ``content_type`` says what it is to who asks."""

    content_type: str
    encode: Callable[[Event], bytes]


_ENVELOPES: dict[Format, Envelope] = {"cloudevents": Envelope("application/cloudevents+json", cloudevent)}


def envelope(name: Format) -> Envelope:
    """The form of that name."""
    return _ENVELOPES[name]
