"""Transactions on the database of the state, for all parts of the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from esfeed.store.database import guarded


class Sessions:
    """Transactions on one open database. ``where`` names it in messages. Thread-safe."""

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self.engine = engine
        self.where = where
        self._turn = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for reads. Raises ``StateError`` for any error of the database."""
        with guarded(self.where), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes: committed at the end, rolled back by an error. Raises as ``reading`` does."""
        with (
            # A thread that finds the database locked sleeps, longer each time. This lock wakes its waiters at once.
            self._turn,
            guarded(self.where),
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection
