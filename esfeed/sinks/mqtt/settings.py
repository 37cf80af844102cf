"""The keys of an MQTT topic's section."""

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

    type: Literal["mqtt"] = Field("mqtt", description="A broker that speaks MQTT 5.")
    url: Secret = Field(
        description='Where the broker is: "mqtt://host:1883", or mqtts:// for TLS. Only its scheme, host and port are '
        "ever shown."
    )
    topic: Templated = Field(
        description='The topic, such as "esfeed/{watch}/{id}". What no topic may have in it (+ # and control '
        "characters) and % itself are written as %XX; a / in a value begins a new level."
    )
    user: Text | None = Field(None, description="The user to log in as.")
    password: Secret | None = Field(None, description='Its password; may be "env:NAME".')
    client_id: Text | None = Field(
        None, min_length=1, description="The client id, unique on the broker; the broker chooses one, where left out."
    )
    retain: bool = Field(
        False,
        description="Whether the broker keeps the last event of each topic, for those who subscribe later. The topic "
        "should then name the document.",
    )
    clear_deleted: bool = Field(
        False,
        description="With retain: whether a deleted event, which is then sent unretained, is followed by an empty "
        "retained message, so that the broker keeps nothing of a deleted document.",
    )
    timeout: Duration = Field(10.0, gt=0, description="The longest that connecting, or one batch, may take.")

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        if address_of(url.get_secret_value(), SCHEMES).path:
            raise ValueError("leave out what follows the port; topic is a key of its own")
        return url

    @model_validator(mode="after")
    def _clearing_needs_retaining(self) -> Self:
        if self.clear_deleted and not self.retain:
            raise ValueError("clear_deleted needs retain = true")
        return self

    @property
    def address(self) -> Address:
        return address_of(self.url.get_secret_value(), SCHEMES)
