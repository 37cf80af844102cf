"""Dictionaries with which contents and events are compressed (``esfeed.store.dictionaries``).

What is stored stays as it is: it is read as before, and compressed anew when it is written anew.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dictionary",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("watch", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
