"""What is accepted while the database cannot be reached: kept on this machine, and moved over when it is back.

An event is spooled after the database has failed for it, and so is every later one until the spool is empty again:
what one contact sends stays in order. Moving is accepting once more, and the id of an event makes a second time
nothing; so a crash at any point, or a commit of the database whose answer was lost, neither loses nor doubles an event.

Moving writes nothing here. How far it has come is kept in memory, and what was moved is deleted when the disk lets it:
a full disk does not keep the events from the database, nor new ones once the last is moved.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

import structlog

from bridge.errors import OperatorError, StoreBusyError, StoreUnavailableError
from bridge.identity import Identity
from bridge.ingress.routing import identified
from bridge.store.interface import QuarantinedRequest, RoutedEvent, Store
from bridge.store.spool import SpoolStore

MOVED_AT_ONCE = 100
"""Events that are moved in one step."""
_DELETED_AT_ONCE = 2 * MOVED_AT_ONCE
LOOK_SECONDS = 1.0
"""How often the database is tried while it is away."""
REFUSED_SECONDS = 30.0
"""How often it is tried, and that is logged, while it does not take this process's events."""

log = structlog.get_logger()


class Spool:
    """Spool that accepts events in place of the store. Lives in the event loop's thread.

    `limit` is in bytes of payloads; beyond it nothing is accepted, and the sender tries again. `observe` receives the
    number of waiting bytes whenever it changes.
    """

    def __init__(
        self,
        store: Store,
        spool: SpoolStore,
        limit: int,
        observe: Callable[[int], None] = lambda _: None,
        *,
        identity_key: bytes | None = None,
    ) -> None:
        self.limit = limit
        self.size = 0
        """Bytes of payloads that wait."""
        self._store = store
        self._spool = spool
        self._observe = observe
        self._identity_key = identity_key
        self._identity: Identity | None = None
        self._agreed = False
        """Whether `_identity` is the database's."""
        self._writing = 0
        """Calls that are putting something into the spool."""
        self._idle = asyncio.Event()
        """Whether there are none."""
        self._idle.set()
        self._pause: asyncio.Future[None] | None = None
        """Pending while nobody may begin such a call."""
        self._in_use = asyncio.Event()
        self.refusing: str | None = None
        """Why new events are refused here, while they are."""
        self.undeleted: str | None = None
        """Why events that were moved cannot be deleted, while they cannot."""
        self._moved_through = 0
        """The number of the last event that was moved."""
        self._moved_requests = 0
        """The id of the last refused request that was moved."""
        self._step = _DELETED_AT_ONCE
        """How many rows are deleted in one transaction: fewer on a disk that is nearly full."""
        self._delete_at = 0.0
        """When deleting is tried again, in the loop's time."""

    @property
    def in_use(self) -> bool:
        """Return True if events go to the spool."""
        return self._in_use.is_set()

    @property
    def moved(self) -> str | None:
        """The spool's file, while its path names another file or none."""
        return self._spool.moved

    @property
    def on_moved(self) -> Callable[[], None]:
        """Called when `moved` has changed."""
        return self._spool.on_moved

    @on_moved.setter
    def on_moved(self, called: Callable[[], None]) -> None:
        self._spool.on_moved = called

    @property
    def identity(self) -> Identity:
        """Return the current keyed hashes: the database's, once it was reached."""
        if self._identity is None:
            raise RuntimeError("the spool is not open")
        return self._identity

    async def open(self, identity: Identity | None) -> None:
        """Look whether an earlier run has left something; call it before the first event.

        `identity` is the database's. It is None while the database is away: then events go to the spool until the
        database has been reached, so none enters it under another id.
        """
        if identity is None:
            self._identity = await self._spool.first_identity(self._identity_key)
            self._in_use.set()
        else:
            await self._agree(identity)
        await self._spool.keep_reserve()
        self._sized(await self._spool.size())
        if self.size or await self._spool.refused():
            self._in_use.set()

    async def accept(self, routed: Sequence[RoutedEvent]) -> list[bool]:
        """Keep the events in the store, or else in the spool; see `Store.accept`.

        Raises StoreUnavailableError if the spool is full or cannot commit either, and StoreBusyError of a store that
        is there but has too much to do.
        """
        if not self.in_use:
            try:
                return await self._store.accept(routed)
            except StoreBusyError:
                raise
            except StoreUnavailableError as error:
                self._begin(error)
        if not await self._opened():
            return await self._store.accept(routed)
        if self.size + _bytes(routed) > self.limit:
            full = "the database cannot be reached, and the spool is full (store.spool_limit)"
            self._refuse(full)
            raise StoreUnavailableError(full)
        try:
            with self._put():
                new = await self._spool.accept(routed)
        except StoreUnavailableError as error:
            self._refuse(str(error))
            raise
        self._refuse(None)
        kept = [each for each, is_new in zip(routed, new, strict=True) if is_new]
        self._sized(self.size + _bytes(kept))
        return new

    async def quarantine(self, request: QuarantinedRequest, identity: Identity) -> bool:
        """Keep a refused request in the store, or in the spool while that is in use; see `Store.quarantine`."""
        if not self.in_use:
            try:
                return await self._store.quarantine(request, identity)
            except StoreBusyError:
                raise
            except StoreUnavailableError as error:
                self._begin(error)
        if not await self._opened():
            return await self._store.quarantine(request, identity)
        with self._put():
            return await self._spool.quarantine(request, identity)

    async def _opened(self) -> bool:
        """Wait while nothing may be put into the spool; say whether something may then."""
        while self._pause:
            await asyncio.shield(self._pause)
        return self.in_use

    @contextlib.contextmanager
    def _put(self) -> Iterator[None]:
        self._writing += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._writing -= 1
            if not self._writing:
                self._idle.set()

    async def run(self) -> None:
        """Move what is spooled whenever the database can be reached; until cancelled."""
        while True:
            if self.undeleted and not self.in_use:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._in_use.wait()
                await self._delete()
                continue
            await self._in_use.wait()
            try:
                if not await self._move():
                    await self._end()
            except StoreUnavailableError:
                # The database is still away, or the spool itself is in trouble: both may come back.
                await asyncio.sleep(LOOK_SECONDS)
                continue
            except OperatorError as error:
                # The database is used with another key: events wait here until somebody has corrected that.
                log.error("spool_not_moved", error=str(error))  # noqa: TRY400 - its message says all
                await asyncio.sleep(REFUSED_SECONDS)
                continue

    async def _end(self) -> None:
        """Stop using the spool, unless something has come meanwhile. Nobody puts anything in while this looks."""
        self._pause = asyncio.get_running_loop().create_future()
        try:
            await self._idle.wait()
            if await self._move():
                return
            # What an erasure took out of it was never moved.
            self._sized(0)
            self._in_use.clear()
        finally:
            self._pause.set_result(None)
            self._pause = None
        self._refuse(None)
        log.info("spool_empty", **({"undeleted": self.undeleted} if self.undeleted else {}))
        await self._spool.truncate_log()
        if not self.undeleted:
            await self._spool.keep_reserve()

    async def _move(self) -> bool:
        """Move the oldest; says whether there was anything."""
        if not self._agreed:
            await self._agree(await self._store.identity(self._identity_key))
        kept, last = await self._spool.oldest(MOVED_AT_ONCE, self._moved_through)
        if kept:
            # Made anew: what came before the database was ever seen has ids of the spool's own key.
            moved = [each._replace(event=identified(each.event, self.identity)) for each in kept]
            await self._store.accept(moved)
            self._moved_through = last
            self._sized(max(0, self.size - _bytes(kept)))
            for before, after in zip(kept, moved, strict=True):
                if before.event.id != after.event.id:
                    log.info("event_renamed", event_id=after.event.id, spooled_as=before.event.id)
        elif refused := await self._spool.refused(self._moved_requests):
            number, request = refused
            await self._store.quarantine(request, self.identity)
            self._moved_requests = number
        else:
            return False
        await self._delete()
        return True

    async def _delete(self) -> None:
        """Delete what was moved; on a disk that is full, later."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._delete_at:
            return
        try:
            try:
                await self._delete_all()
            except StoreUnavailableError:
                self._step = max(1, self._step // 10)
                await self._spool.make_room()
                await self._delete_all()
        except StoreUnavailableError as error:
            self._delete_at = loop.time() + LOOK_SECONDS
            if not self.undeleted:
                detail = "events are moved all the same; make room on the disk of store.spool"
                log.warning("spool_not_deleted", error=str(error), detail=detail)
            self.undeleted = str(error)
            return
        if self.undeleted:
            self.undeleted = None
            self._refuse(None)
            log.info("spool_deleted")
            await self._spool.truncate_log()
            await self._spool.keep_reserve()

    async def _delete_all(self) -> None:
        while await self._spool.remove(self._moved_through, self._step):
            self._step = min(_DELETED_AT_ONCE, 2 * self._step)
        while self._moved_requests and await self._spool.remove_refused(self._moved_requests, self._step):
            pass

    async def _agree(self, identity: Identity) -> None:
        """Take the database's identity into use."""
        if self._identity_key is None:
            try:
                await self._spool.keep_identity(identity)
            except StoreUnavailableError as error:
                # The next start does it. Until then ids may be made with the spool's own key, and are made anew.
                log.warning("identity_not_copied", error=str(error))
        self._identity, self._agreed = identity, True

    def _refuse(self, why: str | None) -> None:
        """Note why new events are refused, or that they are not."""
        if why and not self.refusing:
            log.error("spool_refuses", error=why, detail="senders get 503; make room on the disk of store.spool")
        elif self.refusing and not why:
            log.info("spool_takes")
        self.refusing = why

    def _begin(self, error: Exception) -> None:
        if not self.in_use:
            log.warning("spooling", error=str(error))
            self._in_use.set()

    def _sized(self, size: int) -> None:
        self.size = size
        self._observe(size)


def _bytes(routed: Sequence[RoutedEvent]) -> int:
    return sum(len(each.event.payload) for each in routed)
