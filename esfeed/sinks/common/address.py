"""Parses the URL of a server. Its secret parts are never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit


class Address(NamedTuple):
    """The address of a server. ``path`` is decoded and lacks its first slash; ``shown`` is safe to log."""

    scheme: str
    host: str
    port: int
    path: str
    user: str | None
    password: str | None

    @property
    def shown(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def address_of(url: str, schemes: Mapping[str, int]) -> Address:
    """Parses ``url``; ``schemes`` are the permitted ones, with their default ports.

    Raises ``ValueError`` without the URL, which may contain a password.
    """
    example = f"{next(iter(schemes))}://example.org"
    if any(char <= " " or char == "\x7f" for char in url):
        raise ValueError("remove spaces and control characters from the url")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"write a url such as {example}; write special characters of a password as %XX") from None
    if parts.scheme not in schemes or not parts.hostname:
        names = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"write a url that begins with {names} and names a host, such as {example}")
    if parts.query or parts.fragment:
        raise ValueError("remove ? or # and what follows; every other setting has its own key")
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return Address(
        parts.scheme,
        parts.hostname,
        schemes[parts.scheme] if port is None else port,
        unquote(parts.path.removeprefix("/")),
        user or None,
        password,
    )
