"""The ``nats`` sink."""

from esfeed.sinks.nats.sink import NatsSink

__all__ = ["NatsSink"]
