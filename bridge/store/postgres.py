"""PostgreSQL: the engine for several processes, on one machine or on many, that serve one store together.

Nothing is kept in a session but what `listen` needs, so it works behind a pooler that gives each transaction another
server connection; notifications do not pass such a pooler, and then the poll of `changed_elsewhere` stands alone.
psycopg is imported here and nowhere else: this module is, only for a `postgresql://` URL.
"""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg import conninfo
from psycopg.pq import Format, PGconn, Ping, TransactionStatus
from sqlalchemy import Connection, Dialect, Engine, create_engine, exc
from sqlalchemy.pool import NullPool

from bridge.errors import OperatorError, StoreUnavailableError
from bridge.store.driver import READ_BYTES, QueueReader, RemoteCommits, raw
from bridge.store.encryption import NO_KEYS, KeyRing, attach_keys
from bridge.store.postgres_listener import CHANNEL, Listener
from bridge.store.postgres_queue import LOCK_SECONDS
from bridge.store.schema import metadata

STATEMENT_SECONDS = 10
"""How long a statement may take at all, and how long a reader or an operator may leave a transaction waiting."""
STANDING_SECONDS = 2
"""How long a process that serves may leave a transaction waiting for its next statement. One that is stopped in the
middle of a claim holds what the others need to renew their leases: within a third of the time that a lease lasts."""
OWN_LOCK_SECONDS = 1
"""How long a change of the process itself, such as pruning, waits for a row that another transaction holds: events and
outcomes wait behind it."""
LEASE_LOCK_SECONDS = 0.5
"""How long a renewal waits for a lane's row: the other lanes wait with it."""
OPERATOR_SECONDS = 30
"""How long one statement of an operator's command may take."""
ANSWER_SECONDS = 35.0
"""How long any answer is waited for: a server whose disk stands still neither ends a statement nor hangs up."""

_PARAMETERS: Final = {
    "connect_timeout": "5",
    # A server or a network that has gone is noticed in about ten seconds, whether something is under way or not.
    "tcp_user_timeout": "10000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    # Of several hosts the one that takes writes, also after a failover.
    "target_session_attrs": "read-write",
    "application_name": "leadbridge",
}
"""What libpq is told unless the URL says otherwise: https://www.postgresql.org/docs/current/libpq-connect.html."""

# Not set for the session: a pooler gives each transaction another server connection
# (https://www.pgbouncer.org/features.html, "SQL feature map for pooling modes").
_LOCAL = "SELECT set_config('idle_in_transaction_session_timeout', '{0}s', true), set_config('lock_timeout', '{1}s', true), set_config('statement_timeout', '{2}s', true)"  # noqa: E501
_COUNT = "INSERT INTO changes (id, number) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET number = changes.number + 1"
_READ = f"BEGIN READ ONLY; {_LOCAL.format(STATEMENT_SECONDS, LOCK_SECONDS, STATEMENT_SECONDS)}"
_LOOK = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_LOCAL.format(STATEMENT_SECONDS, LOCK_SECONDS, OPERATOR_SECONDS)}; SELECT set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)"  # noqa: E501
_NO_CONNECTION_LEFT: Final = (
    "too many clients already",
    "too many connections for",
    "remaining connection slots are reserved",
    "no more connections allowed",  # PgBouncer's
)
_TELL = "SELECT pg_notify(%s, name) FROM unnest(%s::text[]) AS name"
_NEWS = """
SELECT (SELECT number FROM changes),
  (SELECT max(id) FROM deliveries),
  (SELECT array_agg(DISTINCT destination) FROM deliveries WHERE id > %s AND state = 'pending')"""


for _table in metadata.tables.values():
    for _index in _table.indexes:
        if (_where := _index.dialect_options["sqlite"]["where"]) is not None:
            _index.dialect_options["postgresql"]["where"] = _where


