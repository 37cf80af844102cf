"""The ``command`` sink."""

from esfeed.sinks.command.sink import CommandSink

__all__ = ["CommandSink"]
