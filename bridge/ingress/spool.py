"""What is accepted while the database cannot be reached: kept on this machine, and moved over when it is back.

An event is spooled after the database has failed for it, and so is every later one until the spool is empty again:
what one contact sends stays in order. Moving is accepting once more, and the id of an event makes a second time
nothing; so a crash at any point, or a commit of the database whose answer was lost, neither loses nor doubles an event.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from bridge.errors import OperatorError, StoreBusyError, StoreUnavailableError
from bridge.identity import Identity
from bridge.ingress.routing import identified
from bridge.store.interface import QuarantinedRequest, RoutedEvent, Store
from bridge.store.spool import SpoolStore

MOVED_AT_ONCE = 100
"""Events that are moved in one step."""
LOOK_SECONDS = 1.0
"""How often the database is tried while it is away."""
REFUSED_SECONDS = 30.0
"""How often it is tried, and that is logged, while it does not take this process's events."""

log = structlog.get_logger()


class Spool:
    """Takes what the receiver accepts, in place of the store. Lives in the loop's thread.

    `limit` is in bytes of payloads; beyond it nothing is taken, and the sender is told to come again. `observe` is told
    the bytes that wait, whenever they change.
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
        self._written = 0
        """How many have done so."""
        self._in_use = asyncio.Event()

    @property
    def in_use(self) -> bool:
        """Whether events go to the spool."""
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
        """What ids are made with at this moment: the database's key once it was seen, ever."""
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
        if self.size + _bytes(routed) > self.limit:
            raise StoreUnavailableError("the database cannot be reached, and the spool is full (store.spool_limit)")
        self._writing += 1
        try:
            new = await self._spool.accept(routed)
        finally:
            self._written += 1
            self._writing -= 1
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
        self._writing += 1
        try:
            return await self._spool.quarantine(request, identity)
        finally:
            self._written += 1
            self._writing -= 1

    async def run(self) -> None:
        """Move what is spooled whenever the database can be reached; until cancelled."""
        while True:
            await self._in_use.wait()
            written = self._written
            try:
                moved = await self._move()
            except StoreUnavailableError:
                # The database is still away, or the spool itself is in trouble: both may come back.
                await asyncio.sleep(LOOK_SECONDS)
                continue
            except OperatorError as error:
                # The database is used with another key: events wait here until somebody has corrected that.
                log.error("spool_not_moved", error=str(error))  # noqa: TRY400 - its message says all
                await asyncio.sleep(REFUSED_SECONDS)
                continue
            if not moved and not self._writing and self._written == written:
                # It was seen to be empty, and nothing has come since. What an erasure took out of it was never moved.
                self._sized(0)
                self._in_use.clear()
                log.info("spool_empty")

    async def _move(self) -> bool:
        """Move the oldest; says whether there was anything."""
        if not self._agreed:
            await self._agree(await self._store.identity(self._identity_key))
        kept = await self._spool.oldest(MOVED_AT_ONCE)
        if kept:
            # Made anew: what came before the database was ever seen has ids of the spool's own key.
            moved = [each._replace(event=identified(each.event, self.identity)) for each in kept]
            await self._store.accept(moved)
            await self._spool.remove([each.event.id for each in kept])
            self._sized(self.size - _bytes(kept))
            for before, after in zip(kept, moved, strict=True):
                if before.event.id != after.event.id:
                    log.info("event_renamed", event_id=after.event.id, spooled_as=before.event.id)
            return True
        refused = await self._spool.refused()
        if refused:
            number, request = refused
            await self._store.quarantine(request, self.identity)
            await self._spool.remove_refused(number)
            return True
        return False

    async def _agree(self, identity: Identity) -> None:
        """Take the database's identity into use."""
        if self._identity_key is None:
            await self._spool.keep_identity(identity)
        self._identity, self._agreed = identity, True

    def _begin(self, error: Exception) -> None:
        if not self.in_use:
            log.warning("spooling", error=str(error))
            self._in_use.set()

    def _sized(self, size: int) -> None:
        self.size = size
        self._observe(size)


def _bytes(routed: Sequence[RoutedEvent]) -> int:
    return sum(len(each.event.payload) for each in routed)
