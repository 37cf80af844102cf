"""The statements of the PostgreSQL sink. Pure: text and parameters, no connection.

An older position never overwrites a newer one, and a delete stores its position in ``TABLE_gone``. So with repeated or
late events, the table is the same as if each event had come once, in order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg.sql import SQL, Composed, Identifier

from esfeed.model.event import Event
from esfeed.sinks.postgresql.settings import PostgresqlSettings

_KEY = "watch = %(watch)s AND type = %(type)s AND id = %(id)s AND routing = %(routing)s"
_LATER = "(epoch, position) > (%(epoch)s::integer, %(position)s::bigint)"

_NOTHING_NEW = "EXCLUDED.op = 'deleted' AND EXCLUDED.document IS NULL AND EXCLUDED.document_text IS NULL"


class Statements(NamedTuple):
    """The statements of the sink. ``create`` runs one by one; ``check`` fails if the table has other columns."""

    create: list[Composed]
    check: Composed
    put: Composed
    remove: Composed
    prune: Composed | None


def statements(settings: PostgresqlSettings) -> Statements:
    """The statements for the table in the settings."""
    parts = settings.table.split(".")
    names = {"table": Identifier(*parts), "gone": Identifier(*parts[:-1], parts[-1] + "_gone")}
    return _log(names) if settings.mode == "log" else _mirror(names, settings.soft_delete)


def _log(names: dict[str, Identifier]) -> Statements:
    create = SQL("""
        CREATE TABLE IF NOT EXISTS {table} (
            event_id text PRIMARY KEY, watch text NOT NULL, type text NOT NULL, id text NOT NULL, op text NOT NULL,
            time text NOT NULL, position bigint NOT NULL, event jsonb, event_text text,
            written_at timestamptz NOT NULL DEFAULT now()
        )""").format(**names)
    check = SQL("SELECT event_id, watch, type, id, op, time, position, event, event_text FROM {table} LIMIT 0").format(
        **names
    )
    put = SQL("""
        INSERT INTO {table} (event_id, watch, type, id, op, time, position, event, event_text)
        VALUES (%(event_id)s, %(watch)s, %(type)s, %(id)s, %(op)s, %(time)s, %(position)s,
                %(json)s::text::jsonb, %(text)s)
        ON CONFLICT (event_id) DO NOTHING""").format(**names)
    return Statements([create], check, put, put, None)


def _mirror(names: dict[str, Identifier], soft_delete: bool) -> Statements:
    create = [
        SQL("""
        CREATE TABLE IF NOT EXISTS {table} (
            watch text NOT NULL, type text NOT NULL, id text NOT NULL, routing text NOT NULL DEFAULT '',
            op text NOT NULL, version bigint, seq_no bigint, updated_at text, event_id text NOT NULL,
            epoch integer NOT NULL DEFAULT 0, position bigint NOT NULL, document jsonb, document_text text,
            PRIMARY KEY (watch, type, id, routing)
        )""").format(**names),
        SQL("""
        CREATE TABLE IF NOT EXISTS {gone} (
            watch text NOT NULL, type text NOT NULL, id text NOT NULL, routing text NOT NULL DEFAULT '',
            epoch integer NOT NULL, position bigint NOT NULL, event_id text NOT NULL,
            deleted_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (watch, type, id, routing)
        )""").format(**names),
    ]
    check = SQL("""
        SELECT t.op, t.version, t.seq_no, t.updated_at, t.event_id, t.epoch, t.position, t.document, t.document_text
        FROM {table} t JOIN {gone} g USING (watch, type, id, routing, epoch, position, event_id)
        WHERE g.deleted_at IS NULL LIMIT 0""").format(**names)
    put = SQL(
        """
        INSERT INTO {table} AS mine (watch, type, id, routing, op, version, seq_no, updated_at, event_id, epoch,
                                     position, document, document_text)
        SELECT %(watch)s::text, %(type)s::text, %(id)s::text, %(routing)s::text, %(op)s::text, %(version)s::bigint,
               %(seq_no)s::bigint, %(updated_at)s::text, %(event_id)s::text, %(epoch)s::integer, %(position)s::bigint,
               %(json)s::text::jsonb, %(text)s::text
        WHERE NOT EXISTS (SELECT 1 FROM {gone} WHERE """
        + _KEY
        + " AND "
        + _LATER
        + """)
        ON CONFLICT (watch, type, id, routing) DO UPDATE SET
            op = EXCLUDED.op, version = EXCLUDED.version, seq_no = EXCLUDED.seq_no, updated_at = EXCLUDED.updated_at,
            event_id = EXCLUDED.event_id, epoch = EXCLUDED.epoch, position = EXCLUDED.position,
            document = CASE WHEN """
        + _NOTHING_NEW
        + """ THEN mine.document ELSE EXCLUDED.document END,
            document_text = CASE WHEN """
        + _NOTHING_NEW
        + """ THEN mine.document_text ELSE EXCLUDED.document_text END
        WHERE (mine.epoch, mine.position) <= (EXCLUDED.epoch, EXCLUDED.position)"""
    ).format(**names)
    remove = SQL(
        """
        WITH removed AS (DELETE FROM {table} WHERE """
        + _KEY
        + " AND NOT "
        + _LATER
        + """)
        INSERT INTO {gone} AS mine (watch, type, id, routing, epoch, position, event_id)
        VALUES (%(watch)s, %(type)s, %(id)s, %(routing)s, %(epoch)s, %(position)s, %(event_id)s)
        ON CONFLICT (watch, type, id, routing) DO UPDATE SET
            epoch = EXCLUDED.epoch, position = EXCLUDED.position, event_id = EXCLUDED.event_id, deleted_at = now()
        WHERE (mine.epoch, mine.position) <= (EXCLUDED.epoch, EXCLUDED.position)"""
    ).format(**names)
    prune = SQL("DELETE FROM {gone} WHERE deleted_at < now() - make_interval(secs => %(seconds)s)").format(**names)
    return Statements(create, check, put, put if soft_delete else remove, prune)


def parameters(event: Event, settings: PostgresqlSettings, data: bytes | None, as_text: bool) -> dict[str, Any]:
    """The parameters of ``put`` and ``remove``. ``data`` is JSON; ``as_text``: jsonb does not accept it."""
    text = None if data is None else data.decode(errors="replace")
    return {
        "watch": _plain(event.watch),
        "type": _plain(event.type),
        "id": _plain(event.doc_id),
        "routing": _plain(event.origin.routing or ""),
        "op": event.op,
        "time": event.time,
        "version": event.origin.version,
        "seq_no": event.origin.seq_no,
        "updated_at": None if event.origin.updated_at is None else _plain(event.origin.updated_at),
        "event_id": event.id,
        "epoch": settings.epoch,
        "position": event.position,
        "json": None if as_text else text,
        "text": text if as_text else None,
    }


def _plain(text: str) -> str:
    """``text`` as PostgreSQL can store it: NUL, which it cannot, becomes its symbol (U+2400)."""
    return text.replace("\0", "\u2400")
