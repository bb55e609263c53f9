"""The spool: it keeps events on this machine while the database cannot be reached, and moves them over later.

An event goes to the spool after the database has failed for it. So do all later events until the spool is empty, which
keeps the events of a contact in order. To move an event is to accept it in the database. Its id makes a second accept
harmless, so neither a crash nor a lost answer to a commit loses or doubles an event.

Each moved event is deleted at once, which needs some room on the disk. So the spool takes nothing while little room is
left, and senders try again.
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
LOOK_SECONDS = 1.0
"""Seconds between two attempts to reach the database."""
REFUSED_SECONDS = 30.0
"""Seconds between two attempts, each with a line in the log, while the database refuses this process's events."""

log = structlog.get_logger()


class Spool:
    """Spool that accepts events in place of the store. Used by the event loop's thread.

    `limit` is in bytes of payloads; beyond it no event is accepted, and the sender tries again. `observe` receives the
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
        """Bytes of the waiting payloads."""
        self._store = store
        self._spool = spool
        self._observe = observe
        self._identity_key = identity_key
        self._identity: Identity | None = None
        self._agreed = False
        """True if `_identity` is the database's."""
        self._writing = 0
        """Number of calls that write to the spool."""
        self._idle = asyncio.Event()
        """Set while there are no such calls."""
        self._idle.set()
        self._pause: asyncio.Future[None] | None = None
        """Pending while no such call may begin."""
        self._in_use = asyncio.Event()
        self.refusing: str | None = None
        """Reason why new events are refused; None if they are not."""

    @property
    def in_use(self) -> bool:
        """Return True if events go to the spool."""
        return self._in_use.is_set()

    @property
    def moved(self) -> str | None:
        """The spool's file while its path leads to another file or to none."""
        return self._spool.moved

    @property
    def on_moved(self) -> Callable[[], None]:
        """Callback for each change of `moved`."""
        return self._spool.on_moved

    @on_moved.setter
    def on_moved(self, called: Callable[[], None]) -> None:
        self._spool.on_moved = called

    @property
    def identity(self) -> Identity:
        """Return the keyed hashes in use: the database's, once it was reached."""
        if self._identity is None:
            raise RuntimeError("the spool is not open")
        return self._identity

    async def open(self, identity: Identity | None) -> None:
        """Look for events of an earlier run. Call it before the first event.

        `identity` is the database's, or None while the database is away. Then all events go to the spool until the
        database has been reached, so no event enters it under another id.
        """
        if identity is None:
            own = self._identity_key
            self._identity = await self._spool.identity(None) if own is None else Identity(own)
            self._in_use.set()
        else:
            self._agree(identity)
        self._sized(await self._spool.size())
        if self.size or await self._spool.refused():
            self._in_use.set()

    async def accept(self, routed: Sequence[RoutedEvent]) -> list[bool]:
        """Keep the events in the store, or else in the spool; see `Store.accept`.

        Raises StoreUnavailableError if the spool is full or cannot commit either, and StoreBusyError if the store can
        be reached but has too much to do.
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
        try:
            self._check_room(_bytes(routed))
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
        self._check_room(0)
        with self._put():
            return await self._spool.quarantine(request, identity)

    def _check_room(self, size: int) -> None:
        """Raise StoreUnavailableError if the spool has no room for so many bytes."""
        if self.size + size > self.limit:
            raise StoreUnavailableError("the database cannot be reached, and the spool is full (store.spool_limit)")
        if not self._spool.has_room():
            raise StoreUnavailableError("the database cannot be reached, and the disk of store.spool is nearly full")

    async def _opened(self) -> bool:
        """Wait while the spool is paused. Returns True if events go to the spool."""
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
        """Move the events whenever the database can be reached, until cancelled."""
        while True:
            await self._in_use.wait()
            try:
                if not await self._move():
                    await self._end()
            except StoreUnavailableError:
                # The database is still away, or the spool itself cannot be used. Both may change.
                await asyncio.sleep(LOOK_SECONDS)
                continue
            except OperatorError as error:
                # The database is used with another key. Events wait here until somebody corrects that.
                log.error("spool_not_moved", error=str(error))  # noqa: TRY400 - the message suffices
                await asyncio.sleep(REFUSED_SECONDS)
                continue

    async def _end(self) -> None:
        """Stop using the spool, unless new events have arrived. Calls that write to it wait meanwhile."""
        self._pause = asyncio.get_running_loop().create_future()
        try:
            await self._idle.wait()
            if await self._move():
                return
            # Events that an erasure has deleted were never moved.
            self._sized(0)
            self._in_use.clear()
        finally:
            self._pause.set_result(None)
            self._pause = None
        self._refuse(None)
        log.info("spool_empty")
        await self._spool.truncate_log()

    async def _move(self) -> bool:
        """Move the oldest events, or a request. Returns False if there are none."""
        if not self._agreed:
            self._agree(await self._store.identity(self._identity_key))
        kept, last = await self._spool.oldest(MOVED_AT_ONCE)
        if kept:
            # Events that arrived before the database was reached for the first time have ids of the spool's own key.
            moved = [each._replace(event=identified(each.event, self.identity)) for each in kept]
            await self._store.accept(moved)
            await self._spool.remove(last)
            self._sized(max(0, self.size - _bytes(kept)))
            for before, after in zip(kept, moved, strict=True):
                if before.event.id != after.event.id:
                    log.info("event_renamed", event_id=after.event.id, spooled_as=before.event.id)
        elif refused := await self._spool.refused():
            number, request = refused
            await self._store.quarantine(request, self.identity)
            await self._spool.remove_refused(number)
        else:
            return False
        return True

    def _agree(self, identity: Identity) -> None:
        """Use the database's identity from now on."""
        self._identity, self._agreed = identity, True

    def _refuse(self, why: str | None) -> None:
        """Record the reason why new events are refused; None if they are accepted."""
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
