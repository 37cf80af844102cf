"""The tables, as SQLAlchemy Core describes them. ``migrations/versions`` creates them; a test checks that both agree.

Keys are packed by ``keys.pack_key``: unambiguous for any id (NUL, emoji, 512 bytes), short, and the same in every
database. Their order has no meaning; reads in pages only need one.
"""

from __future__ import annotations

import sqlalchemy as sa

REVISION = "0009"
"""The newest step of ``migrations``. A database at this revision needs no migration."""

metadata = sa.MetaData()

_big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

watch = sa.Table(
    "watch",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
)

index_ref = sa.Table(
    "index_ref",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
)

revision = sa.Table(
    "revision",
    metadata,
    sa.Column("watch", sa.Integer, primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("index_ref", sa.Integer, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("seq_no", sa.BigInteger),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("shard", sa.Integer),
    sa.Column("stamp", sa.BigInteger),
    sa.Index(
        "revision_place",
        "watch",
        "index_ref",
        "shard",
        "seq_no",
        sqlite_where=sa.text("shard IS NOT NULL"),
    ),
    sa.Index(
        "revision_stamp",
        "watch",
        "stamp",
        sqlite_where=sa.text("stamp IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

tombstone = sa.Table(
    "tombstone",
    metadata,
    sa.Column("watch", sa.Integer, primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("index_ref", sa.Integer, nullable=False),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("seq_no", sa.BigInteger, nullable=False),
    sa.Column("poll", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger),
    sqlite_with_rowid=False,
)

tally = sa.Table(
    "tally",
    metadata,
    sa.Column("watch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("index_ref", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bits", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bucket", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("documents", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

dated = sa.Table(
    "dated",
    metadata,
    sa.Column("watch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bits", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bucket", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("documents", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

document = sa.Table(
    "document",
    metadata,
    sa.Column("watch", sa.Integer, primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("position", sa.BigInteger),
)

dictionary = sa.Table(
    "dictionary",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("watch", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

log = sa.Table(
    "log",
    metadata,
    sa.Column("position", _big, primary_key=True, autoincrement=True),
    sa.Column("watch", sa.Integer, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("sink", sa.Text),
    sa.Column("event", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sqlite_autoincrement=True,
)

superseded = sa.Table(
    "superseded",
    metadata,
    sa.Column("position", _big, primary_key=True, autoincrement=False),
    sa.Column("later", sa.BigInteger, nullable=False),
)

log_size = sa.Table(
    "log_size",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

checkpoint = sa.Table(
    "checkpoint",
    metadata,
    sa.Column("watch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("tracker", sa.Text, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

cursor = sa.Table(
    "cursor",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("dropped", sa.BigInteger, nullable=False, server_default=sa.text("0")),
)

parked = sa.Table(
    "parked",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("watch", sa.Integer, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("next_try", sa.Float, nullable=False),
    sa.Column("newer", sa.BigInteger),
    sa.Column("event", sa.LargeBinary, nullable=False),
    sa.Index("parked_document", "sink", "watch", "key"),
    sa.Index("parked_state", "sink", "state", "position"),
)

backfill = sa.Table(
    "backfill",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("mark", sa.Text, nullable=False),
    sa.Column("sent", sa.BigInteger, nullable=False),
)

health = sa.Table(
    "health",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

token = sa.Table(
    "token",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("tenant", sa.Text),
    sa.Column("admin", sa.Boolean, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger),
)
