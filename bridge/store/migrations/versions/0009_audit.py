"""The audit log: who has done what, on what."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0006"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "audit",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("means", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("count", sa.BigInteger(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.CheckConstraint("(subject IS NULL) = (subject_id IS NULL)", name=op.f("ck_audit_subject")),
        sa.CheckConstraint("(means = 'session') = (session IS NOT NULL)", name=op.f("ck_audit_session")),
        sa.CheckConstraint("(means = 'command') = (address IS NULL)", name=op.f("ck_audit_address")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_action", "audit", ["action", "id"], unique=False)


def downgrade() -> None:
    """Drop the table."""
    op.drop_index("ix_audit_action", "audit")
    op.drop_table("audit")
