"""Keys in few bytes (``esfeed.store.keys.pack_key``), where they were MessagePack arrays of their parts.

Revision ID: 0005
"""

from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

from esfeed.model.event import Key
from esfeed.store.keys import pack_key

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = "watch, key, index_ref, version, seq_no, digest, shard, stamp"
_SHARD = sa.text("shard IS NOT NULL")
_STAMP = sa.text("stamp IS NOT NULL")
_PARTS = msgspec.msgpack.Decoder(tuple[str | None, ...])


def upgrade() -> None:
    driver: Any = op.get_bind().connection.driver_connection
    driver.create_function("short_key", 1, _short, deterministic=True)
    try:
        _rewrite()
    finally:
        driver.create_function("short_key", 1, None)


def _short(old: bytes) -> bytes:
    return pack_key(Key(*_PARTS.decode(old)))  # type: ignore[arg-type]  # the first two parts are always text


def _rewrite() -> None:
    op.create_table(
        "revision_0005",
        sa.Column("watch", sa.Integer, primary_key=True),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("index_ref", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("seq_no", sa.BigInteger),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("shard", sa.Integer),
        sa.Column("stamp", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    # In the order of the new keys, which SQLite sorts on disk: then each page is written once, and full.
    op.execute(
        f"INSERT INTO revision_0005 ({_COLUMNS}) "
        f"SELECT {_COLUMNS.replace('key', 'short_key(key)')} FROM revision ORDER BY 1, 2"
    )
    op.drop_table("revision")
    op.rename_table("revision_0005", "revision")
    op.create_index(
        "revision_place",
        "revision",
        ["watch", "index_ref", "shard", "seq_no"],
        sqlite_where=_SHARD,
        postgresql_where=_SHARD,
    )
    op.create_index("revision_stamp", "revision", ["watch", "stamp"], sqlite_where=_STAMP, postgresql_where=_STAMP)
    # In place: these rows are mostly documents and events, which need not be copied.
    for table in ("document", "log", "parked"):
        op.execute(f"UPDATE {table} SET key = short_key(key)")
