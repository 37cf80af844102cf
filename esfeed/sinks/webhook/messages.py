"""Builds the requests of a webhook from events: content type, body, and signatures. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from esfeed.envelopes import Format, envelope
from esfeed.envelopes.cloudevents import binary_cloudevent
from esfeed.model.event import Event
from esfeed.sinks.webhook.signatures import signed

Mode = Literal["structured", "binary", "batch"]

_BATCH = "application/cloudevents-batch+json; charset=utf-8"
_JSON = "application/json"


class Message(NamedTuple):
    """The content of a request: headers (names in lower case) and body."""

    headers: Mapping[str, str]
    body: bytes


class Writer:
    """Builds messages from events, and signs each with the current time. Immutable and thread-safe.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
    """

    def __init__(self, form: Format, mode: Mode, keys: Sequence[bytes], clock: Callable[[], datetime]) -> None:
        self._binary = mode == "binary"
        self._cloudevents = form == "cloudevents"
        self._envelope = envelope(form)
        self._keys = tuple(keys)
        self._clock = clock

    def one(self, event: Event) -> Message:
        """One event. ``webhook-id`` is its id, so that a receiver recognizes a repeat."""
        if self._binary:
            headers, body = binary_cloudevent(event)
        else:
            kind = self._envelope.content_type
            headers = {"content-type": f"{kind}; charset=utf-8" if self._cloudevents else kind}
            body = self._envelope.encode(event)
        return self._signed(event.id, headers, body)

    def many(self, events: Sequence[Event]) -> Message:
        """Several events as one JSON array. ``webhook-id`` is derived from their ids."""
        body = b"[" + b",".join(self._envelope.encode(event) for event in events) + b"]"
        ids = hashlib.blake2b(" ".join(event.id for event in events).encode(), digest_size=16).hexdigest()
        return self._signed(ids, {"content-type": _BATCH if self._cloudevents else _JSON}, body)

    def _signed(self, message_id: str, headers: Mapping[str, str], body: bytes) -> Message:
        return Message({**headers, **signed(message_id, self._clock(), body, self._keys)}, body)
