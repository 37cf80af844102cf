"""Events whose content lies apart in them (``esfeed.store.codec.pack_event``): no table changes.

Old events are read as ever; the step is there so that an esfeed that cannot read the new ones says so.

Revision ID: 0006
"""

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """There is nothing to change."""
