"""The tokens of readers over HTTP. The state stores a hash of each, never the token itself."""

from __future__ import annotations

import hashlib
import secrets

import msgspec

PREFIX = "esfeed_"
_BYTES = 32


class Token(msgspec.Struct, frozen=True):
    """The rights of a token. Its bearer sees the documents of ``tenant``; if ``admin``, everything.

    ``created`` and ``expires`` are epoch seconds; ``expires`` is ``None`` for a token that does not expire.
    """

    digest: str
    name: str
    tenant: str | None
    admin: bool
    created: int
    expires: int | None = None


def new_token() -> str:
    """A new bearer token: 256 random bits, with a prefix that scanners for leaked secrets recognize."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def digest(token: str) -> str:
    """The hash of a token. Its 256 bits cannot be guessed, so a plain hash is as good as a slow one."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
