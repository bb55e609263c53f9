"""The one clock of deliveries: it follows the store's time, and counts on steadily in between.

Every time that a lane compares or writes is of this clock. On PostgreSQL it is the server's, so processes on machines
with different clocks agree on when a delivery is due. On SQLite it is the machine's. It is read along with each renewal
of the leases. When it jumps, all lanes begin anew (`bridge.delivery.supervisor`).
"""

from collections.abc import Callable

JUMP_SECONDS = 1.0
"""Difference from which the clock has jumped; a smaller one is followed silently."""
SHOWN_SECONDS = 60.0
"""Difference since the start of the process from which a change of the machine's clock is shown to the operator."""


class DeliveryClock:
    """Seconds since the epoch by the store's time.

    Args:
        machine: The machine's clock.
        timer: A clock that is never set, such as the event loop's.
    """

    def __init__(self, machine: Callable[[], float], timer: Callable[[], float]) -> None:
        self.machine = machine
        self._timer = timer
        self._offset = self._first = machine() - timer()

    def __call__(self) -> float:
        """Return the time."""
        return self._offset + self._timer()

    def follow(self, time: float, asked_at: float) -> bool:
        """Follow the store's time, which was read between `asked_at` of the timer and now.

        Returns True if the clock has jumped by it.
        """
        before = self._offset
        self._offset = min(max(before, time - self._timer()), time - asked_at)
        return abs(self._offset - before) >= JUMP_SECONDS

    def from_machine(self, moment: float) -> float:
        """Return a moment of the machine's clock, such as a connector reports it, by this clock."""
        ahead = self.machine() - self()
        return moment - ahead if abs(ahead) >= JUMP_SECONDS else moment

    def machine_moved(self) -> float:
        """Return by how many seconds the machine's clock was set forward since the process began, if by many."""
        moved = self.machine() - self._timer() - self._first
        return moved if abs(moved) >= SHOWN_SECONDS else 0.0
