"""The ``file`` sink."""

from esfeed.sinks.file.sink import FileSink

__all__ = ["FileSink"]
