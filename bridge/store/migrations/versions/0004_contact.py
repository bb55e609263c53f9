"""What operators look for: the events of a person, and the dead letters of one cause."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DEAD = sa.text("state = 'dead'")
SETTLED = sa.text("state != 'pending'")


def upgrade() -> None:
    """Create the indexes."""
    op.create_index(
        "ix_deliveries_contact",
        "deliveries",
        ["contact", "event_seq"],
        unique=False,
        sqlite_where=SETTLED,
        postgresql_where=SETTLED,
    )
    op.create_index(
        "ix_deliveries_causes",
        "deliveries",
        ["destination", "id", "reason"],
        unique=False,
        sqlite_where=DEAD,
        postgresql_where=DEAD,
    )


def downgrade() -> None:
    """Drop the indexes."""
    op.drop_index("ix_deliveries_causes", "deliveries")
    op.drop_index("ix_deliveries_contact", "deliveries")
