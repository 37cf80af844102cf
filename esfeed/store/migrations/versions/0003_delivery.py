"""What delivery remembers: when a log row was made, the size of the log, and parked events that hold their own event.

What was parked before was dead: nothing else was kept. A row of the log whose age nobody wrote down counts from now on.

Revision ID: 0003
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = time.time()
    op.add_column("log", sa.Column("at", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.execute(sa.text("UPDATE log SET at = :at").bindparams(at=int(now * 1000)))
    op.create_table(
        "log_size",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO log_size SELECT 1, COALESCE(SUM(LENGTH(event)), 0) FROM log")
    op.add_column("cursor", sa.Column("dropped", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.rename_table("parked", "parked_0001")
    op.create_table(
        "parked",
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
    )
    op.create_index("parked_document", "parked", ["sink", "watch", "key"])
    op.create_index("parked_state", "parked", ["sink", "state", "position"])
    # Whether something newer of such a document was delivered is told by the log: the cursor never waited for it.
    op.execute(
        sa.text(
            "INSERT INTO parked SELECT p.sink, p.position, l.watch, l.key, 'dead', p.attempts, p.error, :now, 0,"
            " (SELECT MAX(n.position) FROM log n JOIN cursor c ON c.sink = p.sink AND n.position <= c.position"
            " WHERE n.watch = l.watch AND n.key = l.key AND n.position > p.position), l.event"
            " FROM parked_0001 p JOIN log l ON l.position = p.position"
        ).bindparams(now=now)
    )
    op.drop_table("parked_0001")
