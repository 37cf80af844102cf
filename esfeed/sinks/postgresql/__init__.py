"""The ``postgresql`` sink."""

from esfeed.sinks.postgresql.sink import PostgresqlSink

__all__ = ["PostgresqlSink"]
