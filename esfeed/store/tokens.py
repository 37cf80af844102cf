"""The tokens of readers over HTTP, as the state keeps them: a hash of each, never the token itself."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import sqlalchemy as sa

from esfeed.store import schema as t
from esfeed.store.database import guarded

PREFIX = "esfeed_"
_OCTETS = 32


class Token(msgspec.Struct, frozen=True):
    """What a token stands for. ``tenant`` is whose documents its bearer sees; ``admin``: everything.

    ``created`` and ``expires`` are epoch seconds; ``expires`` is ``None`` for a token that does not expire.
    """

    digest: str
    name: str
    tenant: str | None
    admin: bool
    created: int
    expires: int | None = None


def new_token() -> str:
    """A new bearer token: 256 random bits, with a beginning by which scanners for leaked secrets know it."""
    return PREFIX + secrets.token_urlsafe(_OCTETS)


def digest(token: str) -> str:
    """What is kept of a token. Its 256 bits cannot be guessed, so a plain hash is as good as a slow one."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class SqlTokens:
    """The table of tokens. Usable from many threads."""

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self._engine = engine
        self._where = where

    def add(self, token: Token) -> bool:
        """Keeps a token; false where one of that name is there already."""
        with self._writing() as connection:
            if connection.scalar(sa.select(t.token.c.name).where(t.token.c.name == token.name)) is not None:
                return False
            connection.execute(sa.insert(t.token).values(**msgspec.structs.asdict(token)))
            return True

    def remove(self, name: str) -> bool:
        """Forgets a token; false where there is none of that name."""
        with self._writing() as connection:
            return bool(connection.execute(sa.delete(t.token).where(t.token.c.name == name)).rowcount)

    def find(self, token_digest: str) -> Token | None:
        """The token of that digest."""
        with guarded(self._where), self._engine.connect() as connection:
            row = connection.execute(sa.select(t.token).where(t.token.c.digest == token_digest)).one_or_none()
        return None if row is None else Token(**row._mapping)

    def all(self) -> Sequence[Token]:
        """Every token, by name."""
        with guarded(self._where), self._engine.connect() as connection:
            return [Token(**row._mapping) for row in connection.execute(sa.select(t.token).order_by(t.token.c.name))]

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with (
            guarded(self._where),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection
