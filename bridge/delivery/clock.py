"""The time that a lane goes by: it never jumps, though somebody may set the machine's clock.

Every deadline of the running process is in steady time. The store keeps the clock's time, which another process reads
later, perhaps under another clock. So times are shifted on their way into the store and out of it, and a time from the
store that is too far ahead is brought near: no mistake of a clock, and no answer of a destination, holds up a lead for
longer than `longest_wait`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from bridge.config.model import RetrySchedule
from bridge.delivery.quota import QuotaHold
from bridge.delivery.retry import CallTiming, longest_wait
from bridge.store.interface import Delivery, Due, Pause, Settlement

NOTICED_SECONDS = 1.0
"""A clock that is off by less is not corrected for: it is being slewed."""
SHOWN_SECONDS = 60.0
"""A clock that was set by so much since the process began is shown to the operator."""
Seconds = Callable[[], float]


def steady(clock: Seconds, timer: Seconds) -> Seconds:
    """Return a clock that shows what `clock` shows now, and goes on as `timer` does."""
    origin = clock() - timer()
    return lambda: origin + timer()


class LaneClock:
    """Steady time, and its relation to the store's.

    Args:
        clock: Seconds since the epoch, as the machine has them.
        now: The same, but steady; by default the machine's.
        schedule: The destination's, which says how far ahead a time may be.
    """

    def __init__(self, clock: Seconds, now: Seconds | None, schedule: RetrySchedule) -> None:
        self.now = now or clock
        """The steady time."""
        self.wall = clock
        """The machine's time."""
        self._longest = longest_wait(schedule)

    @property
    def shift(self) -> float:
        """The seconds by which the machine's clock is ahead of steady time."""
        ahead = self.wall() - self.now()
        return ahead if abs(ahead) >= NOTICED_SECONDS else 0.0

    def dues(self, dues: Sequence[Due]) -> Sequence[Due]:
        """Return what the store says is due when, in steady time."""
        shift, limit = self.shift, self.now() + self._longest
        if not shift and all(each.due_at <= limit for each in dues):
            return dues
        return [replace(each, due_at=min(each.due_at - shift, limit)) for each in dues]

    def delivery(self, delivery: Delivery) -> Delivery:
        """Return a delivery that has not begun to fail in the future."""
        since, shift = delivery.failing_since, self.shift
        if since is None or (not shift and since <= self.now()):
            return delivery
        return replace(delivery, failing_since=min(since - shift, self.now()))

    def pause(self, pause: Pause | None) -> Pause | None:
        """Return a pause from the store in steady time; one that was brought near says so."""
        if pause is None or pause.until is None:
            return pause
        until, limit = pause.until - self.shift, self.now() + self._longest
        if until <= limit:
            return replace(pause, until=until)
        note = f"its end was more than {self._longest / 3600:g} h ahead, perhaps because of a wrong clock"
        return replace(pause, until=limit, detail=f"{pause.detail}; {note}" if pause.detail else note)

    def allowance(self, allowance: QuotaHold) -> QuotaHold:
        """Return what a destination's quotas allow, in steady time."""
        shift, limit = self.shift, self.now() + self._longest
        nothing, retries = allowance.nothing_until - shift, allowance.retries_until - shift
        return QuotaHold(min(nothing, limit), min(retries, limit))

    def stored_pause(self, pause: Pause | None) -> Pause | None:
        """Return a pause for the store."""
        if pause is None or pause.until is None:
            return pause
        return replace(pause, until=pause.until + self.shift)

    def stored(self, settlement: Settlement, shift: float) -> Settlement:
        """Return a settlement for the store, `shift` seconds later; the lane itself goes on with the steady one."""
        if not shift:
            return settlement
        due_at, since, settled_at = settlement.due_at, settlement.failing_since, settlement.settled_at
        attempt = settlement.attempt
        return replace(
            settlement,
            due_at=None if due_at is None else due_at + shift,
            failing_since=None if since is None else since + shift,
            settled_at=None if settled_at is None else settled_at + shift,
            attempt=attempt and replace(attempt, started_at=attempt.started_at + shift),
        )

    def call(self, call: CallTiming) -> CallTiming:
        """Return a call in the machine's time, as metrics have it."""
        return replace(call, started_at=call.started_at + self.shift)
