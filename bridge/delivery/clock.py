"""The clock of a lane, which never jumps, even if somebody sets the machine's clock.

Every deadline of the running process is in steady time. The store keeps the machine's time, which another process reads
later, perhaps under another clock. So times are shifted on their way into the store and out of it, and a time from the
store is limited to `longest_wait` ahead: no wrong clock, and no answer of a destination, delays a lead for longer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from bridge.config.model import RetrySchedule
from bridge.delivery.quota import NO_HOLD, QuotaHold
from bridge.delivery.retry import CallTiming, longest_wait
from bridge.store.interface import Delivery, Due, Pause, Settlement

NOTICED_SECONDS = 1.0
"""Difference of the clocks below which times are not shifted: such a clock is being slewed."""
SHOWN_SECONDS = 60.0
"""Difference since the start of the process from which it is shown to the operator."""
Seconds = Callable[[], float]


def steady(clock: Seconds, timer: Seconds) -> Seconds:
    """Return a clock that starts at the time of `clock` and advances with `timer`."""
    origin = clock() - timer()
    return lambda: origin + timer()


class LaneClock:
    """Steady time, and its relation to the store's.

    Args:
        clock: The machine's clock, in seconds since the epoch.
        now: The same, but steady; the machine's clock by default.
        schedule: Schedule of the destination, which determines how far ahead a time may be.
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
        """Return the due times from the store in steady time."""
        shift, limit = self.shift, self.now() + self._longest
        if not shift and all(each.due_at <= limit for each in dues):
            return dues
        return [each._replace(due_at=min(each.due_at - shift, limit)) for each in dues]

    def delivery(self, delivery: Delivery) -> Delivery:
        """Return a delivery whose first failure is in steady time, and not in the future."""
        since, shift = delivery.failing_since, self.shift
        if since is None or (not shift and since <= self.now()):
            return delivery
        return delivery._replace(failing_since=min(since - shift, self.now()))

    def pause(self, pause: Pause | None) -> Pause | None:
        """Return a pause from the store in steady time, with a note if its end had to be limited."""
        if pause is None or pause.until is None:
            return pause
        until, limit = pause.until - self.shift, self.now() + self._longest
        if until <= limit:
            return replace(pause, until=until)
        note = f"its end was more than {self._longest / 3600:g} h ahead, perhaps because of a wrong clock"
        return replace(pause, until=limit, detail=f"{pause.detail}; {note}" if pause.detail else note)

    def allowance(self, allowance: QuotaHold) -> QuotaHold:
        """Return the times of a destination's quotas in steady time."""
        if allowance is NO_HOLD:
            return allowance
        shift, limit = self.shift, self.now() + self._longest
        nothing, retries = allowance.nothing_until - shift, allowance.retries_until - shift
        return QuotaHold(min(nothing, limit), min(retries, limit))

    def stored_pause(self, pause: Pause | None) -> Pause | None:
        """Return a pause for the store."""
        if pause is None or pause.until is None:
            return pause
        return replace(pause, until=pause.until + self.shift)

    def stored(self, settlement: Settlement, shift: float) -> Settlement:
        """Return a settlement for the store, `shift` seconds later. The lane itself keeps the steady one."""
        if not shift:
            return settlement
        due_at, since, settled_at = settlement.due_at, settlement.failing_since, settlement.settled_at
        attempt = settlement.attempt
        return settlement._replace(
            due_at=None if due_at is None else due_at + shift,
            failing_since=None if since is None else since + shift,
            settled_at=None if settled_at is None else settled_at + shift,
            attempt=attempt and attempt._replace(started_at=attempt.started_at + shift),
        )

    def call(self, call: CallTiming) -> CallTiming:
        """Return a call in the machine's time, for metrics."""
        shift = self.shift
        return call._replace(started_at=call.started_at + shift) if shift else call
