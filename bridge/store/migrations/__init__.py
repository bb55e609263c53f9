"""The store's migrations, run by Alembic: at start, and by `leadbridge db migrate`."""
