"""The ``amqp`` sink."""

from esfeed.sinks.amqp.sink import AmqpSink

__all__ = ["AmqpSink"]
