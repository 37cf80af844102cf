"""The ``kafka`` sink."""

from esfeed.sinks.kafka.sink import KafkaSink

__all__ = ["KafkaSink"]
