"""The delivery options of a sink: values from its section of the settings."""

from __future__ import annotations

import msgspec


class DeliveryOptions(msgspec.Struct, frozen=True):
    """See :class:`esfeed.config.types.SinkSection`. Times in seconds. If ``ttl`` is ``None``, no event is too old."""

    batch: int = 100
    batch_bytes: int = 16 << 20
    linger: float = 0.0
    attempts: int = 25
    ttl: float | None = None
    coalesce: float = 0.0

    def oldest(self, now: float) -> float:
        """The time (epoch seconds) of the oldest event that the sink still wants."""
        return float("-inf") if self.ttl is None else now - self.ttl
