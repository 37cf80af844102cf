"""The settings of the ``amqp`` sink."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from esfeed.config.types import Duration, Secret, SinkSection, Text
from esfeed.routing.template import Templated
from esfeed.sinks.common.address import Address, address_of
from esfeed.sinks.common.tls import TlsKeys

SCHEMES = {"amqp": 5672, "amqps": 5671}
SHORT = 255
"""The limit of bytes of a name in AMQP 0-9-1."""


class AmqpSettings(TlsKeys, SinkSection):
    """Events to an exchange of RabbitMQ, one message each, confirmed by the server."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["amqp"] = Field("amqp", description="An exchange of RabbitMQ or another AMQP 0-9-1 server.")
    url: Secret = Field(
        description='The server: "amqp://host:5672/vhost", or amqps:// for TLS. The default vhost is "/". '
        "Logs and errors show only its scheme, host and port."
    )
    user: Text | None = Field(None, description='The user name; default: that of the URL, otherwise "guest".')
    password: Secret | None = Field(None, description='Its password; can be "env:NAME".')
    exchange: Text = Field(
        "", max_length=SHORT, description="The exchange to publish to; default: the default exchange. It must exist."
    )
    routing_key: Templated = Field(
        description='The routing key, such as "esfeed" or "{watch}.{op}"; with the default exchange, the queue.'
    )
    mandatory: bool = Field(
        True,
        description="Whether to reject an event whose message no queue would get. If false, the server drops such a "
        "message silently.",
    )
    heartbeat: Duration = Field(60.0, le=65535, description="The interval of heartbeats; 0 disables them.")
    timeout: Duration = Field(10.0, gt=0, description="The timeout of connecting, and of one batch.")

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        address = address_of(url.get_secret_value(), SCHEMES)
        if len(address.path.encode()) > SHORT:
            raise ValueError(f"write a vhost of up to {SHORT} bytes")
        return url

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password is not None and self.address.password is not None:
            raise ValueError("the password is in both url and password; remove it from url")
        return self

    @property
    def address(self) -> Address:
        return address_of(self.url.get_secret_value(), SCHEMES)

    @property
    def vhost(self) -> str:
        return self.address.path or "/"
