"""Which keys verified an event; of events from before nobody knows."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("events", sa.Column("verified_by", sa.String(), server_default=sa.text("''"), nullable=False))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("events", "verified_by")
