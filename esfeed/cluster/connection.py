"""How a cluster is reached, apart from the client that does it, which takes long to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a cluster. ``timeout`` is seconds a request; ``tries`` of one request, all in all.

    ``most_per_second`` bounds the requests, tries included, that leave in a second; ``most_bytes`` an answer, which is
    more than is ever asked for: a page is of documents whose sizes are not known before.
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
    most_bytes: int = MOST_BYTES

    def __repr__(self) -> str:
        return f"Connection({self.name!r}, {list(self.hosts)!r})"