class PostgresDriver:
    """PostgreSQL, in one database."""

    begin: str = (
        f"BEGIN; {_LOCAL.format(STATEMENT_SECONDS, LOCK_SECONDS, OPERATOR_SECONDS)}; {_COUNT}; NOTIFY {CHANNEL}"
    )
    begin_own: str = f"BEGIN; {_LOCAL.format(STANDING_SECONDS, OWN_LOCK_SECONDS, STATEMENT_SECONDS)}"
    begin_keeping: str = f"BEGIN; {_LOCAL.format(STANDING_SECONDS, LEASE_LOCK_SECONDS, STATEMENT_SECONDS)}"
    exclusive: bool = False
    # Accepts and settles are then one statement each, which the server ends by itself: no lock of theirs waits for
    # this process, which may be slow or stopped.
    commits_by_kind: bool = True
    # A commit of many events on two cores that others use too (docs/architecture.md, "Turns on PostgreSQL").
    turn_seconds: float = 0.007
    patience: float | None = 3.0
    errors: tuple[type[Exception], ...] = (psycopg.Error, exc.SQLAlchemyError, OSError)
    refusals: tuple[type[Exception], ...] = (
        psycopg.IntegrityError,
        psycopg.DataError,
        exc.IntegrityError,
        exc.DataError,
    )

    def __init__(self, url: str, keys: KeyRing = NO_KEYS) -> None:
        """Take the database that a `postgresql://` URL names, as libpq reads it. Raises OperatorError."""
        try:
            given = conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            # Not its text, which quotes the URL.
            raise OperatorError(
                "store.url: not a PostgreSQL URL; write postgresql://user:password@host/database, with special "
                "characters of the password as %XX"
            ) from None
        self.keys = keys
        unsaid = {name: value for name, value in _PARAMETERS.items() if name not in given}
        self._conninfo = conninfo.make_conninfo(url, **unsaid)
        self.name: str = (
            f"PostgreSQL, {given.get('host', 'this machine')}, database {given.get('dbname', 'of the user')}"
        )
        self._autocommit = self._engine(autocommit=True, isolation_level="AUTOCOMMIT")
        self._transactions = self._engine(autocommit=False)
        self.dialect: Dialect = self._transactions.dialect
        self._listener: Listener | None = None
        self._writer: Connection | None = None
        self._seen: tuple[int | None, int] = (None, 0)
        """The count of operators' changes, and the highest id of a delivery, at the last look."""

    def lock(self) -> None:
        """Do nothing: any number of processes may serve."""

    def unlock(self) -> None:
        """Do nothing."""

    def is_unreachable(self) -> bool:
        """Ask as `pg_isready` does; see `Driver.away`.

        libpq tells a refused connection from one that was not made in this way only: the error of the latter has no
        SQLSTATE (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PQPING). A server that has no
        connection left is away too, and its ping is good. libpq keeps the SQLSTATE 53300 to itself, so the server's
        words have to do, which are English unless its `lc_messages` says otherwise.
        """
        if PGconn.ping(self._conninfo.encode()) in {Ping.REJECT, Ping.NO_RESPONSE}:
            return True
        try:
            self._session(autocommit=True).close()
        except psycopg.Error as error:
            return any(words in str(error) for words in _NO_CONNECTION_LEFT)
        return False

    def connect(self) -> Connection:
        """Open a connection in autocommit mode; see `Driver.connect`."""
        try:
            return self._autocommit.connect()
        except self.errors as error:
            raise StoreUnavailableError(
                f"{self.name}: {self.safe_error(error)}; check store.url, the server, and its access rules"
            ) from error

    def engine(self) -> Engine:
        """Make SQLAlchemy's engine: real transactions (DDL too), no pool."""
        return self._transactions

    def queue(self) -> QueueReader:
        """Give the hot questions; see `Driver.queue`."""
        return _PostgresQueueReader()

    @contextlib.contextmanager
    def read_transaction(self, connection: Connection) -> Iterator[None]:
        """Bound the time of each question by a transaction around it."""
        with _transaction(connection, _READ):
            yield

    @contextlib.contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """Read all from one moment, in the process of one connection: those beside it would be missing to senders."""
        with _transaction(connection, _LOOK):
            yield

    def roll_back(self, connection: Connection) -> bool:
        """Leave no transaction open; see `Driver.roll_back`."""
        if connection.invalidated or raw(connection).closed:
            return False
        if raw(connection).info.transaction_status != TransactionStatus.IDLE:
            raw(connection).execute("ROLLBACK")
        # One that takes no writes is a primary no longer.
        return bool(raw(connection).execute("SHOW transaction_read_only").fetchone() == ("off",))

    def safe_error(self, error: Exception) -> Exception:
        """Give the server's own message: its details quote values of rows."""
        cause = getattr(error, "orig", None) or error
        if not isinstance(cause, psycopg.Error) or cause.sqlstate is None or cause.diag.message_primary is None:
            return cause
        said = "a value is not of the column's type" if isinstance(cause, psycopg.DataError) else None
        return type(cause)(f"{said or cause.diag.message_primary} (SQLSTATE {cause.sqlstate})")

    def clock(self, connection: Connection, now: float) -> float:  # noqa: ARG002 - see below
        """Give the server's time, since the machines' own clocks may differ."""
        cursor = raw(connection).execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(cursor.fetchone()[0])

    def moved(self, writer: Connection | None) -> str | None:  # noqa: ARG002 - the server sees to its files
        """Return None."""
        return None

    def listen(self, tell: Callable[[RemoteCommits], None]) -> None:
        """Be told of others' commits on a connection of its own; see `Driver.listen`."""
        self._listener = Listener(functools.partial(self._session, autocommit=True), tell)

    def notify(self, writer: Connection, accepted: Collection[str]) -> None:
        """Notify those who listen; see `Driver.notify`."""
        raw(writer).execute(_TELL, (CHANNEL, list(accepted)))

    def changed_elsewhere(self, writer: Connection) -> RemoteCommits:
        """Ask what is new, this process's own accepts included: one question, answered from two indexes."""
        if self._listener:
            self._listener.own = raw(writer).info.backend_pid
        number, newest = self._seen
        with self.read_transaction(writer):
            count, highest, accepted = raw(writer).execute(_NEWS, (newest,)).fetchone()
        self._seen = (count, max(highest or 0, newest))
        if writer is not self._writer:
            self._writer = writer
            return RemoteCommits()
        return RemoteCommits(frozenset(accepted or ()), changed=count != number)

    def tidy(self, writer: Connection) -> None:
        """Do nothing: the server's autovacuum does."""

    def close(self) -> None:
        """End the listening."""
        if self._listener:
            self._listener.close()
            self._listener = None

    def _engine(self, *, autocommit: bool, **options: Any) -> Engine:  # noqa: ANN401 - SQLAlchemy's own options
        engine = create_engine(
            "postgresql+psycopg://",
            creator=functools.partial(self._open, autocommit=autocommit),
            poolclass=NullPool,
            # Each is closed, not given back: there is nothing to undo in it, and of a lost one nothing could be.
            pool_reset_on_return=None,
            use_native_hstore=False,
            **options,
        )
        attach_keys(engine, self.keys)
        return engine

    def _open(self, *, autocommit: bool) -> "psycopg.Connection[Any]":
        connection = self._session(autocommit=autocommit)
        # A pooler may lend it a server connection that a listener has had: what that hears is not collected.
        connection.add_notify_handler(_unheard)
        return connection

    def _session(self, *, autocommit: bool) -> "psycopg.Connection[Any]":
        kind = _Patient if autocommit else psycopg.Connection
        # No prepared statements: they belong to a session.
        session = kind.connect(self._conninfo, autocommit=autocommit, prepare_threshold=None)
        session.server_cursor_factory = _Binary
        return session


