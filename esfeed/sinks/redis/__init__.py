"""The ``redis`` sink."""

from esfeed.sinks.redis.sink import RedisSink

__all__ = ["RedisSink"]
