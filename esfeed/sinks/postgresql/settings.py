"""The settings of the ``postgresql`` sink."""

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

    type: Literal["postgresql"] = Field("postgresql", description="A PostgreSQL database (9.5 and later).")
    url: Secret = Field(
        description='The database: "postgresql://host:5432/database". Logs show only scheme, host and port.'
    )
    table: Text = Field(description='The table, such as "servers" or "public.servers"; case-sensitive.')
    mode: Literal["mirror", "log"] = Field(
        "mirror",
        description="mirror: the table has the current state of each document. log: it has each event once.",
    )
    create_table: bool = Field(True, description="Whether to create the table if it is missing.")
    soft_delete: bool = Field(
        False, description="mirror: keep the row of a deleted document, with op = 'deleted' and its last content."
    )
    keep_deletes: Duration = Field(
        30 * 86400.0,
        gt=0,
        description="mirror: how long to remember a delete (in TABLE_gone), so that a late, older state cannot bring "
        "the row back.",
    )
    epoch: int = Field(
        0,
        ge=0,
        lt=1 << 31,
        description="mirror: increase it by one when esfeed starts with an empty state, whose log counts from 1 again: "
        "events of the new log then win over those of the old one.",
    )
    user: Text | None = Field(None, description="The user name.")
    password: Secret | None = Field(None, description='Its password; can be "env:NAME".')
    tls: bool = Field(
        False,
        description="Whether to require encryption and verify the certificate of the server (see verify_certs). If "
        "false, the connection is encrypted if the server offers it, without verification.",
    )
    max_bytes: Size = Field(
        200 << 20, ge=1 << 10, description="A larger event is rejected; the limit of a value in PostgreSQL is 1 GB."
    )
    timeout: Duration = Field(30.0, gt=0, description="The timeout of connecting, and of one batch.")

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
                f"write a name, or schema.name, of ASCII letters, digits and _, each up to {_LONGEST_NAME} characters"
            )
        return table

    @model_validator(mode="after")
    def _certificates_need_tls(self) -> Self:
        if not self.tls and (self.ca_certs is not None or self.client_cert is not None):
            raise ValueError("set tls = true as well; ca_certs and client_cert need it")
        return self

    @property
    def address(self) -> Address:
        return address_of(self.url.get_secret_value(), SCHEMES)
