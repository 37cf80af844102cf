"""Transactions on the state's database: what all parts of the store share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from esfeed.store.database import guarded


class Sessions:
    """Transactions on one opened database; ``where`` names it in messages. Usable from many threads."""

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self.engine = engine
        self.where = where
        self._turn = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for reads. Raises ``StateError`` for any fault of the database."""
        with guarded(self.where), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes: committed at the end, undone by an error. Raises as ``reading`` does."""
        with (
            # A thread that finds the database locked sleeps, longer each time; one that waits here is woken.
            self._turn,
            guarded(self.where),
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection
