"""Destinations that are split into shards by contact."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None

SPLIT = sa.text("shards > 1")
MARKED = sa.text("state = 'pending' AND shard IS NOT NULL")


def upgrade() -> None:
    """Add the columns, all empty or 1, and the indexes, which hold nothing yet."""
    op.add_column("deliveries", sa.Column("shard", sa.SmallInteger(), nullable=True))
    op.add_column("lanes", sa.Column("shards", sa.SmallInteger(), server_default=sa.text("1"), nullable=False))
    op.add_column("lanes", sa.Column("divided_to", sa.BigInteger(), nullable=True))
    op.create_index("ix_lanes_split", "lanes", ["shards"], unique=False, sqlite_where=SPLIT, postgresql_where=SPLIT)
    op.create_index(
        "ix_deliveries_shards",
        "deliveries",
        ["destination", "shard", "id"],
        unique=False,
        sqlite_where=MARKED,
        postgresql_where=MARKED,
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_deliveries_shards", "deliveries")
    op.drop_index("ix_lanes_split", "lanes")
    op.drop_column("lanes", "divided_to")
    op.drop_column("lanes", "shards")
    op.drop_column("deliveries", "shard")
