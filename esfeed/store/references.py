"""Log rows of a snapshot refer to the contents of the documents, so that each content is stored once.

A document that a log row refers to has the position of that row. When the document changes, the row of the change has
the old content as well (``before``), so it is enough to note where (``superseded``). Where it has not, the first row
gets a copy. So readers of the log see no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from esfeed.ports import LogRow
from esfeed.store import schema as t
from esfeed.store.codec import Unpack, is_reference, unpack_event, with_content
from esfeed.store.keys import unpack_key
from esfeed.store.statements import Bulk, ByKey, Ready, run_many, sought

_REFERRED = ByKey(t.document, ["key", "position", "body"], "position IS NOT NULL")
_EVENT = Ready(sa.select(t.log.c.watch, t.log.c.key, t.log.c.event).where(t.log.c.position == sa.bindparam("position")))
_COPY = "UPDATE log SET event = ? WHERE position = ?"
_SUPERSEDED = Bulk(t.superseded, ["position", "later"], there="stays")


def resolved(connection: sa.Connection, rows: Sequence[Any], unpack: Unpack) -> Sequence[Any]:
    """Log rows (position, sink, event, watch, key) with the contents that they refer to."""
    keys: dict[int, list[bytes]] = {}
    for _, _, event, watch, key in rows:
        if is_reference(event):
            keys.setdefault(watch, []).append(key)
    if not keys:
        return rows
    bodies = {row[1]: row[2] for watch, some in keys.items() for row in _REFERRED.of(connection, watch, some)}
    moved = [position for position, _, event, _, _ in rows if is_reference(event) and position not in bodies]
    bodies |= _superseded(connection, moved, unpack)
    return [
        (position, sink, _whole(event, key, bodies, position), watch, key) for position, sink, event, watch, key in rows
    ]


def _superseded(connection: sa.Connection, positions: Sequence[int], unpack: Unpack) -> Mapping[int, bytes]:
    """The contents to which log rows referred, and which have changed since."""
    found: dict[int, bytes] = {}
    later = sa.select(t.superseded.c.position, t.log.c.event).join(t.log, t.log.c.position == t.superseded.c.later)
    for some in sought(positions):
        for position, event in connection.execute(later.where(t.superseded.c.position.in_(some))):
            found[position] = bytes(unpack_event(event, position, unpack).before or b"")
    return found


def event_at(connection: sa.Connection, position: int, unpack: Unpack) -> bytes | None:
    """The packed event of a log row, with its content; ``None`` if there is no such row."""
    row = _EVENT.run(connection, position=position).one_or_none()
    if row is None:
        return None
    ((_, _, event, _, _),) = resolved(connection, [(position, None, row.event, row.watch, row.key)], unpack)
    return bytes(event)


def detach(
    connection: sa.Connection, watch: int, keys: Iterable[bytes], changes: Mapping[bytes, LogRow], unpack: Unpack
) -> int:
    """Keeps what log rows refer to, before the contents of documents (by their packed keys) change or are deleted.

    ``changes``: the log rows of these changes, by packed key. Returns by how many bytes the log grows.
    """
    moved, copies, growth = [], [], 0
    for key, position, body in _REFERRED.of(connection, watch, keys):
        later = changes.get(key)
        if later is not None and later.event.before is not None and unpack(body) == bytes(later.event.before):
            moved.append((position, later.position))
            continue
        row = _EVENT.run(connection, position=position).one_or_none()
        if row is not None and is_reference(row.event):
            event = with_content(row.event, unpack_key(key), body)
            copies.append((event, position))
            growth += len(event) - len(row.event)
    _SUPERSEDED.write(connection, moved)
    run_many(connection, _COPY, copies)
    return growth


def forget(connection: sa.Connection, last: int) -> None:
    """Deletes what was noted for log rows up to position ``last``, which are deleted."""
    connection.execute(sa.delete(t.superseded).where(t.superseded.c.position <= last))


def _whole(event: bytes, key: bytes, bodies: Mapping[int, bytes], position: int) -> bytes:
    return with_content(event, unpack_key(key), bodies[position]) if is_reference(event) else event
