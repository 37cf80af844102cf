"""The section ``[http]`` of the settings: where esfeed serves the feed over HTTP, and to whom."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from esfeed.config.models import File, Host, Wait
from esfeed.config.routes import Patterned, RedactSettings
from esfeed.config.types import Misplaced, Names, Secret, Section, Text, as_tuple
from esfeed.routing.patterns import Patterns
from esfeed.routing.transform import Transform

DEFAULT_LISTEN = "127.0.0.1:8460"


UNIX = "unix:"
"""The prefix of the path of a socket to listen on."""


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:8460``, ``[::1]:8460`` or ``:8460`` (every address). Raises ``ValueError``."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]*)):(\d{1,5})", text)
    if not match or int(match[3]) > 65535:
        raise ValueError('write an address and a port, such as "127.0.0.1:8460", or "unix:/run/esfeed/http.sock"')
    return match[1] or match[2] or "0.0.0.0", int(match[3])


def is_loopback(host: str) -> bool:
    """Whether that host (a name or an address) is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _listen(text: str) -> str:
    if not text.startswith(UNIX):
        split_address(text)
    elif not text.removeprefix(UNIX).startswith("/"):
        raise ValueError('write the whole path of the socket, such as "unix:/run/esfeed/http.sock"')
    return text


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://(?:\[[0-9a-fA-F:.]+\]|[a-z0-9.-]+)(?::\d{1,5})?", text):
        raise ValueError('write an origin as browsers send it, such as "https://horizon.example.org", without a path')
    return text


class KeystoneSettings(Section):
    """Where to check OpenStack tokens, and with which user."""

    auth_url: Host = Field(description='the url of Keystone, such as "http://controller:5000/v3"')
    username: Text = Field(description="a user that may validate tokens of others (role service or admin)")
    password: Secret = Field(description='its password; may be "env:NAME" or "file:/PATH"')
    project_name: Text = Field("service", description="the project of this user")
    user_domain_name: Text = Field("Default", description="the domain of the user")
    project_domain_name: Text = Field("Default", description="the domain of the project")
    ca_certs: File | None = Field(None, description="a PEM file with the certificates to trust instead of the system's")
    admin_roles: Names = Field(
        (), description="the roles, in any project, that see everything, such as cloud_admin; default: none"
    )
    cache: Wait = Field(60.0, description="how long esfeed reuses an answer of Keystone for new requests")
    timeout: Wait = Field(10.0, description="how long Keystone may take to answer")


class HttpSettings(Section):
    """The feed over HTTP: pages, long polls and server-sent events, the dashboard, and metrics."""

    listen: Annotated[Text, AfterValidator(_listen)] = Field(
        DEFAULT_LISTEN,
        description='the address to listen on; or "unix:/run/esfeed/http.sock", a socket for its owner and group',
    )
    anonymous: Literal["loopback", "never"] = Field(
        "never",
        description="the requests that need no token: never: none; loopback: local ones, which then see everything "
        "(including those that a local proxy forwards)",
    )
    cors: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(as_tuple)] = Field(
        (),
        description='the origins whose pages may read the feed, with a token, such as ["https://horizon.example.org"]',
    )
    certificate: File | None = Field(None, description="a PEM file with the certificate chain for https")
    key: File | None = Field(None, description="a PEM file with its key, if certificate does not contain it")
    requests_per_second: float = Field(
        50.0,
        gt=0,
        le=100_000,
        description="the limit of requests of one caller, on average; bursts may be twice as high",
    )
    readers: int = Field(1000, ge=1, le=100_000, description="the limit of readers that wait for events at a time")
    readers_of_one: int = Field(100, ge=1, le=100_000, description="the limit of such readers per token")
    connections: int | None = Field(
        None, ge=1, le=1_000_000, description="the limit of connections at a time; default: 1,000 more than readers"
    )
    connections_of_one: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="the limit per address, such as that of a proxy; default: half of connections, or readers",
    )
    heartbeat: Wait = Field(15.0, description="how long a stream may be silent before esfeed sends a comment")
    cut_off: Wait = Field(10.0, description="how long a reader may not read before it is disconnected; it can resume")
    fields: Patterned = Field(
        (), description="the fields of documents that tenants see, and after a - those that they do not; as in a route"
    )
    redact: Annotated[tuple[RedactSettings, ...], BeforeValidator(as_tuple)] = Field(
        (), description="what to hide from tenants, as in a route; administrators see everything"
    )
    keystone: KeystoneSettings | None = Field(None, description="also accepts OpenStack tokens")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on. Only valid if ``listen`` is not a socket."""
        return split_address(self.listen)

    @property
    def socket(self) -> str:
        """The path of the socket to listen on; empty if ``listen`` is an address."""
        return self.listen.removeprefix(UNIX) if self.listen.startswith(UNIX) else ""

    @property
    def limit(self) -> int:
        """The limit of connections at a time."""
        return self.readers + 1000 if self.connections is None else self.connections

    @property
    def limit_of_one(self) -> int:
        """The limit of connections from one address."""
        return max(self.limit // 2, self.readers) if self.connections_of_one is None else self.connections_of_one

    def shape(self) -> Transform | None:
        """The compiled transformation of events for tenants; ``None`` if there is none."""
        if not (self.fields or self.redact):
            return None
        return Transform(Patterns(self.fields), [rule.rule() for rule in self.redact])

    @property
    def in_clear(self) -> bool:
        """Whether tokens cross a network unencrypted."""
        return self.certificate is None and not self.socket and not is_loopback(self.address[0])

    @model_validator(mode="after")
    def _whole(self) -> HttpSettings:
        if self.key and not self.certificate:
            raise Misplaced("key", "set certificate as well; a key is of no use without its certificate")
        return self
