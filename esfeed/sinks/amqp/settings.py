"""The keys of an AMQP exchange's section."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from esfeed.config.types import Duration, Secret, SinkSection, Text
from esfeed.routing.template import Templated
from esfeed.sinks.common.address import Address, address_of
from esfeed.sinks.common.tls import TlsKeys

SCHEMES = {"amqp": 5672, "amqps": 5671}
SHORT = 255
"""The most bytes of a name in AMQP 0-9-1."""


class AmqpSettings(TlsKeys, SinkSection):
    """Events to an exchange of RabbitMQ, one message each, confirmed by the server."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["amqp"] = Field(
        "amqp", description="An exchange of RabbitMQ, or of what speaks AMQP 0-9-1 as it does."
    )
    url: Secret = Field(
        description='Where the server is: "amqp://host:5672/vhost", or amqps:// for TLS. Without a vhost it is "/". '
        "Only its scheme, host and port are ever shown."
    )
    user: Text | None = Field(None, description='The user to log in as; "guest" where neither this nor the url says.')
    password: Secret | None = Field(None, description='Its password; may be "env:NAME".')
    exchange: Text = Field(
        "", max_length=SHORT, description="The exchange to publish to; the default one, if left out. It must be there."
    )
    routing_key: Templated = Field(
        description='The routing key, such as "esfeed" or "{watch}.{op}"; at the default exchange, the queue\'s name.'
    )
    mandatory: bool = Field(
        True,
        description="Whether a message that no queue would get is an error: its event is rejected. Off, the server "
        "drops such a message and says nothing.",
    )
    heartbeat: Duration = Field(
        60.0, le=65535, description="How often each side shows the other that it lives; 0 for never."
    )
    timeout: Duration = Field(10.0, gt=0, description="The longest that connecting, or one batch, may take.")

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        address = address_of(url.get_secret_value(), SCHEMES)
        if len(address.path.encode()) > SHORT:
            raise ValueError(f"write a vhost of {SHORT} bytes at most")
        return url

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password is not None and self.address.password is not None:
            raise ValueError("the password stands in url and in password; take it out of url")
        return self

    @property
    def address(self) -> Address:
        return address_of(self.url.get_secret_value(), SCHEMES)

    @property
    def vhost(self) -> str:
        return self.address.path or "/"
