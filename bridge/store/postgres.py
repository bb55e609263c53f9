"""PostgreSQL, the engine for several processes that serve one store, on one machine or on many.

Only `listen` needs a session, so the engine works behind a pooler that gives each transaction another server
connection. Notifications do not pass such a pooler; then only the poll of `changed_elsewhere` finds new commits. This
module imports psycopg, and is itself imported for a `postgresql://` URL only.
"""

import contextlib
import functools
import os
import select
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import psycopg
import structlog
from psycopg import conninfo
from psycopg.pq import Format, PGconn, Ping, TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, exc
from sqlalchemy.pool import NullPool

from bridge.errors import OperatorError, StoreUnavailableError
from bridge.store.driver import READ_BYTES, QueueReader, RemoteCommits, raw
from bridge.store.encryption import NO_KEYS, KeyRing, attach_keys
from bridge.store.postgres_queue import LOCK_SECONDS
from bridge.store.schema import metadata

STATEMENT_SECONDS = 10
"""Most time for a statement, and for a reader's or operator's transaction between two statements."""
STANDING_SECONDS = 2
"""Most time for a serving process's transaction between two statements. A process that is stopped in the middle of a
claim holds locks that the others need to renew their leases, so this is a third of the time that a lease lasts."""
OWN_LOCK_SECONDS = 1
"""Time that a change of the process itself, such as pruning, waits for a locked row. Events and outcomes wait behind
it."""
LEASE_LOCK_SECONDS = 0.5
"""Time that a renewal waits for a lane's row. The other lanes wait with it."""
OPERATOR_SECONDS = 30
"""Most time for one statement of a command."""
ANSWER_SECONDS = 35.0
"""Most time for any answer. A server whose disk hangs neither ends a statement nor closes the connection."""
RECONNECT_SECONDS = 2.0
"""Time before a lost connection of the listener is opened again. The poll finds new commits in between."""
CHANNEL = "leadbridge"
"""Channel of the notifications. A payload is the name of a destination with new deliveries, or empty."""

log = structlog.get_logger()

_PARAMETERS: Final = {
    "connect_timeout": "5",
    # A lost server or network is noticed in about ten seconds, with or without an open statement.
    "tcp_user_timeout": "10000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    # Use the host that takes writes, also after a failover.
    "target_session_attrs": "read-write",
    "application_name": "leadbridge",
}
"""Defaults for libpq's parameters (https://www.postgresql.org/docs/current/libpq-connect.html)."""

# Not set for the session, because a pooler assigns each transaction another server connection
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
    # Accepts and settles are then one statement each, which the server ends by itself. So none of their locks waits
    # for this process, which may be slow or stopped.
    commits_by_kind: bool = True
    patience: float | None = 3.0
    errors: tuple[type[Exception], ...] = (psycopg.Error, exc.SQLAlchemyError, OSError)
    refusals: tuple[type[Exception], ...] = (
        psycopg.IntegrityError,
        psycopg.DataError,
        exc.IntegrityError,
        exc.DataError,
    )

    def __init__(self, url: str, keys: KeyRing = NO_KEYS) -> None:
        """Use the database of a `postgresql://` URL, as libpq reads it. Raises OperatorError."""
        try:
            parameters = conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            # The error's text quotes the URL, so it is not shown.
            raise OperatorError(
                "store.url: not a PostgreSQL URL; write postgresql://user:password@host/database, with special "
                "characters of the password as %XX"
            ) from None
        self.keys = keys
        defaults = {name: value for name, value in _PARAMETERS.items() if name not in parameters}
        self._conninfo = conninfo.make_conninfo(url, **defaults)
        self.name: str = (
            f"PostgreSQL, {parameters.get('host', 'this machine')}, database {parameters.get('dbname', 'of the user')}"
        )
        self._autocommit = self._engine(autocommit=True, isolation_level="AUTOCOMMIT")
        self._transactions = self._engine(autocommit=False)
        self._listener: Listener | None = None
        self._writer: Connection | None = None
        self._seen: tuple[int | None, int] = (None, 0)
        """The count of operators' changes, and the highest id of a delivery, at the last poll."""

    def lock(self) -> None:
        """Do nothing: any number of processes may serve."""

    def unlock(self) -> None:
        """Do nothing."""

    def is_unreachable(self) -> bool:
        """Ping the server as `pg_isready` does; see `Driver.is_unreachable`.

        Only the ping tells a refusal from a failed connection, because libpq's error for the latter has no SQLSTATE
        (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PQPING). A server without a free connection
        answers the ping but counts as unreachable. libpq does not expose its SQLSTATE 53300, so the server's message is
        compared, which is English unless its `lc_messages` says otherwise.
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
        """Return an SQLAlchemy engine with real transactions (DDL too) and no pool."""
        return self._transactions

    def queue(self) -> QueueReader:
        """Return the reader of the queue; see `Driver.queue`."""
        return _PostgresQueueReader()

    @contextlib.contextmanager
    def read_transaction(self, connection: Connection) -> Iterator[None]:
        """Bound the time of each query by a transaction around it."""
        with _transaction(connection, _READ):
            yield

    @contextlib.contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """Read one moment of the store, without parallel workers, which would take processor time from senders."""
        with _transaction(connection, _LOOK):
            yield

    def roll_back(self, connection: Connection) -> bool:
        """Roll back an open transaction; see `Driver.roll_back`."""
        if connection.invalidated or raw(connection).closed:
            return False
        if raw(connection).info.transaction_status != TransactionStatus.IDLE:
            raw(connection).execute("ROLLBACK")
        # A server that takes no writes is no longer the primary.
        return bool(raw(connection).execute("SHOW transaction_read_only").fetchone() == ("off",))

    def safe_error(self, error: Exception) -> Exception:
        """Return an error with the server's message only, because its details quote values of rows."""
        cause = getattr(error, "orig", None) or error
        if not isinstance(cause, psycopg.Error) or cause.sqlstate is None or cause.diag.message_primary is None:
            return cause
        # The message of a data error quotes the value.
        data_error = isinstance(cause, psycopg.DataError)
        message = "a value is not of the column's type" if data_error else cause.diag.message_primary
        return type(cause)(f"{message} (SQLSTATE {cause.sqlstate})")

    def clock(self, connection: Connection, now: float) -> float:
        """Return the server's time, since the clocks of the machines may differ."""
        cursor = raw(connection).execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(cursor.fetchone()[0])

    def moved(self, writer: Connection | None) -> str | None:
        """Return None."""
        return None

    def listen(self, report: Callable[[RemoteCommits], None]) -> None:
        """Listen for notifications on a separate connection; see `Driver.listen`."""
        self._listener = Listener(functools.partial(self._session, autocommit=True), report)

    def notify(self, writer: Connection, accepted: Collection[str]) -> None:
        """Notify the listeners of other processes; see `Driver.notify`."""
        raw(writer).execute(_TELL, (CHANNEL, list(accepted)))

    def changed_elsewhere(self, writer: Connection) -> RemoteCommits:
        """Read what is new, this process's own accepts included, with one query that two indexes answer."""
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
        """Stop listening."""
        if self._listener:
            self._listener.close()
            self._listener = None

    def _engine(self, *, autocommit: bool, **options: Any) -> Engine:  # noqa: ANN401 - SQLAlchemy's own options
        engine = create_engine(
            "postgresql+psycopg://",
            creator=functools.partial(self._open, autocommit=autocommit),
            poolclass=NullPool,
            # Connections are closed, not reused, so there is nothing to reset.
            pool_reset_on_return=None,
            use_native_hstore=False,
            **options,
        )
        attach_keys(engine, self.keys)
        return engine

    def _open(self, *, autocommit: bool) -> "psycopg.Connection[Any]":
        connection = self._session(autocommit=autocommit)
        # A pooler may reuse a server connection that has listened: its notifications must not collect here.
        connection.add_notify_handler(_ignore)
        return connection

    def _session(self, *, autocommit: bool) -> "psycopg.Connection[Any]":
        kind = _BoundedConnection if autocommit else psycopg.Connection
        # No prepared statements, since they belong to a session.
        session = kind.connect(self._conninfo, autocommit=autocommit, prepare_threshold=None)
        session.server_cursor_factory = _BinaryCursor
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
    """Roll back the transaction. If that fails, close the connection."""
    driver = None
    try:
        driver = raw(connection)
        driver.rollback()
    except (psycopg.Error, exc.SQLAlchemyError, OSError):
        # This error is not raised, because the caller must get the first one.
        if driver is not None:
            driver.close()


