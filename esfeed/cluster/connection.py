"""The settings of a connection to a cluster, separate from the client, which takes long to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit, urlunsplit

_PORT = 9200

MAX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Connection:
    """The settings of a connection. ``timeout`` is in seconds per request, ``tries`` the attempts per request.

    ``most_per_second`` limits the requests per second, including retries. ``max_bytes`` limits a response, with a
    margin: the sizes of the documents in a page are not known before.
    """

    name: str
    hosts: Sequence[str]
    basic_auth: tuple[str, str] | None = None
    api_key: str | tuple[str, str] | None = None
    ca_certs: str | None = None
    verify_certs: bool = True
    client_cert: str | None = None
    client_key: str | None = None
    timeout: float = 30.0
    tries: int = 4
    most_per_second: float | None = None
    max_bytes: int = MAX_BYTES

    def __repr__(self) -> str:
        return f"Connection({self.name!r}, {list(self.hosts)!r})"

    @property
    def addresses(self) -> Sequence[str]:
        """``hosts``, each with its port. Defaults to 9200, as in other Elasticsearch clients."""
        return [_with_port(host) for host in self.hosts]


def _with_port(url: str) -> str:
    parts = urlsplit(url)
    if parts.port is not None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.removesuffix(':')}:{_PORT}"))


def leads_to(location: str, asked: str) -> str:
    """Where a redirect of a request to the url ``asked`` leads, without user, query and fragment, for messages.

    Empty if unknown.
    """
    try:
        parts = urlsplit(urljoin(asked, "".join(filter(str.isprintable, location))))
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, f"{host}{port}", parts.path, "", ""))[:200] if host else ""
