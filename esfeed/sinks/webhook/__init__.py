"""The ``webhook`` sink."""

from esfeed.sinks.webhook.sink import WebhookSink

__all__ = ["WebhookSink"]
