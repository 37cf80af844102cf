"""The settings of the ``webhook`` sink, and a parsed URL. Its secret parts are never shown."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from esfeed.config.types import Duration, Secret, SinkSection, as_tuple
from esfeed.sinks.common.tls import TlsKeys
from esfeed.sinks.webhook.messages import Mode
from esfeed.sinks.webhook.signatures import key_of

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_FIXED = {"host", "connection", "content-length", "content-type", "transfer-encoding"}
_FIXED_STARTS = ("ce-", "webhook-")


class Target(NamedTuple):
    """A parsed URL. Only ``origin`` is safe to show: the path or query of a webhook is often the secret."""

    scheme: str
    host: str
    port: int
    path: str
    userinfo: str | None

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def target_of(url: str) -> Target:
    """Parses ``url``. Raises ``ValueError`` without the URL."""
    try:
        parts = parse_url(url)
    except LocationParseError as error:
        raise ValueError("write a url such as https://example.org/hook") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError("write a url that begins with http:// or https:// and names a host")
    if any(char <= " " or char == "\x7f" for char in url):
        raise ValueError("remove spaces and control characters from the url")
    port = parts.port if parts.port is not None else {"http": 80, "https": 443}[parts.scheme]
    userinfo = None if parts.auth is None else unquote(parts.auth)
    return Target(parts.scheme, parts.host, port, parts.request_uri, userinfo)


def _signing(secret: SecretStr) -> SecretStr:
    key_of(secret.get_secret_value())
    return secret


class WebhookSettings(TlsKeys, SinkSection):
    """Events to a URL."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["webhook"] = Field("webhook", description="An HTTP server that accepts POST requests.")
    url: Secret = Field(
        description="The URL to post to. A user and password in it are sent as basic authentication. Logs and errors "
        "show only its scheme, host and port."
    )
    headers: dict[str, Secret] = Field(
        default_factory=dict,
        description='More request headers, such as authorization. Values can be "env:NAME" and are never shown.',
    )
    mode: Mode = Field(
        "structured",
        description='"structured": one request per event, with the event in the body. "binary": CloudEvents only, the '
        'attributes in headers ce-… and the data in the body. "batch": up to `batch` events in one request, as a '
        "JSON array.",
    )
    secrets: Annotated[tuple[Annotated[Secret, AfterValidator(_signing)], ...], BeforeValidator(as_tuple)] = Field(
        (),
        description='Secrets to sign requests with (Standard Webhooks): "whsec_" and base64 of 24 to 64 bytes, or '
        '"env:NAME". Use several while you replace one; a receiver needs to know one.',
    )
    concurrency: int = Field(
        1, ge=1, le=64, description="The limit of parallel requests. Events of one document are never sent in parallel."
    )
    rate: float | None = Field(
        None, gt=0, le=100_000, description="The limit of requests per second, evenly spread; default: none."
    )
    follow_redirects: bool = Field(
        False,
        description="Whether to follow 301, 302, 307 and 308, up to five: only to permitted addresses, never from "
        "https to http, and to another host without headers, user, password and client certificate.",
    )
    timeout: Duration = Field(10.0, gt=0, description="The timeout of one request, from lookup to last byte.")
    allow_private: bool = Field(
        False,
        description="Whether to permit loopback, link-local, private and reserved addresses. If false, the URL "
        "cannot point to what only this machine can reach.",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        target_of(url.get_secret_value())
        return url

    @field_validator("headers")
    @classmethod
    def _names_and_values(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in headers.items():
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} is not a valid name of a header")
            if name.lower() in _FIXED or name.lower().startswith(_FIXED_STARTS):
                raise ValueError(f"{name} is set by esfeed; remove it")
            value = secret.get_secret_value()
            if not value.isprintable() or any(ord(char) > 255 for char in value):
                raise ValueError(f"the value of {name} contains characters that a header cannot have")
        return headers

    @model_validator(mode="after")
    def _binary_is_of_cloudevents(self) -> Self:
        if self.mode == "binary" and self.format != "cloudevents":
            raise ValueError('mode = "binary" needs CloudEvents; remove format, or set another mode')
        return self
