"""The ``apprise`` sink."""

from esfeed.sinks.apprise.sink import AppriseSink

__all__ = ["AppriseSink"]
