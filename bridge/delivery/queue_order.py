"""The order of a lane: which of its deliveries may go now. Pure, and kept in memory by the lane's one owner.

The queue itself is the table; this holds what the lane has read of it so far: everything up to `cursor`. It can be
thrown away and read again at any time, so nothing here needs to be saved.

Two rules: deliveries of one contact go one at a time in order of receipt, through retries; and those that never
failed go before those that did.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from bridge.store.interface import Due

LARGE_PAYLOAD = 16 * 1024
LARGE_BYTES = 4 * 1024 * 1024
"""Bytes of large payloads that a lane has in memory at once, from their reading to their settlement: a record and its
request take several times as much. Small ones are bounded by their number."""


class Agenda:
    """Knows of each delivery it was told whether it is ready, waits for its time or its contact, or is out.

    Costs about 150 bytes for each delivery known; the lane bounds their number by `len`.
    """

    def __init__(self) -> None:
        self.cursor = 0
        """The highest id it was told: where to read on."""
        self._fresh: deque[Due] = deque()
        self._retries: list[tuple[float, int, Due]] = []
        self._out: dict[int, Due] = {}
        # For each contact with a delivery that is known and not done: those that wait behind it, oldest first.
        self._behind: dict[int, deque[Due] | None] = {}
        self._waiting = 0
        self._large: dict[int, int] = {}

    @property
    def full(self) -> bool:
        """Whether the large payloads of those that are out take all the memory that they may."""
        return bool(self._large) and sum(self._large.values()) >= LARGE_BYTES

    def weigh(self, delivery: int, size: int) -> None:
        """Note the size of a payload that is in memory for as long as its delivery is out."""
        if size > LARGE_PAYLOAD:
            self._large[delivery] = size

    def __len__(self) -> int:
        """Count the deliveries known and not out."""
        return len(self._fresh) + len(self._retries) + self._waiting

    def tell(self, dues: Sequence[Due]) -> None:
        """Learn of pending deliveries, in order of id; those that are out already are known."""
        for due in dues:
            self.cursor = max(self.cursor, due.id)
            if due.id in self._out:
                continue
            if due.contact in self._behind:
                behind = self._behind[due.contact]
                if behind is None:
                    behind = self._behind[due.contact] = deque()
                behind.append(due)
                self._waiting += 1
            else:
                self._behind[due.contact] = None
                self._offer(due)

    def ready(self, now: float, fresh: int, retries: int) -> bool:
        """Whether `take` would give anything."""
        if self._fresh:
            return fresh > 0
        return retries > 0 and self._due(now)

    def take(self, now: float, fresh: int, retries: int) -> list[int]:
        """Take up to `fresh` deliveries that never failed, and if there are none, up to `retries` that did.

        Each is out until `done`, `again` or `forget`.
        """
        taken = [self._fresh.popleft() for _ in range(min(fresh, len(self._fresh)))]
        while not self._fresh and len(taken) < retries and self._due(now):
            taken.append(heapq.heappop(self._retries)[2])
        self._out.update((due.id, due) for due in taken)
        return [due.id for due in taken]

    def untried(self) -> bool:
        """Tell whether there is a delivery that may go and that no attempt was made of."""
        return any(not due.attempts for due in self._fresh)

    def take_untried(self) -> list[int]:
        """Take the oldest delivery that no attempt was made of; it is out then."""
        for place, due in enumerate(self._fresh):
            if not due.attempts:
                del self._fresh[place]
                self._out[due.id] = due
                return [due.id]
        return []

    def done(self, delivery: int) -> None:
        """A delivery that was out has left the queue: the next one of its contact may go."""
        self._large.pop(delivery, None)
        self._next_of(self._out.pop(delivery).contact)

    def again(self, delivery: int, due_at: float, failures: int) -> None:
        """A delivery that was out is to be tried again; those behind it go on waiting."""
        self._large.pop(delivery, None)
        due = self._out.pop(delivery)
        if due.id > self.cursor:
            # Forgotten meanwhile and not read again yet: the reading will come to it. What has been read so far of
            # its contact is older, and goes first.
            self._next_of(due.contact)
        else:
            self._offer(Due(due.id, due.contact, due_at, failures, due.attempts + 1))

    def give_back(self, deliveries: Sequence[int]) -> None:
        """Put deliveries that were out back to where they were taken from: there is no room for them now."""
        for each in reversed(deliveries):
            due = self._out.pop(each)
            if due.failures:
                self._offer(due)
            else:
                self._fresh.appendleft(due)

    def next_due(self) -> float | None:
        """When the next retry is due; None if none waits for its time."""
        return self._retries[0][0] if self._retries else None

    def forget(self, out: AbstractSet[int]) -> None:
        """Drop everything but those that are `out`, to read the queue anew: somebody has changed it."""
        self.cursor = 0
        self._out = {delivery: self._out[delivery] for delivery in out}
        self._large = {delivery: size for delivery, size in self._large.items() if delivery in out}
        self._fresh.clear()
        self._retries.clear()
        self._waiting = 0
        self._behind = {due.contact: None for due in self._out.values()}

    def _next_of(self, contact: int) -> None:
        behind = self._behind[contact]
        if behind:
            self._waiting -= 1
            self._offer(behind.popleft())
        else:
            del self._behind[contact]

    def _due(self, now: float) -> bool:
        return bool(self._retries) and self._retries[0][0] <= now

    def _offer(self, due: Due) -> None:
        if due.failures:
            heapq.heappush(self._retries, (due.due_at, due.id, due))
        else:
            self._fresh.append(due)
