"""The tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DEAD = sa.text("state = 'dead'")
PENDING = sa.text("state = 'pending'")
SETTLED = sa.text("state != 'pending'")
SETTLED_WITH_PHONE = sa.text("state != 'pending' AND phone IS NOT NULL")
WARNED = sa.text("warning IS NOT NULL")
UNRECOGNISED = sa.text("state = 'unrecognised'")


def upgrade() -> None:
    """Create the tables; `bridge.store.preparation` creates the functions of PostgreSQL."""
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
        sa.Column("user", sa.String(), nullable=True),
        sa.CheckConstraint("(means = 'command') = (address IS NULL)", name=op.f("ck_audit_address")),
        sa.CheckConstraint("(means = 'session') = (session IS NOT NULL)", name=op.f("ck_audit_session")),
        sa.CheckConstraint("(subject IS NULL) = (subject_id IS NULL)", name=op.f("ck_audit_subject")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_action", "audit", ["action", "id"], unique=False)
    op.create_table(
        "changes",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_changes_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_changes")),
    )
    op.create_table(
        "config_texts",
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("file", name=op.f("pk_config_texts")),
    )
    op.create_table(
        "contact_tombstones",
        sa.Column("contact", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("before", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("contact", name=op.f("pk_contact_tombstones")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("seq", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("chatbot", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=True),
        sa.Column("form", sa.String(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("verified_by", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.CheckConstraint("form IN ('raw', 'json', 'unsigned')", name=op.f("ck_events_form")),
        sa.CheckConstraint(
            "state != 'accepted' OR (chatbot IS NOT NULL AND type IS NOT NULL)",
            name=op.f("ck_events_accepted_is_known"),
        ),
        sa.CheckConstraint("state IN ('accepted', 'test', 'unrecognised')", name=op.f("ck_events_state")),
        sa.CheckConstraint("length(id) = 16", name=op.f("ck_events_id_size")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sa.UniqueConstraint("id", name=op.f("uq_events_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_events_unrecognised",
        "events",
        ["seq"],
        unique=False,
        sqlite_where=UNRECOGNISED,
        postgresql_where=UNRECOGNISED,
    )
    op.create_table(
        "acknowledgements",
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("chatbots", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("through", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("cause", "chatbots", name=op.f("pk_acknowledgements")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("proof", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_table(
        "installation",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_installation")),
    )
    op.create_table(
        "lanes",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("fence", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("paused_by", sa.String(), nullable=True),
        sa.Column("pause_reason", sa.String(), nullable=True),
        sa.Column("pause_detail", sa.Text(), nullable=True),
        sa.Column("paused_until", sa.Double(), nullable=True),
        sa.Column("paused_since", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "paused_by IS NULL OR (paused_by = 'lane') = (paused_until IS NOT NULL)", name=op.f("ck_lanes_paused_until")
        ),
        sa.CheckConstraint("paused_by IS NULL OR paused_by IN ('operator', 'lane')", name=op.f("ck_lanes_paused_by")),
        sa.CheckConstraint("(owner IS NULL) = (lease_until IS NULL)", name=op.f("ck_lanes_lease")),
        sa.CheckConstraint("(paused_by IS NULL) = (pause_reason IS NULL)", name=op.f("ck_lanes_pause")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lanes")),
    )
    op.create_table(
        "members",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("lanes", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_members")),
    )
    op.create_table(
        "pauses",
        sa.Column("lane", sa.String(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("paused_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.CheckConstraint("paused_by IN ('operator', 'lane')", name=op.f("ck_pauses_paused_by")),
        sa.PrimaryKeyConstraint("lane", "since", name=op.f("pk_pauses")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "proofs",
        sa.Column("chatbot", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(length=16), nullable=False),
        sa.Column("proved_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("chatbot", name=op.f("pk_proofs")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("chatbot", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("room", sa.String(), server_default=sa.text("'junk'"), nullable=False),
        sa.CheckConstraint("length(digest) = 32", name=op.f("ck_quarantine_digest_size")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("chatbot", "digest", name=op.f("uq_quarantine_chatbot_digest")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "reports",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("left", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("tried_at", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_reports")),
    )
    op.create_table(
        "secrets",
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("kept_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "name", name=op.f("pk_secrets")),
    )
    op.create_table(
        "tally",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("chatbot", sa.String(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("writer", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("writer IN ('accept', 'settle', 'operator')", name=op.f("ck_tally_writer")),
        sa.PrimaryKeyConstraint("day", "chatbot", "destination", "state", "bucket", "writer", name=op.f("pk_tally")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tombstones",
        sa.Column("id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstones")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deliveries",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("event_seq", ROW_ID, nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("contact", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failing_since", sa.Double(), nullable=True),
        sa.Column("settled_at", sa.Double(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("warning", sa.Text(), nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("remote_url", sa.Text(), nullable=True),
        sa.Column("memo", sa.Text(), nullable=True),
        sa.Column("phone", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name=op.f("ck_deliveries_pending_is_due")),
        sa.CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name=op.f("ck_deliveries_settled_is_over")),
        sa.CheckConstraint("state != 'dead' OR reason IS NOT NULL", name=op.f("ck_deliveries_dead_has_reason")),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'dead', 'discarded')", name=op.f("ck_deliveries_state")),
        sa.CheckConstraint("(failures = 0) = (failing_since IS NULL)", name=op.f("ck_deliveries_failing")),
        sa.CheckConstraint("failures >= 0 AND attempts >= failures", name=op.f("ck_deliveries_counts")),
        sa.ForeignKeyConstraint(
            ["event_seq"], ["events.seq"], name=op.f("fk_deliveries_event_seq"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("event_seq", "route", name=op.f("uq_deliveries_event_seq_route")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_deliveries_causes",
        "deliveries",
        ["destination", "id", "reason"],
        unique=False,
        sqlite_where=DEAD,
        postgresql_where=DEAD,
    )
    op.create_index(
        "ix_deliveries_contact",
        "deliveries",
        ["contact", "event_seq"],
        unique=False,
        sqlite_where=SETTLED,
        postgresql_where=SETTLED,
    )
    op.create_index(
        "ix_deliveries_dead",
        "deliveries",
        ["id", "event_seq"],
        unique=False,
        sqlite_where=DEAD,
        postgresql_where=DEAD,
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["destination", "id"],
        unique=False,
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )
    op.create_index(
        "ix_deliveries_phone",
        "deliveries",
        ["phone", "event_seq"],
        unique=False,
        sqlite_where=SETTLED_WITH_PHONE,
        postgresql_where=SETTLED_WITH_PHONE,
    )
    op.create_index(
        "ix_deliveries_warned",
        "deliveries",
        ["id"],
        unique=False,
        sqlite_where=WARNED,
        postgresql_where=WARNED,
    )
    op.create_table(
        "attempts",
        sa.Column("delivery_id", ROW_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("duration", sa.Double(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint("(outcome = 'delivered') = (reason IS NULL)", name=op.f("ck_attempts_failed_has_reason")),
        sa.CheckConstraint("outcome IN ('delivered', 'retry', 'rejected')", name=op.f("ck_attempts_outcome")),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_attempts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "exchanges",
        sa.Column("delivery_id", ROW_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_exchanges_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_exchanges")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_exchanges_at", "exchanges", ["at"], unique=False)


def downgrade() -> None:
    """Refuse: dropping the tables would lose the leads."""
    raise RuntimeError("there is no revision before 0001; restore a backup instead")
