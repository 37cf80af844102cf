"""What the tests of the webhook sink share."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from esfeed.model.event import Event
from esfeed.ports import Outcome
from esfeed.sinks.webhook.settings import WebhookSettings
from esfeed.sinks.webhook.sink import WebhookSink
from esfeed.testing.events import sample_event
from tests.support.receiver import Request

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()


def make(url: str, **keys: Any) -> WebhookSink:
    """An open sink."""
    sink = WebhookSink(WebhookSettings.model_validate({"url": url, "allow_private": True} | keys))
    sink.open()
    return sink


def send(url: str, events: Sequence[Event], **keys: Any) -> Sequence[Outcome]:
    """The outcomes at a new sink."""
    sink = make(url, **keys)
    try:
        return sink.send(events)
    finally:
        sink.close()


def lower(request: Request) -> dict[str, str]:
    """The headers, their names in lower case."""
    return {name.lower(): value for name, value in request.headers.items()}


def of_documents(count: int, documents: int) -> list[Event]:
    """Events in turn of so many documents."""
    return [sample_event(position=n, doc_id=f"doc-{n % documents}") for n in range(1, count + 1)]