@contextlib.contextmanager
def _transaction(connection: Connection, begin: str) -> Iterator[None]:
    raw(connection).execute(begin)
    try:
        yield
    except BaseException:
        _end(connection)
        raise
    raw(connection).execute("COMMIT")


def _end(connection: Connection) -> None:
    """Leave no transaction open: where the server cannot be asked for that, its connection is closed."""
    driver = None
    try:
        driver = raw(connection)
        driver.rollback()
    except (psycopg.Error, exc.SQLAlchemyError, OSError):
        # Not what is raised: the caller is to get the failure that came first.
        if driver is not None:
            driver.close()


class _Binary(psycopg.ServerCursor[Any]):
    """Has values come as they are: a payload in text has two digits for each byte."""

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 - psycopg's
        super().__init__(*given, **named)
        self.format = Format.BINARY


class _Patient(psycopg.Connection[Any]):
    """Gives up a server that does not answer."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401 - psycopg's
        try:
            return super().wait(gen, interval, ANSWER_SECONDS if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.info.transaction_status == TransactionStatus.ACTIVE:
                # The answer may come yet, and would be taken for that of another question.
                self.close()
            raise


def _unheard(_: object) -> None:
    return None


# One destination only, but so that the planner does not know it: by an order of `id` alone it may take
# the primary key for the better way, where one has most of what waits, and read through all that is older.
_DUE = """
SELECT id, contact, due_at, failures, attempts FROM deliveries
WHERE state = 'pending' AND (destination, id) > (%s, %s) AND destination <= %s ORDER BY destination, id LIMIT %s"""
# The length of a payload is known without reading it. The planner has the rows sorted by id for the sum.
_READ_DUE = """
SELECT delivery, event, chatbot, payload, received_at, verified_by, route, attempts, failures, failing_since, memo,
  destination
FROM (
  SELECT d.id AS delivery, e.id AS event, e.chatbot, e.payload, e.received_at, e.verified_by, d.route,
    d.attempts, d.failures, d.failing_since, d.memo, d.destination,
    sum(octet_length(e.payload)) OVER (ORDER BY d.id) - octet_length(e.payload) AS before
  FROM deliveries d JOIN events e ON e.seq = d.event_seq
  WHERE d.id = ANY(%s) AND d.state = 'pending'
) AS due WHERE before < %s ORDER BY delivery"""


class _PostgresQueueReader:
    """The hot questions; see `bridge.store.driver.QueueReader`."""

    def due(self, connection: Connection, lane: str, after: int, limit: int) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = raw(connection).execute(_DUE, (lane, after, lane, limit)).fetchall()
        return rows

    def read(self, connection: Connection, ids: Sequence[int]) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = raw(connection).execute(_READ_DUE, (list(ids), READ_BYTES)).fetchall()
        return rows
