"""The settings of the ``redis`` sink."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from esfeed.config.types import Duration, Secret, SinkSection, Size, Text
from esfeed.routing.template import Templated
from esfeed.sinks.common.address import Address, address_of
from esfeed.sinks.common.tls import TlsKeys

SCHEMES = {"redis": 6379, "rediss": 6379}


class RedisSettings(TlsKeys, SinkSection):
    """Events in a Redis stream, one entry each."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["redis"] = Field("redis", description="A stream of Redis or Valkey (5.0 and later).")
    url: Secret = Field(
        description='The server: "redis://host:6379/0", or rediss:// for TLS; the number of the database follows the '
        "slash. Logs and errors show only its scheme, host and port."
    )
    stream: Templated = Field(
        description='The key of the stream, such as "esfeed" or "changes-{project_id}". One stream keeps one order.'
    )
    user: Text | None = Field(None, description="The user name; default: the default user.")
    password: Secret | None = Field(None, description='Its password; can be "env:NAME".')
    cluster: bool = Field(False, description="Whether the server is a node of a Redis Cluster.")
    maxlen: int | None = Field(
        None,
        ge=1,
        description="The approximate limit of entries (MAXLEN ~); the oldest go, read or not. Default: none.",
    )
    idempotent: Duration | None = Field(
        None,
        gt=0,
        description='How long Redis remembers events ("24h"), so that a repeat adds no second entry. It costs one key '
        "per event for this time. Default: a repeat after a fault is a second entry.",
    )
    max_bytes: Size = Field(
        512 << 20,
        ge=1 << 10,
        description="A larger event is rejected. If proto-max-bulk-len of the server is smaller, it applies.",
    )
    timeout: Duration = Field(10.0, gt=0, description="The timeout of connecting, and of one batch.")

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        address = address_of(url.get_secret_value(), SCHEMES)
        if address.path and not (address.path.isascii() and address.path.isdigit()):
            raise ValueError("write the number of the database after the slash, such as redis://127.0.0.1:6379/0")
        return url

    @model_validator(mode="after")
    def _cluster_has_one_database(self) -> Self:
        if self.cluster and self.database:
            raise ValueError("a cluster has database 0 only; leave the number out of the url")
        return self

    @property
    def address(self) -> Address:
        return address_of(self.url.get_secret_value(), SCHEMES)

    @property
    def database(self) -> int:
        return int(self.address.path or 0)