class _BinaryCursor(psycopg.ServerCursor[Any]):
    """A cursor with binary values. In text format, a payload has two digits for each byte."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - psycopg's
        super().__init__(*args, **kwargs)
        self.format = Format.BINARY


class _BoundedConnection(psycopg.Connection[Any]):
    """A connection that fails if the server does not answer in time."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401 - psycopg's
        try:
            return super().wait(gen, interval, ANSWER_SECONDS if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.info.transaction_status == TransactionStatus.ACTIVE:
                # A late answer would be taken for that of the next statement.
                self.close()
            raise


def _ignore(_: object) -> None:
    return None


# The row comparison names one destination, but hides that from the planner: by an order of `id` alone it may take
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
    """The hot queries; see `bridge.store.driver.QueueReader`."""

    def due(self, connection: Connection, lane: str, after: int, limit: int) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = raw(connection).execute(_DUE, (lane, after, lane, limit)).fetchall()
        return rows

    def read(self, connection: Connection, ids: Sequence[int]) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = raw(connection).execute(_READ_DUE, (list(ids), READ_BYTES)).fetchall()
        return rows


class Listener:
    """Reports the commits of other processes until it is closed. A lost connection is opened again.

    `connect` opens a connection in autocommit mode. `report` is called in the listener's thread.
    """

    def __init__(
        self, connect: "Callable[[], psycopg.Connection[Any]]", report: Callable[[RemoteCommits], None]
    ) -> None:
        self.own: int | None = None
        """Server process of this program's own writer, whose notifications are ignored."""
        self._connect = connect
        self._report = report
        self._closed, self._close = os.pipe()
        self._thread = threading.Thread(target=self._run, name="store-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait for its end."""
        os.close(self._close)
        self._thread.join()
        os.close(self._closed)

    def _run(self) -> None:
        while not select.select([self._closed], [], [], 0)[0]:
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._hear(connection)
            except Exception as error:  # noqa: BLE001 - see below
                # The thread goes on after any error: without it, each lead of another process waits for the poll.
                state = error.sqlstate if isinstance(error, psycopg.Error) else None
                log.warning("not_listening", error=state or type(error).__name__, again_in=RECONNECT_SECONDS)
                select.select([self._closed], [], [], RECONNECT_SECONDS)

    def _hear(self, connection: "psycopg.Connection[Any]") -> None:
        """Report notifications until the listener is closed."""
        server = connection.fileno()
        while self._closed not in select.select([server, self._closed], [], [])[0]:
            heard = {each.payload for each in connection.notifies(timeout=0) if each.pid != self.own}
            if heard:
                self._report(RemoteCommits(frozenset(heard - {""}), changed="" in heard))
