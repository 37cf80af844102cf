"""The tokens of readers over HTTP (``ports.Tokens``)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from esfeed.model.tokens import Token
from esfeed.store import schema as t
from esfeed.store.sessions import Sessions


class SqlTokens:
    """See ``ports.Tokens``."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, token: Token) -> bool:
        with self._sessions.writing() as connection:
            if connection.scalar(sa.select(t.token.c.name).where(t.token.c.name == token.name)) is not None:
                return False
            connection.execute(sa.insert(t.token).values(**msgspec.structs.asdict(token)))
            return True

    def remove(self, name: str) -> bool:
        with self._sessions.writing() as connection:
            return bool(connection.execute(sa.delete(t.token).where(t.token.c.name == name)).rowcount)

    def find(self, token_digest: str) -> Token | None:
        with self._sessions.reading() as connection:
            row = connection.execute(sa.select(t.token).where(t.token.c.digest == token_digest)).one_or_none()
        return None if row is None else Token(**row._mapping)

    def all(self) -> Sequence[Token]:
        with self._sessions.reading() as connection:
            return [Token(**row._mapping) for row in connection.execute(sa.select(t.token).order_by(t.token.c.name))]
