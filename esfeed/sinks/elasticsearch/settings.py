"""The settings of the ``elasticsearch`` sink."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from esfeed.config.types import Duration, Secret, SinkSection, Size, Text, as_tuple
from esfeed.routing.template import Template, Templated
from esfeed.sinks.common.address import Address, address_of
from esfeed.sinks.common.tls import TlsKeys

SCHEMES = {"https": 443, "http": 80}


class ElasticsearchSettings(TlsKeys, SinkSection):
    """The documents, or the events, in an index of another cluster."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["elasticsearch"] = Field(
        "elasticsearch", description="An Elasticsearch (2.4 to 9) or OpenSearch cluster."
    )
    hosts: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = Field(
        min_length=1, description='URLs of its nodes, such as ["https://es.example.org:9200"]; tried in turn.'
    )
    mode: Literal["mirror", "log"] = Field(
        "mirror",
        description="mirror: the index has the current state of each document; deletes remove it. log: it has each "
        "event as a document, in `format`, under the id of the event.",
    )
    index: Templated = Field(description='The index to write to, such as "mirror" or "mirror-{watch}".')
    id: Templated = Field(
        Template("{id}"),
        description="mirror: the _id of a document. If one watch has several types that can share ids, write "
        '"{type}/{id}" (only 2.x and 5.x distinguish them by _type).',
    )
    stamp: Text | None = Field(
        None,
        min_length=1,
        description="mirror: a field to add to each document, with id, op, time and position of the event. Default: "
        "none; documents stay unchanged to the byte.",
    )
    template: bool | dict[str, Any] = Field(
        True,
        description="Whether to create an index template named esfeed-… that sets index.gc_deletes. A table adds "
        "settings, mappings and aliases of yours, in the syntax of the engine.",
    )
    gc_deletes: Duration = Field(
        86400.0,
        gt=0,
        description="mirror: how long the index remembers a delete, so that a late, older state cannot bring the "
        "document back.",
    )
    epoch: int = Field(
        0,
        ge=0,
        lt=1 << 22,
        description="mirror: increase it by one when esfeed starts with an empty state, whose log counts from 1 again: "
        "events of the new log then win over those of the old one.",
    )
    user: Text | None = Field(None, description="The user name.")
    password: Secret | None = Field(None, description='Its password; can be "env:NAME".')
    api_key: Secret | None = Field(
        None, description='An API key instead of user and password, encoded or as "id:api_key".'
    )
    bulk_bytes: Size = Field(
        8 << 20, ge=1 << 10, description="The approximate limit of one request; events are never cut."
    )
    max_bytes: Size = Field(
        100 << 20,
        ge=1 << 10,
        description="A larger event is rejected. Some engines close the connection instead of refusing a request "
        "beyond their http.max_content_length (100 MB).",
    )
    timeout: Duration = Field(30.0, gt=0, description="The timeout of connecting, and of one batch.")

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if address_of(host, SCHEMES).user is not None:
                raise ValueError("remove the user from the url; set the keys user and password instead")
        return hosts

    @field_validator("template")
    @classmethod
    def _parts(cls, template: bool | dict[str, Any]) -> bool | dict[str, Any]:
        unknown = set(template) - {"settings", "mappings", "aliases"} if isinstance(template, dict) else set()
        if unknown:
            raise ValueError(f"{sorted(unknown)[0]} is not allowed here; write settings, mappings or aliases")
        return template

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.api_key is not None and (self.user is not None or self.password is not None):
            raise ValueError("remove api_key, or user and password; a request can have only one of them")
        if (self.user is None) != (self.password is None):
            raise ValueError("set both user and password, or neither")
        return self

    @model_validator(mode="after")
    def _template_of_its_own(self) -> Self:
        if self.template is not False and self.mode == "mirror" and self.pattern.startswith("*"):
            hint = 'set template = false, or begin index with a prefix of its own, such as "mirror-"'
            raise ValueError(f"an index template for {self.pattern} would also match other indices; {hint}")
        return self

    @property
    def pattern(self) -> str:
        """A pattern for all index names that ``index`` can produce."""
        return re.sub(r"\{\{|\}\}|\{[^{}]*\}", lambda part: "*" if len(part[0]) > 2 else part[0][0], self.index.text)

    @property
    def addresses(self) -> list[Address]:
        return [address_of(host, SCHEMES) for host in self.hosts]

    @property
    def authorization(self) -> str | None:
        """The value of the ``authorization`` header."""
        if self.password is not None:
            return "Basic " + _base64(f"{self.user}:{self.password.get_secret_value()}")
        if self.api_key is not None:
            key = self.api_key.get_secret_value()
            return "ApiKey " + (_base64(key) if ":" in key else key)
        return None


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
