"""The ``elasticsearch`` sink."""

from esfeed.sinks.elasticsearch.sink import ElasticsearchSink

__all__ = ["ElasticsearchSink"]
