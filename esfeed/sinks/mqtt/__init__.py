"""The ``mqtt`` sink."""

from esfeed.sinks.mqtt.sink import MqttSink

__all__ = ["MqttSink"]
