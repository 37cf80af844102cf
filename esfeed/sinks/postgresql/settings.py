"""The keys of a PostgreSQL table's section."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from esfeed.config.types import Duration, Secret, SinkSection, Size, Text
from esfeed.sinks.common.address import Address, address_of
from esfeed.sinks.common.tls import TlsKeys

SCHEMES = {"postgresql": 5432, "postgres": 5432}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_LONGEST_NAME = 63 - len("_gone")


class PostgresqlSettings(TlsKeys, SinkSection):
    """The documents, or the events, in a table of PostgreSQL."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["postgresql"] = Field("postgresql", description="A database of PostgreSQL (9.5 and later).")
    url: Secret = Field(
        description='Where the database is: "postgresql://host:5432/database". Only scheme, host and port are shown.'
    )
    table: Text = Field(description='The table, such as "servers" or "public.servers"; letters count as written.')
    mode: Literal["mirror", "log"] = Field(
        "mirror",
        description="mirror: the table holds each document as it is now. log: it holds each event, once.",
    )
    create_table: bool = Field(True, description="Whether to create the table where it is not there.")
    soft_delete: bool = Field(
        False, description="mirror: whether a deleted document's row stays, with op = 'deleted' and its last content."
    )
    keep_deletes: Duration = Field(
        30 * 86400.0,
        gt=0,
        description="mirror: for how long a delete is remembered (in TABLE_gone), so that an older state that comes "
        "late cannot bring the row back.",
    )
    epoch: int = Field(
        0,
        ge=0,
        lt=1 << 31,
        description="mirror: raise it by one when esfeed begins with an empty state, whose log counts from 1 again: "
        "what the new log tells then wins over what the old one told.",
    )
    user: Text | None = Field(None, description="The user to log in as.")
    password: Secret | None = Field(None, description='Its password; may be "env:NAME".')
    tls: bool = Field(
        False,
        description="Whether the connection must be encrypted, to a server whose certificate is checked (see "
        "verify_certs). Off, it is encrypted where the server offers that, and no certificate is looked at.",
    )
    max_bytes: Size = Field(
        200 << 20, ge=1 << 10, description="An event larger than this is rejected; one value of PostgreSQL takes 1 GB."
    )
    timeout: Duration = Field(30.0, gt=0, description="The longest that connecting, or one batch, may take.")

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        if not address_of(url.get_secret_value(), SCHEMES).path:
            raise ValueError("write the name of the database after the slash, such as postgresql://127.0.0.1/esfeed")
        return url

    @field_validator("table")
    @classmethod
    def _table(cls, table: str) -> str:
        parts = table.split(".")
        if len(parts) > 2 or not all(_NAME.fullmatch(part) and len(part) <= _LONGEST_NAME for part in parts):
            raise ValueError(
                f"write a name, or schema.name, of letters without accents, digits and _, {_LONGEST_NAME} at most each"
            )
        return table

    @model_validator(mode="after")
    def _certificates_need_tls(self) -> Self:
        if not self.tls and (self.ca_certs is not None or self.client_cert is not None):
            raise ValueError("ca_certs and client_cert need tls = true")
        return self

    @property
    def address(self) -> Address:
        return address_of(self.url.get_secret_value(), SCHEMES)
