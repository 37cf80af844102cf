"""An event's CloudEvents attributes, for targets whose messages have headers beside the value."""

from __future__ import annotations

from collections.abc import Mapping

from esfeed.event import Event


def attributes(event: Event) -> Mapping[str, str]:
    """The context attributes by name, as the structured form has them; none is empty.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#context-attributes
    """
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"esfeed://{event.origin.cluster}/{event.watch}",
        "type": f"esfeed.{event.op}",
        "subject": event.subject,
        "time": event.time,
    }
