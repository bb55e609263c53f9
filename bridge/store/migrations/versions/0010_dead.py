"""The index of dead letters has their events too: those of one chatbot are found without reading each of them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

DEAD = sa.text("state = 'dead'")


def upgrade() -> None:
    """Make it anew: one look at each delivery."""
    op.drop_index("ix_deliveries_dead", "deliveries")
    op.create_index(
        "ix_deliveries_dead",
        "deliveries",
        ["id", "event_seq"],
        unique=False,
        sqlite_where=DEAD,
        postgresql_where=DEAD,
    )


def downgrade() -> None:
    """Make it as it was."""
    op.drop_index("ix_deliveries_dead", "deliveries")
    op.create_index("ix_deliveries_dead", "deliveries", ["id"], unique=False, sqlite_where=DEAD, postgresql_where=DEAD)
