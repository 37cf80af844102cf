"""The settings of the ``nats`` sink, and how a template becomes a subject."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from esfeed.config.types import Duration, Secret, SinkSection, Text
from esfeed.model.event import Event
from esfeed.routing.template import Template, Templated
from esfeed.sinks.common.tls import TlsKeys

_PLACE = re.compile(r"\{\{|\}\}|\{[^{}]*\}")
_NO_TOKEN = re.compile(r"[.*>\s\x00-\x1f\x7f]")
_NO_STREAM = re.compile(r"[.*>\s/\\\x00-\x1f\x7f]")


class Subject:
    """A subject with placeholders. Each value stays one token, so that it can neither add a level nor be a wildcard."""

    def __init__(self, text: str) -> None:
        """Raises ``ValueError`` if the text cannot be a subject for any event."""
        places = [match[0] for match in _PLACE.finditer(text)]
        tokens = _PLACE.sub("\x00", text).split(".")
        if not all(tokens) or any(_NO_TOKEN.search(token.replace("\x00", "")) for token in tokens):
            raise ValueError('write a subject such as "esfeed.{type}": no empty level, no space, no * and no >')
        filled = iter(places)
        self._tokens = [Template(re.sub("\x00", lambda _: next(filled), token)) for token in tokens]

    def render(self, event: Event) -> str:
        """The subject for ``event``. Raises ``TemplateFailed`` if a placeholder has no value."""
        return ".".join(_NO_TOKEN.sub("_", token.render(event)) for token in self._tokens)

    @property
    def wildcard(self) -> str:
        """A subject with ``*`` that matches every possible result."""
        return ".".join(token.text if token.fixed else "*" for token in self._tokens)


def _is_subject(template: Template) -> Template:
    Subject(template.text)
    return template


class NatsSettings(TlsKeys, SinkSection):
    """Events to a stream of NATS JetStream, one message each."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["nats"] = Field("nats", description="A stream of NATS JetStream (server 2.2 and later).")
    hosts: list[Text] = Field(min_length=1, description='Servers; one is enough: ["nats-1:4222", "nats-2:4222"].')
    stream: Text = Field(description="The stream that stores the events; a message that it does not take is an error.")
    subject: Annotated[Templated, AfterValidator(_is_subject)] = Field(
        description='The subject, such as "esfeed.{type}.{op}". In values, characters that would end a level or be '
        "a wildcard become _."
    )
    create_stream: bool = Field(
        False, description="Whether to create a missing stream, on disk, for all possible subjects."
    )
    user: Text | None = Field(None, description="The user name.")
    password: Secret | None = Field(None, description='Its password; can be "env:NAME".')
    token: Secret | None = Field(None, description='A token instead of user and password; can be "env:NAME".')
    credentials: Text | None = Field(None, description="A .creds file (JWT and seed) instead of user and password.")
    tls: bool = Field(False, description="Whether to require TLS.")
    timeout: Duration = Field(10.0, gt=0, description="The timeout of connecting, and of one batch.")

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not host or any(char <= " " or char in "/@,\x7f" for char in host):
                # Without the host: it may contain a password, and ``esfeed.config.errors`` shows what is safe.
                raise ValueError('one is not a host; write "nats-1:4222", and set the keys user and password')
        return hosts

    @field_validator("stream")
    @classmethod
    def _stream(cls, stream: str) -> str:
        if not stream or _NO_STREAM.search(stream):
            raise ValueError("write the name of a stream without spaces and without . * > / \\")
        return stream

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("set both user and password, or neither")
        if sum(each is not None for each in (self.user, self.token, self.credentials)) > 1:
            raise ValueError("write one of user and password, token, or credentials")
        return self
