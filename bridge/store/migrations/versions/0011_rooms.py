"""The quarantine is divided into rooms, and it is known which signing keys have proved to be the vendor's."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

JUNK = sa.text("'junk'")


def upgrade() -> None:
    """Add the column and the table. What is in quarantine goes into the room for leads: any of it may be one."""
    op.add_column("quarantine", sa.Column("room", sa.String(), server_default=JUNK, nullable=False))
    op.execute("UPDATE quarantine SET room = 'mismatch'")
    op.create_table(
        "proofs",
        sa.Column("chatbot", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(16), nullable=False),
        sa.Column("proved_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("chatbot", name=op.f("pk_proofs")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("proofs")
    op.drop_column("quarantine", "room")
