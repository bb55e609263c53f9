"""The queue in memory, as far as a lane asks for it; each call takes the time of a round trip."""

import asyncio
import bisect
from collections.abc import Sequence

import orjson

from bridge.store.interface import Delivery, DeliveryState, Due, Lease, Pause, Settlement
from tests.building import lead

ROUND_TRIP = 0.002
"""Seconds that a question takes."""
COMMIT = 0.005
"""Seconds that a change takes."""
PAYLOAD = orjson.dumps(lead())
ROUTE = "crm"
CHATBOT = "website"


class Queue:
    """What has come for one destination."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        """Of all deliveries, in order."""
        self.pending: dict[int, Due] = {}


class MemoryStore:
    """Stands in for `bridge.store.interface.Store`; one for all processes. What was given to it is never lost."""

    def __init__(self) -> None:
        self.arrived_at: dict[int, float] = {}
        """When each delivery was accepted; they are numbered in that order."""
        self.delivered_at: dict[int, float] = {}
        self._queues: dict[str, Queue] = {}
        self._tried: dict[int, Settlement] = {}
        """What was last written of deliveries that have failed."""

    @property
    def pending(self) -> int:
        """How many are not delivered."""
        return len(self.arrived_at) - len(self.delivered_at)

    def take(self, destination: str, contact: int, now: float) -> int:
        """Accept a delivery; give its id."""
        identity = len(self.arrived_at) + 1
        queue = self._queues.setdefault(destination, Queue())
        queue.ids.append(identity)
        queue.pending[identity] = Due(identity, contact, now, 0)
        self.arrived_at[identity] = now
        return identity

    def waits(self, destination: str) -> bool:
        """Tell whether anything is pending of a destination."""
        return destination in self._queues and bool(self._queues[destination].pending)

    async def due(self, lane: str, after: int, limit: int) -> list[Due]:
        """Read what is pending; see `Store.due`."""
        await asyncio.sleep(ROUND_TRIP)
        queue = self._queues[lane]
        found: list[Due] = []
        for place in range(bisect.bisect_right(queue.ids, after), len(queue.ids)):
            if (known := queue.pending.get(queue.ids[place])) is not None:
                found.append(known)
                if len(found) == limit:
                    break
        return found

    async def read(self, lane: str, ids: Sequence[int]) -> list[Delivery]:
        """Read deliveries; see `Store.read`."""
        await asyncio.sleep(ROUND_TRIP)
        return [self._delivery(each) for each in sorted(ids) if each not in self.delivered_at]

    async def settle(self, lease: Lease, settlements: Sequence[Settlement]) -> frozenset[int]:
        """Write outcomes; see `Store.settle`."""
        await asyncio.sleep(COMMIT)
        pending = self._queues[lease.lane].pending
        for each in settlements:
            if each.state is DeliveryState.PENDING and each.due_at is not None:
                self._tried[each.delivery] = each
                known = pending[each.delivery]
                pending[each.delivery] = Due(known.id, known.contact, each.due_at, each.failures)
            else:
                assert each.state is DeliveryState.DELIVERED, each
                assert each.settled_at is not None, each
                del pending[each.delivery]
                self._tried.pop(each.delivery, None)
                self.delivered_at[each.delivery] = each.settled_at
        return frozenset()

    async def pause_of(self, name: str) -> Pause | None:
        """Say that nobody has paused the lane: one that moves is tried anew; see `Store.pause_of`."""
        return None

    async def pause(self, lease: Lease, pause: Pause | None, now: float) -> None:
        """Take note of nothing."""

    def _delivery(self, identity: int) -> Delivery:
        tried = self._tried.get(identity)
        attempts, failures, since = (tried.attempts, tried.failures, tried.failing_since) if tried else (0, 0, None)
        event = f"{identity:032x}"
        received = self.arrived_at[identity]
        return Delivery(identity, event, CHATBOT, PAYLOAD, received, ROUTE, attempts, failures, since, {})
