"""The ``oslo`` sink."""

from esfeed.sinks.oslo.sink import OsloSink

__all__ = ["OsloSink"]
