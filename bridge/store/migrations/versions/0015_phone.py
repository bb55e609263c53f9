"""A keyed hash of the phone number beside that of the e-mail address; deliveries from before have none."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SETTLED = sa.text("state != 'pending' AND phone IS NOT NULL")


def upgrade() -> None:
    """Add the column and its index. PostgreSQL's functions are made anew by `migrate`."""
    op.add_column("deliveries", sa.Column("phone", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_deliveries_phone",
        "deliveries",
        ["phone", "event_seq"],
        unique=False,
        sqlite_where=SETTLED,
        postgresql_where=SETTLED,
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_deliveries_phone", "deliveries")
    op.drop_column("deliveries", "phone")
