"""The settings of the ``zaqar`` sink, and how the name of a queue becomes legal."""

from __future__ import annotations

import hashlib
import re
from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from esfeed.config.types import Duration, Secret, SinkSection, Size, Text
from esfeed.routing.template import Templated

_LONGEST_NAME = 64
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
_SHORTEST_TTL, _LONGEST_TTL = 60, 1_209_600


def legal(name: str) -> str:
    """A queue name that Zaqar accepts: up to 64 letters, digits, ``_`` and ``-``.

    A legal name is unchanged. In any other, each illegal character becomes ``_``, and a hash of the whole name is
    added, so that two names never become one queue: otherwise a tenant might read the queue of another.
    https://docs.openstack.org/api-ref/message/#create-queue
    """
    if 0 < len(name) <= _LONGEST_NAME and not _ILLEGAL.search(name):
        return name
    mark = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=6).hexdigest()
    return f"{_ILLEGAL.sub('_', name)[: _LONGEST_NAME - len(mark) - 1]}-{mark}"


class ZaqarSettings(SinkSection):
    """Events to queues of OpenStack's Zaqar, many in one request."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["zaqar"] = Field("zaqar", description="Queues of OpenStack Zaqar.")
    queue: Templated = Field(
        description='The queue, such as "changes", or one per project: "changes-{owner}". Zaqar creates it with the '
        "first message. Characters that Zaqar does not accept are replaced, and a hash is added."
    )
    project: Templated | None = Field(
        None,
        description='The id of the project that owns the queue, such as "{owner}". With Keystone, the user needs a '
        "role in each. Default: the project of the credentials.",
    )
    url: Text | None = Field(
        None, description='The URL of Zaqar, without "/v2"; default: the messaging service of the catalog.'
    )
    auth: Literal["keystone", "noauth"] = Field(
        "keystone", description='The authentication; "noauth" is for a Zaqar without Keystone.'
    )
    cloud: Text | None = Field(
        None, description='A cloud of clouds.yaml, instead of the keys below; "envvars" uses OS_… variables.'
    )
    auth_url: Text | None = Field(None, description='The URL of Keystone, such as "https://keystone.example.org/v3".')
    username: Text | None = Field(None, description="A user of Keystone.")
    password: Secret | None = Field(None, description='Its password; can be "env:NAME"; never shown.')
    token: Secret | None = Field(
        None, description='A token instead of user and password; can be "env:NAME". It expires.'
    )
    user_domain_name: Text = Field("Default", description="The domain of the user.")
    project_name: Text | None = Field(None, description="The project of the credentials.")
    project_domain_name: Text = Field("Default", description="The domain of the project.")
    region_name: Text | None = Field(None, description="The region, if there are several.")
    interface: Literal["public", "internal", "admin"] = Field("public", description="The endpoint of the catalog.")
    ttl: Duration = Field(
        86_400.0, description="How long Zaqar keeps an unread message: 60 seconds to 14 days, unless Zaqar allows less."
    )
    max_post_bytes: Size = Field(
        262_144, ge=1 << 10, description="The limit of bytes of one request; a lower limit of a queue applies."
    )
    timeout: Duration = Field(10.0, gt=0, description="The timeout of one request, including a new token.")
    verify_certs: bool = Field(True, description="Whether to verify certificates.")
    ca_certs: Text | None = Field(
        None, description="A PEM file with the certificates to trust instead of those of the system."
    )

    @field_validator("url", "auth_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = parse_url(url)
        except LocationParseError as error:
            raise ValueError("write a url such as http://zaqar.example.org:8888") from error
        if parts.scheme not in ("http", "https") or not parts.host or re.search(r"[\s\x00-\x1f]", url):
            raise ValueError("write a url that begins with http:// or https:// and names a host")
        if parts.auth or parts.query or parts.fragment:
            raise ValueError("remove user, password, ? and # from the url")
        return url.rstrip("/")

    @field_validator("url")
    @classmethod
    def _without_version(cls, url: str | None) -> str | None:
        if url is not None and re.search(r"/v\d(\.\d)?$", url):
            raise ValueError('remove "/v2" from the end of the url; the client adds it')
        return url

    @field_validator("ttl")
    @classmethod
    def _whole_ttl(cls, ttl: float) -> float:
        if not _SHORTEST_TTL <= ttl <= _LONGEST_TTL:
            raise ValueError('write a duration from "60s" to "14d", the limits of Zaqar')
        return float(int(ttl))

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        own = [name for name in ("auth_url", "username", "password", "token", "project_name") if getattr(self, name)]
        if self.auth == "noauth":
            if self.url is None or self.project is None:
                raise ValueError('auth = "noauth" needs url and project, the id of the project that owns the queue')
            if own or self.cloud:
                raise ValueError(f'auth = "noauth" takes no {own[0] if own else "cloud"}; leave it out')
        elif self.cloud:
            if own:
                raise ValueError(f"leave out {own[0]} or cloud; clouds.yaml defines it")
        elif not self.auth_url or bool(self.token) == bool(self.username and self.password):
            raise ValueError("write cloud, or auth_url with username and password, or auth_url with token")
        elif not self.project_name and self.project is None:
            raise ValueError("write project_name (the project that the credentials are for), or project")
        return self
