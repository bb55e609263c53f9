"""PostgreSQL's functions for what is written often, which `migrate` makes after the newest revision.

A revision is needed wherever one of them changes, so that a store from before gets it.
"""

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Leave the tables as they are."""


def downgrade() -> None:
    """Leave the functions there: the version before does not call them."""
