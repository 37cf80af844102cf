"""The ``stdout`` sink."""

from esfeed.sinks.stdout.sink import StdoutSink

__all__ = ["StdoutSink"]
