"""What was told deleted and may be taken back by a failover (``esfeed.store.tombstones``).

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tombstone",
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
