"""Waiting for deliveries, for chatbots whose sender gets success only after delivery (`ack: relayed`)."""

import asyncio
from collections.abc import Sequence

from bridge.store.interface import Store


class Relay:
    """Requests that wait for the deliveries of events. Lives in the event loop's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._waits: set[asyncio.Timeout] = set()
        self._closed = False

    def close(self) -> None:
        """End all waits: the process ends, and the sender tries again."""
        self._closed = True
        for each in self._waits:
            if not each.expired():
                each.reschedule(0.0)

    def settled(self, event_ids: frozenset[str]) -> None:
        """Wake the requests that wait for these events; called after each commit of settled deliveries."""
        if self._waiting:
            for event_id in event_ids & self._waiting.keys():
                for waiter in self._waiting[event_id]:
                    waiter.set()

    async def delivered(self, event_ids: Sequence[str], within: float) -> bool:
        """Wait until every delivery of the events is delivered; return False after `within` seconds.

        Earlier deliveries count. After `close` it returns False at once. Raises StoreUnavailableError.
        """
        if self._closed:
            return False
        waiter = asyncio.Event()
        for event_id in event_ids:
            self._waiting.setdefault(event_id, []).append(waiter)
        wait = asyncio.timeout(within)
        self._waits.add(wait)
        try:
            async with wait:
                while await self._store.undelivered(event_ids):
                    await waiter.wait()
                    waiter.clear()
        except TimeoutError:
            return False
        finally:
            self._waits.discard(wait)
            for event_id in event_ids:
                self._waiting[event_id].remove(waiter)
                if not self._waiting[event_id]:
                    del self._waiting[event_id]
        return True
