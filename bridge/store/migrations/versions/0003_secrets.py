"""Secrets of destinations that change while they are in use, such as refresh tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "secrets",
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("kept_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "name", name=op.f("pk_secrets")),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("secrets")
