"""The settings of the ``mqtt`` sink."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from esfeed.config.types import Duration, Secret, SinkSection, Text
from esfeed.routing.template import Templated
from esfeed.sinks.common.address import Address, address_of
from esfeed.sinks.common.tls import TlsKeys

SCHEMES = {"mqtt": 1883, "mqtts": 8883}


class MqttSettings(TlsKeys, SinkSection):
    """Events to topics of an MQTT 5 broker."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["mqtt"] = Field("mqtt", description="An MQTT 5 broker.")
    url: Secret = Field(
        description='The broker: "mqtt://host:1883", or mqtts:// for TLS. Logs and errors show only its scheme, host '
        "and port."
    )
    topic: Templated = Field(
        description='The topic, such as "esfeed/{watch}/{id}". Characters that a topic cannot have (+ # and '
        "control characters) and % are written as %XX; a / in a value starts a new level."
    )
    user: Text | None = Field(None, description="The user name.")
    password: Secret | None = Field(None, description='Its password; can be "env:NAME".')
    client_id: Text | None = Field(
        None, min_length=1, description="The client id, unique on the broker; default: the broker chooses one."
    )
    retain: bool = Field(
        False,
        description="Whether the broker keeps the last event of each topic for later subscribers. Use a topic that "
        "names the document.",
    )
    clear_deleted: bool = Field(
        False,
        description="With retain: send the event of a delete unretained, followed by an empty retained message, so "
        "that the broker keeps nothing of a deleted document.",
    )
    timeout: Duration = Field(10.0, gt=0, description="The timeout of connecting, and of one batch.")

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        if address_of(url.get_secret_value(), SCHEMES).path:
            raise ValueError("remove what follows the port; the topic has its own key")
        return url

    @model_validator(mode="after")
    def _clearing_needs_retaining(self) -> Self:
        if self.clear_deleted and not self.retain:
            raise ValueError("set retain = true as well; clear_deleted needs it")
        return self

    @property
    def address(self) -> Address:
        return address_of(self.url.get_secret_value(), SCHEMES)
