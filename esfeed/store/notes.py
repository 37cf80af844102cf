"""The latest health of each part (``ports.Notes``), and requests to the running feed (``ports.Control``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from esfeed.ports import ControlRequest
from esfeed.store import schema as t
from esfeed.store.sessions import Sessions
from esfeed.store.statements import Bulk
from esfeed.text.decoders import read

_NOTES = Bulk(t.health, ["kind", "name", "data"], there="goes")
_REQUEST = "wish"


class SqlNotes:
    """See ``ports.Notes``."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def put(self, kind: str, name: str, data: bytes) -> None:
        self.put_all([(kind, name, data)])

    def put_all(self, notes: Sequence[tuple[str, str, bytes]]) -> None:
        with self._sessions.writing() as connection:
            _NOTES.write(connection, notes)

    def all(self, kind: str) -> Mapping[str, bytes]:
        with self._sessions.reading() as connection:
            rows = connection.execute(sa.select(t.health.c.name, t.health.c.data).where(t.health.c.kind == kind))
            return {row.name: row.data for row in rows}


class SqlControl:
    """See ``ports.Control``."""

    def __init__(self, sessions: Sessions, notes: SqlNotes) -> None:
        self._sessions = sessions
        self._notes = notes

    def send(self, watch: str, request: ControlRequest) -> None:
        self._notes.put(_REQUEST, watch, msgspec.json.encode(request))

    def waiting(self) -> Mapping[str, ControlRequest]:
        return {name: read(raw, ControlRequest) for name, raw in self._notes.all(_REQUEST).items()}

    def take(self) -> Mapping[str, ControlRequest]:
        with self._sessions.writing() as connection:
            query = sa.delete(t.health).where(t.health.c.kind == _REQUEST).returning(t.health.c.name, t.health.c.data)
            return {row.name: read(row.data, ControlRequest) for row in connection.execute(query)}
