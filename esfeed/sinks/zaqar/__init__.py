"""The ``zaqar`` sink."""

from esfeed.sinks.zaqar.sink import ZaqarSink

__all__ = ["ZaqarSink"]
