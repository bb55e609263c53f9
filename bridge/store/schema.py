"""The tables for both engines, with constraints that forbid impossible states.

An index that is partial on SQLite is partial on PostgreSQL too. The module `postgres` sets that, because
`postgresql_where` here would load that engine's dialect in every process.

All times are seconds since the epoch. The migrations in `migrations/` build exactly these tables (a test compares
them). SQLite and PostgreSQL differ in two places: SQLite's row ids need a plain INTEGER and the word AUTOINCREMENT
(otherwise the id of a deleted newest row is used again, and a lane that has read past it does not see the
new row), and its tables `attempts` and `exchanges` are stored in the order of their keys.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")

events = Table(
    "events",
    metadata,
    # Order of receipt.
    Column("seq", _ROW_ID, primary_key=True, autoincrement=True),
    # `Event.id` as 16 bytes. Its unique index detects repeated requests.
    Column("id", LargeBinary(16), nullable=False),
    Column("received_at", Double, nullable=False),
    Column("chatbot", String, nullable=True),
    Column("state", String, nullable=False),
    Column("type", String, nullable=True),
    Column("form", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    # `Event.verified_by`, separated by spaces.
    Column("verified_by", String, nullable=False, server_default=text("''")),
    UniqueConstraint("id"),
    CheckConstraint("length(id) = 16", name="id_size"),
    CheckConstraint("state IN ('accepted', 'test', 'unrecognised')", name="state"),
    CheckConstraint("form IN ('raw', 'json', 'unsigned')", name="form"),
    CheckConstraint("state != 'accepted' OR (chatbot IS NOT NULL AND type IS NOT NULL)", name="accepted_is_known"),
    # Finds the events that need a person without reading all events.
    Index(
        "ix_events_unrecognised",
        "seq",
        sqlite_where=text("state = 'unrecognised'"),
    ),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    metadata,
    # Order of receipt; within one event, the order of its routes.
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("event_seq", _ROW_ID, ForeignKey("events.seq", ondelete="CASCADE"), nullable=False),
    Column("route", String, nullable=False),
    Column("destination", String, nullable=False),
    # `Event.contact`. Deliveries of one contact to one destination are made in order of their ids.
    Column("contact", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    # Time of the next attempt. Only pending deliveries have one.
    Column("due_at", Double, nullable=True),
    # Number of attempts so far, as in the table `attempts`.
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # Number of failures of this delivery itself, without those of a destination in trouble.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("failing_since", Double, nullable=True),
    Column("settled_at", Double, nullable=True),
    # The last attempt's reason (`connectors.base.Reason`) and one line about it.
    Column("reason", String, nullable=True),
    Column("detail", Text, nullable=True),
    Column("warning", Text, nullable=True),
    Column("remote_id", Text, nullable=True),
    Column("remote_url", Text, nullable=True),
    # The connector's memo (`connectors.base.Record.memo`), as JSON.
    Column("memo", Text, nullable=True),
    # `Event.phone`.
    Column("phone", BigInteger, nullable=True),
    UniqueConstraint("event_seq", "route"),
    CheckConstraint("state IN ('pending', 'delivered', 'dead', 'discarded')", name="state"),
    CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name="pending_is_due"),
    CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name="settled_is_over"),
    CheckConstraint("state != 'dead' OR reason IS NOT NULL", name="dead_has_reason"),
    CheckConstraint("failures >= 0 AND attempts >= failures", name="counts"),
    CheckConstraint("(failures = 0) = (failing_since IS NULL)", name="failing"),
    # The queue: a lane reads its pending deliveries in order of receipt.
    Index(
        "ix_deliveries_due",
        "destination",
        "id",
        sqlite_where=text("state = 'pending'"),
    ),
    # With their events, so that the dead letters of a chatbot are found without reading each delivery.
    Index("ix_deliveries_dead", "id", "event_seq", sqlite_where=text("state = 'dead'")),
    # Those with a warning: few, so a page of them is found among any number of deliveries.
    Index("ix_deliveries_warned", "id", sqlite_where=text("warning IS NOT NULL")),
    # For searches: the events of a person, and the dead letters of one cause. Contacts come in no order, so a delivery
    # enters this index when it is settled. At the accept, each would cost a page of its own.
    Index("ix_deliveries_contact", "contact", "event_seq", sqlite_where=text("state != 'pending'")),
    Index(
        "ix_deliveries_phone",
        "phone",
        "event_seq",
        sqlite_where=text("state != 'pending' AND phone IS NOT NULL"),
    ),
    Index(
        "ix_deliveries_causes",
        "destination",
        "id",
        "reason",
        sqlite_where=text("state = 'dead'"),
    ),
    sqlite_autoincrement=True,
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", _ROW_ID, ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("duration", Double, nullable=False),
    Column("outcome", String, nullable=False),
    Column("reason", String, nullable=True),
    Column("status", Integer, nullable=True),
    Column("detail", Text, nullable=True),
    PrimaryKeyConstraint("delivery_id", "number"),
    CheckConstraint("outcome IN ('delivered', 'retry', 'rejected')", name="outcome"),
    CheckConstraint("(outcome = 'delivered') = (reason IS NULL)", name="failed_has_reason"),
    sqlite_with_rowid=False,
)

exchanges = Table(
    "exchanges",
    metadata,
    # The requests and answers of an attempt (`bridge.delivery.exchanges`), kept for `exchanges.KEPT_SECONDS`.
    Column("delivery_id", _ROW_ID, ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    # Beginning of the attempt.
    Column("at", Double, nullable=False),
    # As JSON.
    Column("content", Text, nullable=False),
    PrimaryKeyConstraint("delivery_id", "number"),
    # Finds those that have expired.
    Index("ix_exchanges_at", "at"),
    sqlite_with_rowid=False,
)

tally = Table(
    "tally",
    metadata,
    # `bridge.store.tally.TallyKey`.
    Column("day", Integer, nullable=False),
    Column("chatbot", String, nullable=False),
    Column("destination", String, nullable=False),
    Column("state", String, nullable=False),
    Column("bucket", Integer, nullable=False),
    # `accept`, `settle` or `operator`: each kind of transaction has rows of its own, so none waits for another.
    Column("writer", String, nullable=False),
    # The sum over the writers counts; one of them may be negative.
    Column("count", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "chatbot", "destination", "state", "bucket", "writer"),
    CheckConstraint("writer IN ('accept', 'settle', 'operator')", name="writer"),
    sqlite_with_rowid=False,
)

lanes = Table(
    "lanes",
    metadata,
    # The destination's name.
    Column("name", String, primary_key=True),
    # The process that works the lane, and the end of its lease. A process that takes the lane over adds one to the
    # fence, and a settle with an older fence is refused.
    Column("owner", String, nullable=True),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("lease_until", Double, nullable=True),
    # A pause by an operator lasts until `resume`; the lane probes its own when it is over.
    Column("paused_by", String, nullable=True),
    Column("pause_reason", String, nullable=True),
    Column("pause_detail", Text, nullable=True),
    Column("paused_until", Double, nullable=True),
    # Beginning of the pause; its probes and what they find do not move it.
    Column("paused_since", Double, nullable=True),
    CheckConstraint("paused_by IS NULL OR paused_by IN ('operator', 'lane')", name="paused_by"),
    CheckConstraint("(owner IS NULL) = (lease_until IS NULL)", name="lease"),
    CheckConstraint("(paused_by IS NULL) = (pause_reason IS NULL)", name="pause"),
    CheckConstraint("paused_by IS NULL OR (paused_by = 'lane') = (paused_until IS NOT NULL)", name="paused_until"),
)

pauses = Table(
    "pauses",
    metadata,
    # A pause of a lane that is over; `bridge.store.lane_queries` keeps the newest ones. An operator's reason is not
    # kept, because a person wrote it.
    Column("lane", String, nullable=False),
    Column("since", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("paused_by", String, nullable=False),
    Column("reason", String, nullable=True),
    PrimaryKeyConstraint("lane", "since"),
    CheckConstraint("paused_by IN ('operator', 'lane')", name="paused_by"),
    sqlite_with_rowid=False,
)

reports = Table(
    "reports",
    metadata,
    # A configured report.
    Column("name", String, primary_key=True),
    # Time for which it was sent last. Until the first one: a time before it was configured.
    Column("due_at", Double, nullable=False),
    # The receivers that are not noted as having it, as a JSON array of their labels: names, and no addresses.
    Column("left", Text, nullable=False, server_default=text("'[]'")),
    # Time of the last step of the sending.
    Column("tried_at", Double, nullable=False, server_default=text("0")),
)

members = Table(
    "members",
    metadata,
    # A process that serves the store together with others (`lanes.owner` is such a name). It is a member until `until`.
    Column("name", String, primary_key=True),
    # The lanes that it would work, as a JSON array of names.
    Column("lanes", Text, nullable=False),
    Column("until", Double, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    # One row. Each commit of an operator adds one to it, for processes that get no notification.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("received_at", Double, nullable=False),
    Column("chatbot", String, nullable=False),
    # `Identity.digest` of the body, a keyed hash. The sender's three tries take one place.
    Column("digest", LargeBinary(32), nullable=False),
    Column("signature", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    # `bridge.event.Room`: each has bounds of its own.
    Column("room", String, nullable=False, server_default=text("'junk'")),
    UniqueConstraint("chatbot", "digest"),
    CheckConstraint("length(digest) = 32", name="digest_size"),
    sqlite_autoincrement=True,
)

proofs = Table(
    "proofs",
    metadata,
    # Fingerprint of the signing keys that verified a signature of the chatbot last (`ingress.signature.fingerprint`).
    # Other keys have not proved to be the vendor's yet.
    Column("chatbot", String, primary_key=True),
    Column("fingerprint", LargeBinary(16), nullable=False),
    Column("proved_at", Double, nullable=False),
)

tombstones = Table(
    "tombstones",
    metadata,
    # `Event.id` of an erased event, or the digest of an erased request. A repeated one is not stored.
    Column("id", LargeBinary(32), primary_key=True),
    # Null means forever.
    Column("until", Double, nullable=True),
    sqlite_with_rowid=False,
)

contact_tombstones = Table(
    "contact_tombstones",
    metadata,
    # `Event.contact` of a person who was erased at the time `before`. Events that were received earlier are not stored.
    Column("contact", BigInteger, primary_key=True, autoincrement=False),
    Column("before", Double, nullable=False),
    Column("until", Double, nullable=True),
    sqlite_with_rowid=False,
)

secrets = Table(
    "secrets",
    metadata,
    Column("destination", String, nullable=False),
    Column("name", String, nullable=False),
    # What a connector must know after a restart and cannot have again (`connectors.base.Vault`).
    Column("value", Text, nullable=False),
    Column("kept_at", Double, nullable=False),
    PrimaryKeyConstraint("destination", "name"),
)

installation = Table(
    "installation",
    metadata,
    # Name of the value; see `bridge.store.installation`.
    Column("name", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

config_texts = Table(
    "config_texts",
    metadata,
    # Absolute path of a file of the configuration.
    Column("file", String, primary_key=True),
    # Its last text without errors, as it was read.
    Column("text", LargeBinary, nullable=False),
)

acknowledgements = Table(
    "acknowledgements",
    metadata,
    # `Problem.key`: words of the program, and names of the configuration.
    Column("cause", String, nullable=False),
    # Whose it is, and for which chatbots (`scope_text`); empty for all chatbots.
    Column("chatbots", String, nullable=False),
    Column("at", Double, nullable=False),
    # Name or role of the person.
    Column("user", String, nullable=False),
    # The time of the latest case that the person knew of; a later one ends the acknowledgement.
    Column("through", Double, nullable=False),
    # Until then the cause is ignored, whatever comes. Null for an acknowledgement.
    Column("until", Double, nullable=True),
    PrimaryKeyConstraint("cause", "chatbots"),
)

sessions = Table(
    "sessions",
    metadata,
    # SHA-256 of the cookie's value, which only the browser has.
    Column("id", LargeBinary, primary_key=True),
    # Name of the user or, for the tokens without a name, the setting.
    Column("user", String, nullable=False),
    # HMAC of the user's token under the cookie's value: the session ends when the token changes.
    Column("proof", LargeBinary, nullable=False),
    Column("until", Double, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    # Order of writing.
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    # `bridge.operations.audit.Entry`: names, ids and numbers, never a field of a lead.
    Column("action", String, nullable=False),
    Column("role", String, nullable=False),
    Column("means", String, nullable=False),
    Column("session", String, nullable=True),
    Column("address", String, nullable=True),
    Column("subject", String, nullable=True),
    Column("subject_id", String, nullable=True),
    Column("count", BigInteger, nullable=True),
    # As JSON.
    Column("facts", Text, nullable=True),
    Column("user", String, nullable=True),
    CheckConstraint("(subject IS NULL) = (subject_id IS NULL)", name="subject"),
    CheckConstraint("(means = 'session') = (session IS NOT NULL)", name="session"),
    CheckConstraint("(means = 'command') = (address IS NULL)", name="address"),
    Index("ix_audit_action", "action", "id"),
    sqlite_autoincrement=True,
)
