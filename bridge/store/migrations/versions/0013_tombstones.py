"""Marks of erased events, refused requests and persons: what comes again is not kept again."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. PostgreSQL's functions are made anew by `migrate`."""
    op.create_table(
        "tombstones",
        sa.Column("id", sa.LargeBinary(32), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstones")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "contact_tombstones",
        sa.Column("contact", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("before", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("contact", name=op.f("pk_contact_tombstones")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("contact_tombstones")
    op.drop_table("tombstones")
