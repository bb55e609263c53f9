"""The store in SQL. Passes each call to the thread of the writer or of a reader."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar, cast

import structlog
from sqlalchemy import Connection, text

from bridge.errors import RowLockedError, StoreUnavailableError
from bridge.identity import Identity
from bridge.operations.audit import Entry
from bridge.store import audit_log, installation, lease, quarantine, queries, queue, retention
from bridge.store.driver import Driver, RemoteCommits, ThreadConnection, raw
from bridge.store.encryption import keys_of
from bridge.store.interface import (
    Delivery,
    Due,
    Lease,
    Membership,
    Pause,
    QuarantinedRequest,
    RoutedEvent,
    Settlement,
)
from bridge.store.lease import LeaseKeeper
from bridge.store.queue import Accept, Change, CustomChange, Settle
from bridge.store.writer import Writer

READERS = 2
"""Number of threads that read. One slow query does not keep the lanes from their next batch."""
MOVED = "was renamed, removed or replaced while it is in use; put the same file back, or stop and start again"
NOTIFY_SECONDS = 0.05
"""Shortest time between two notifications of other processes. Each notification wakes every process, which costs as
much as a commit."""
SETTLED_ELSEWHERE_SECONDS = 0.5
"""Time after which undelivered events are checked again, because another process may have delivered them."""

log = structlog.get_logger()

T = TypeVar("T")


def _nothing(*_: object) -> None:
    return None


class SqlStore:
    """Implementation of `bridge.store.interface.Store` on an engine with a driver. Create it in the running loop."""

    def __init__(
        self,
        driver: Driver,
        observe: Callable[[int, float], None] = _nothing,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Open the store.

        Args:
            driver: The engine.
            observe: Called with the number of changes and the duration of each commit.
            prepare: Makes the tables. It is called in the writer's thread until it succeeds, and every call of the
                store raises StoreUnavailableError before. Without it, the tables must exist, and StoreUnavailableError
                is raised if the engine cannot be reached.
        """
        self.on_accepted: Callable[[frozenset[str]], None] = _nothing
        self.on_settled: Callable[[frozenset[str]], None] = _nothing
        self.on_changed: Callable[[], None] = _nothing
        self.on_moved: Callable[[], None] = _nothing
        """Called when `moved` has changed."""
        self.moved: str | None = None
        """The store's file while its path leads to another file or to none."""
        self.shared = not driver.exclusive
        self._driver = driver
        self._observe = observe
        self._queue = driver.queue()
        self._loop = asyncio.get_running_loop()
        self._prepare = prepare
        self._own = ThreadConnection(driver, self._opened)
        """Session of the writer."""
        self._keeping = ThreadConnection(driver)
        """Session of the leases, since the writer may have to wait for a locked row."""
        self._sessions = [self._own, self._keeping]
        self._preparing = threading.Lock()
        # From here on, changes by other processes are noticed.
        driver.listen(self._hear)
        if not prepare:
            self._own.open()
        self._local = threading.local()
        self._unannounced: set[str] = set()
        """Destinations whose new deliveries other processes have not been notified of."""
        self._notified_at = -NOTIFY_SECONDS
        self._notification: asyncio.TimerHandle | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._writer: Writer[Change] = Writer(
            self._commit,
            self._committed,
            self._look,
            kind=_kind if driver.commits_by_kind else None,
            patience=driver.patience,
        )
        self._keeper: Writer[Change] = (
            self._writer if driver.exclusive else Writer(self._keep, _nothing, _nothing, kind=_kind)
        )
        self._leases = LeaseKeeper(driver, self._keeper.submit)

    async def accept(self, routed: Sequence[RoutedEvent]) -> list[bool]:
        """Store events with their deliveries; see `Store.accept`."""
        return cast("list[bool]", await self._writer.submit(Accept(routed), sent=True))

    async def settle(self, lease: Lease, settlements: Sequence[Settlement]) -> frozenset[int]:
        """Write the outcomes of deliveries; see `Store.settle`."""
        return cast("frozenset[int]", await self._writer.submit(Settle(lease, settlements)))

    async def due(self, lane: str, after: int, limit: int) -> list[Due]:
        """Read the pending deliveries of a lane; see `Store.due`."""
        rows = await self.query(lambda c: self._queue.due(c, lane, after, limit))
        return [Due(*row) for row in rows]

    async def read(self, lane: str, ids: Sequence[int]) -> list[Delivery]:
        """Read deliveries with their events; see `Store.read`."""

        def query(connection: Connection, wanted: Sequence[int]) -> tuple[list[Delivery], int | None]:
            keys = keys_of(connection)
            rows = self._queue.read(connection, wanted)
            # The statement does not name the lane: the planner would read all pending deliveries of the destination
            # instead of these ids.
            found = [queue.delivery_of(keys, row) for row in rows if row[-1] == lane]
            return found, rows[-1][0] if rows else None

        while ids:
            found, last = await self.query(partial(query, wanted=ids))
            if found or last is None:
                return found
            # All of these were moved to another destination, but later ids may not be.
            ids = [each for each in ids if each > last]
        return []

    async def heartbeat(self, owner: str, names: Sequence[str], now: float, ttl: float) -> Membership:
        """Send a heartbeat and read the other members; see `Store.heartbeat`."""
        return await self._leases.heartbeat(owner, names, now, ttl)

    async def claim(self, owner: str, names: Sequence[str], now: float, ttl: float) -> dict[str, Lease]:
        """Take or renew lanes; see `Store.claim`."""
        return await self._leases.claim(owner, names, now, ttl)

    async def release(self, owner: str | None, names: Sequence[str] | None = None) -> None:
        """Release the owner's lanes; see `Store.release`."""
        await self._leases.release(owner, names)

    async def check(self) -> None:
        """Check that the store can commit; see `Store.check`."""
        # An update that changes no value but is written: only that shows that the disk has room and can be written.
        await self.change(lambda c: c.execute(text("UPDATE alembic_version SET version_num = version_num")))

    async def pause(self, lease_: Lease, pause: Pause | None, now: float) -> None:
        """Write a lane's own pause; see `Store.pause`."""
        await self._leases.pause(lease_, pause, now)

    async def pause_of(self, lane: str) -> Pause | None:
        """Read a lane's pause; see `Store.pause_of`."""
        return await self.query(lambda c: lease.read_pause(c, lane))

    async def undelivered(self, event_ids: Sequence[str]) -> int:
        """Count the undelivered deliveries of events; see `Store.undelivered`."""
        ids = [bytes.fromhex(each) for each in event_ids]
        count = await self.query(lambda c: queries.undelivered(c, ids))
        if count and not self._driver.exclusive:
            # Other processes send no notification when they settle. A query from time to time costs less than a
            # notification for each delivery.
            self._loop.call_later(SETTLED_ELSEWHERE_SECONDS, lambda: self.on_settled(frozenset(event_ids)))
        return count

    async def identity(self, given: bytes | None) -> Identity:
        """Return the identity of the installation; see `Store.identity`."""
        return await self.change(lambda c: installation.adopt(c, given), sent=True)

    async def quarantine(self, request: QuarantinedRequest, identity: Identity) -> bool:
        """Store a refused request in its bounded room; see `Store.quarantine`."""
        return await self.change(lambda c: quarantine.add_request(c, request, identity), sent=True)

    async def note(self, entry: Entry, now: float) -> int:
        """Keep an entry of the audit log; see `Store.note`."""
        return await self.change(lambda c: audit_log.add_entry(c, entry, now))

    async def query(self, function: Callable[[Connection], T]) -> T:
        """Run a query; see `Store.query`."""
        return await self._loop.run_in_executor(self._readers, self._ask, function)

    async def change(self, function: Callable[[Connection], T], *, sent: bool = False) -> T:
        """Run a change; see `Store.change`. `sent`: it comes from a sender, see `Writer.submit`."""
        return cast("T", await self._writer.submit(CustomChange(function), sent=sent))

    async def newest_receipt(self, now: float) -> float | None:
        """Return the receipt of the newest event; see `Store.newest_receipt`."""
        return await self.query(lambda c: retention.newest(c, self._driver.clock(c, now)))

    async def close(self) -> None:
        """Commit waiting changes, then close; see `Store.close`."""
        await self._writer.close()
        await self._keeper.close()
        await asyncio.to_thread(self._readers.shutdown)
        self._driver.close()
        for session in self._sessions:
            session.close()

    def _ask(self, question: Callable[[Connection], T]) -> T:
        """Run a query in a reader's thread, on the connection of that thread."""
        if self._prepare:
            raise StoreUnavailableError(f"{self._driver.name}: the store has not been reached yet")
        session: ThreadConnection | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = ThreadConnection(self._driver)
            self._sessions.append(session)
        return session.read(question)

    def _commit(self, group: Sequence[Change]) -> Sequence[object]:
        """Commit a group in one transaction. Runs in the writer's thread."""
        self._prepared()
        self._in_place()
        try:
            results = self._own.write(lambda connection: self._write(connection, group, self._driver.begin_own))
        except RowLockedError as error:
            if isinstance(group[0], Accept):
                # Another process holds its turn for long. One by one, the events would each wait as long.
                raise StoreUnavailableError(str(error)) from error
            raise
        # If the file was moved meanwhile, the next start may not find the commit.
        self._in_place()
        return results

    def _keep(self, group: Sequence[Change]) -> Sequence[object]:
        """Commit a group about leases. Runs in the thread of the leases."""
        self._prepared()
        return self._keeping.write(lambda connection: self._write(connection, group, self._driver.begin_keeping))

    def _write(self, connection: Connection, group: Sequence[Change], begin: str) -> Sequence[object]:
        if queue.is_one_statement(connection, group):
            return queue.write(connection, group)
        raw(connection).execute(begin)
        results = queue.write(connection, group)
        raw(connection).execute("COMMIT")
        return results

    def _in_place(self) -> None:
        """Raise StoreUnavailableError while the path does not lead to the open file. Runs in the writer's thread."""
        moved = self._driver.moved(self._own.connection)
        if moved != self.moved:
            self.moved = moved
            if moved:
                log.error("store_moved", file=moved, detail=MOVED)
            else:
                log.info("store_in_place")
            self._loop.call_soon_threadsafe(self.on_moved)
        if moved:
            raise StoreUnavailableError(f"{moved}: {MOVED}")

    def _prepared(self) -> None:
        """Prepare the store if it was away at the start. Raises StoreUnavailableError."""
        with self._preparing:
            if self._prepare:
                self._prepare()
                self._prepare = None

    def _opened(self, connection: Connection) -> None:
        """Prepare a new connection of the writer. Runs in the writer's thread."""
        self._driver.changed_elsewhere(connection)
        # Without a connection, changes by other processes were not noticed.
        self._loop.call_soon_threadsafe(self.on_changed)

    def _look(self) -> None:
        """Do upkeep and look for changes by other processes. Runs in the writer's thread from time to time."""
        try:
            self._prepared()
            self._in_place()
            news = self._own.write(self._looked)
        except StoreUnavailableError:
            # The callers of the store get this error.
            return
        if news.changed or news.accepted:
            self._hear(news)

    def _looked(self, connection: Connection) -> RemoteCommits:
        self._driver.tidy(connection)
        return self._driver.changed_elsewhere(connection)

    def _hear(self, news: RemoteCommits) -> None:
        """Pass commits of other processes to the loop. Runs in the writer's thread or the driver's."""
        self._loop.call_soon_threadsafe(self._heard, news)

    def _heard(self, news: RemoteCommits) -> None:
        """Call the listeners about commits of other processes. Runs in the loop."""
        if news.changed:
            self.on_changed()
        if news.accepted:
            self.on_accepted(news.accepted)

    def _committed(self, group: Sequence[Change], results: Sequence[object], took: float) -> None:
        """Call the listeners after a commit. Runs in the loop."""
        destinations: set[str] = set()
        settled: set[str] = set()
        for change, result in zip(group, results, strict=True):
            if isinstance(result, Exception):
                continue
            if isinstance(change, Accept):
                for routed in change.routed:
                    for each in routed.deliveries:
                        if not each.problem:
                            destinations.add(each.destination)
            elif isinstance(change, Settle):
                settled.update(each.event_id for each in change.settlements)
        self._observe(len(group), took)
        if destinations:
            self.on_accepted(frozenset(destinations))
            self._notify_soon(destinations)
        if settled:
            self.on_settled(frozenset(settled))

    def _notify_soon(self, destinations: set[str]) -> None:
        """Notify other processes of new deliveries, at least `NOTIFY_SECONDS` after the last notification."""
        if self._driver.exclusive:
            return
        self._unannounced |= destinations
        if self._notification is None:
            at = max(self._loop.time(), self._notified_at + NOTIFY_SECONDS)
            self._notification = self._loop.call_at(at, self._notify)

    def _notify(self) -> None:
        """Notify other processes. Runs in the loop. If it fails, the others find out by themselves (`_look`)."""
        self._notification = None
        self._notified_at = self._loop.time()
        names, self._unannounced = self._unannounced, set()
        with contextlib.suppress(StoreUnavailableError):
            # No one waits for it, so it may wait for others like the changes from senders.
            notified = self._writer.submit(CustomChange(lambda c: self._driver.notify(c, names)), sent=True)
            notified.add_done_callback(lambda done: done.cancelled() or done.exception())


def _kind(change: Change) -> int | str:
    """Return the kind of a change: accepts share commits, outcomes share commits, and each other change is alone.

    Each other change may lock several lanes in the order of their names, which two changes together would not keep.
    """
    return id(change) if isinstance(change, CustomChange) else type(change).__name__
