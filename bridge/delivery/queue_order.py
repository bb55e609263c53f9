"""Order in which the deliveries of a lane may go. Pure, and kept in memory by the lane's owner.

The queue itself is the table; this holds the part that the lane has read: everything up to `cursor`. It can be dropped
and read again at any time, so nothing here is stored.

Two rules: deliveries of one contact go one at a time in order of receipt, through retries; and deliveries that never
failed go before those that did.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from bridge.store.interface import Due

LARGE_PAYLOAD = 16 * 1024
LARGE_BYTES = 4 * 1024 * 1024
"""Maximum bytes of large payloads in the memory of a lane, from their reading to their settlement. A record and its
request take several times as much. Small payloads are bounded by their number."""


class QueueOrder:
    """Deliveries that a lane knows: ready, waiting for their time or their contact, or out.

    A delivery is out from `take` to `done`, `postpone` or `forget`. Each costs about 150 bytes; the lane bounds their
    number by `len`.
    """

    def __init__(self) -> None:
        self.cursor = 0
        """Highest id that was added: where the lane reads on."""
        self._fresh: deque[Due] = deque()
        self._retries: list[tuple[float, int, Due]] = []
        self._out: dict[int, Due] = {}
        # By contact with a delivery that is known and not done: the deliveries that wait behind it, oldest first.
        self._behind: dict[int, deque[Due] | None] = {}
        self._waiting = 0
        self._large: dict[int, int] = {}

    @property
    def full(self) -> bool:
        """True if the large payloads of deliveries that are out take all the memory that they may."""
        return bool(self._large) and sum(self._large.values()) >= LARGE_BYTES

    def note_size(self, delivery: int, size: int) -> None:
        """Note the size of a payload, which is in memory while its delivery is out."""
        if size > LARGE_PAYLOAD:
            self._large[delivery] = size

    def __len__(self) -> int:
        """Return the number of deliveries that are known and not out."""
        return len(self._fresh) + len(self._retries) + self._waiting

    def add(self, dues: Sequence[Due]) -> None:
        """Add pending deliveries, in order of id; those that are out are known already."""
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

    def has_ready(self, now: float, fresh: int, retries: int) -> bool:
        """Return whether `take` would return any delivery."""
        if self._fresh:
            return fresh > 0
        return retries > 0 and self._due(now)

    def take(self, now: float, fresh: int, retries: int) -> list[int]:
        """Take up to `fresh` deliveries that never failed, and if there are none, up to `retries` that did."""
        taken = [self._fresh.popleft() for _ in range(min(fresh, len(self._fresh)))]
        while not self._fresh and len(taken) < retries and self._due(now):
            taken.append(heapq.heappop(self._retries)[2])
        self._out.update((due.id, due) for due in taken)
        return [due.id for due in taken]

    def has_untried(self) -> bool:
        """Return whether a delivery may go that was never tried."""
        return any(not due.attempts for due in self._fresh)

    def take_untried(self) -> list[int]:
        """Take the oldest delivery that was never tried."""
        for place, due in enumerate(self._fresh):
            if not due.attempts:
                del self._fresh[place]
                self._out[due.id] = due
                return [due.id]
        return []

    def done(self, delivery: int) -> None:
        """Remove a delivery that has left the queue: the next one of its contact may go."""
        self._large.pop(delivery, None)
        self._next_of(self._out.pop(delivery).contact)

    def postpone(self, delivery: int, due_at: float, failures: int) -> None:
        """Keep a delivery for its next attempt; those behind it continue to wait."""
        self._large.pop(delivery, None)
        due = self._out.pop(delivery)
        if due.id > self.cursor:
            # It was forgotten meanwhile and is not read again yet. Known deliveries of its contact are older, and go
            # first.
            self._next_of(due.contact)
        else:
            self._offer(Due(due.id, due.contact, due_at, failures, due.attempts + 1))

    def put_back(self, deliveries: Sequence[int]) -> None:
        """Return deliveries to the places from which they were taken: there is no room for them now."""
        for each in reversed(deliveries):
            due = self._out.pop(each)
            if due.failures:
                self._offer(due)
            else:
                self._fresh.appendleft(due)

    def next_due(self) -> float | None:
        """Return when the next retry is due; None if no retry waits."""
        return self._retries[0][0] if self._retries else None

    def forget(self, out: AbstractSet[int]) -> None:
        """Drop everything but the deliveries that are `out`, to read a queue anew that somebody changed."""
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
