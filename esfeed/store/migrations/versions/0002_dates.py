"""Dates of revisions, and their counts, for watches that are followed by their dates.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SHARD = sa.text("shard IS NOT NULL")
_STAMP = sa.text("stamp IS NOT NULL")


def upgrade() -> None:
    op.add_column("revision", sa.Column("stamp", sa.BigInteger))
    op.drop_index("revision_place", "revision")
    op.create_index(
        "revision_place",
        "revision",
        ["watch", "index_ref", "shard", "seq_no"],
        sqlite_where=_SHARD,
        postgresql_where=_SHARD,
    )
    op.create_index("revision_stamp", "revision", ["watch", "stamp"], sqlite_where=_STAMP, postgresql_where=_STAMP)
    op.create_table(
        "dated",
        sa.Column("watch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("bits", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("bucket", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("documents", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    # What is known without a shard has no date yet; the next reading gives it one.
    op.execute(
        "INSERT INTO dated (watch, bits, bucket, documents) "
        "SELECT watch, -1, 0, count(*) FROM revision WHERE shard IS NULL GROUP BY watch"
    )
