"""Decisions after an attempt: about the delivery, and about its lane. Pure: time and chance are passed in.

Only this module decides about retries. A connector reports what happened, and which side is to blame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bridge.config.model import RetrySchedule
from bridge.store.interface import Attempt, Delivery, DeliveryState, Pause, Settlement
from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry

UNCLEAR_LIMIT = 3
"""Number of calls in a row that fail with an unclear blame, after which the destination counts as down."""
LONGEST_PROBE = 300.0
"""Maximum seconds until a paused lane probes, unless the destination asked for more."""

GIVE_UP_ATTEMPTS = 10
"""Number of attempts that a delivery has at least before it is given up: a clock that is set ahead gives up nothing."""
LONGEST_WAIT = 86_400.0
"""Maximum seconds of a pause, unless the schedule's own waits are longer: a destination may ask for a year."""


def longest_wait(schedule: RetrySchedule) -> float:
    """Return the most seconds that a delivery or a lane may wait for its next try."""
    return max(schedule.max, LONGEST_WAIT)


def wait(schedule: RetrySchedule, failures: int, chance: float) -> float:
    """Return the seconds to wait after a number of failures in a row, at least one; `chance` is in [0, 1).

    The wait grows exponentially, up to a length with which the attempts of a delivery fit into `give_up_after`.
    `jitter` shortens it, so that deliveries that failed together do not return together.
    """
    longest = min(schedule.max, max(schedule.initial, schedule.give_up_after / GIVE_UP_ATTEMPTS))
    try:
        grown = min(schedule.initial * schedule.multiplier ** (failures - 1), longest)
    except OverflowError:
        grown = longest
    return grown * (1.0 - schedule.jitter * chance)


class CallTiming(NamedTuple):
    """A call of a connector: when it began, and how many seconds it took."""

    started_at: float
    duration: float

    @property
    def ended_at(self) -> float:
        """Seconds since the epoch."""
        return self.started_at + self.duration


def decide(
    delivery: Delivery, outcome: Outcome, call: CallTiming, schedule: RetrySchedule, chance: float, *, excused: bool
) -> Settlement:
    """Return the settlement of a delivery after a call.

    `excused` means that the lane is paused: a failure with an unclear blame does not count against the record.
    """
    settled = _settlement(delivery, outcome, call)
    if isinstance(outcome, Delivered):
        return settled
    if isinstance(outcome, Rejected):
        return _dead(settled, call.ended_at)
    blameless = outcome.blame is Blame.DESTINATION or (excused and outcome.blame is Blame.UNCLEAR)
    if blameless:
        return settled
    return _postponed(settled, outcome, call.ended_at, schedule, chance)


def dead_letter(delivery: Delivery, reason: Reason, detail: str, now: float) -> Settlement:
    """Return the settlement of a delivery that cannot be sent: its mapping failed, or its route is gone."""
    return Settlement(
        delivery=delivery.id,
        event_id=delivery.event_id,
        route=delivery.route,
        chatbot=delivery.chatbot,
        received_at=delivery.received_at,
        state=DeliveryState.DEAD,
        due_at=None,
        attempts=delivery.attempts,
        failures=delivery.failures,
        failing_since=delivery.failing_since,
        settled_at=now,
        reason=reason,
        detail=detail,
        memo=delivery.memo,
    )


def _settlement(delivery: Delivery, outcome: Outcome, call: CallTiming) -> Settlement:
    """Return the settlement of a delivery after this attempt: delivered, or still pending and due at once."""
    delivered = outcome if isinstance(outcome, Delivered) else None
    failure = None if isinstance(outcome, Delivered) else outcome
    number, ended_at = delivery.attempts + 1, call.ended_at
    return Settlement(
        delivery=delivery.id,
        event_id=delivery.event_id,
        route=delivery.route,
        chatbot=delivery.chatbot,
        received_at=delivery.received_at,
        state=DeliveryState.DELIVERED if delivered else DeliveryState.PENDING,
        due_at=None if delivered else ended_at,
        attempts=number,
        failures=0 if delivered else delivery.failures,
        failing_since=None if delivered else delivery.failing_since,
        settled_at=ended_at if delivered else None,
        reason=failure.reason if failure else None,
        detail=failure.detail if failure else None,
        warning=delivered.warning if delivered else None,
        remote_id=delivered.remote_id if delivered else None,
        remote_url=delivered.remote_url if delivered else None,
        memo={**delivery.memo, **outcome.memo},
        attempt=Attempt(
            number=number,
            started_at=call.started_at,
            duration=call.duration,
            outcome=_WORDS[type(outcome)],
            reason=failure.reason if failure else None,
            status=outcome.status,
            detail=failure.detail if failure else None,
        ),
    )


_WORDS = {Delivered: "delivered", Retry: "retry", Rejected: "rejected"}


def _postponed(settled: Settlement, outcome: Retry, now: float, schedule: RetrySchedule, chance: float) -> Settlement:
    failures = settled.failures + 1
    # Not in the future, where a wrong clock may have put it.
    since = now if settled.failing_since is None else min(settled.failing_since, now)
    counted = settled._replace(failures=failures, failing_since=since)
    end = since + schedule.give_up_after
    if now >= end and settled.attempts >= GIVE_UP_ATTEMPTS:
        return _dead(counted, now)
    due_at = now + (outcome.after if outcome.after is not None else wait(schedule, failures, chance))
    # One attempt is made when the time is over, even if the destination asked for a longer wait.
    return counted._replace(due_at=min(due_at, end) if now < end else due_at)


def _dead(settled: Settlement, now: float) -> Settlement:
    return settled._replace(state=DeliveryState.DEAD, due_at=None, settled_at=now)


@dataclass(frozen=True, slots=True)
class DestinationHealth:
    """Health of a destination, as its calls show it. Each call's outcomes lead to a new value."""

    unclear: int = 0
    """Number of calls in a row that failed with an unclear blame."""
    probes: int = 0
    """Number of calls that failed since the pause began, with the one that began it."""
    pause: Pause | None = None
    since: float = 0.0
    """Time at which the lane learnt that it has to pause, or to pause longer."""
    asked: bool = False
    """True if the destination itself asked for the pause."""

    def after(
        self,
        outcomes: Sequence[Outcome],
        call: CallTiming,
        schedule: RetrySchedule,
        chance: float,
        *,
        decided_at: float | None = None,
        noted_at: float | None = None,
    ) -> "DestinationHealth":
        """Return the health after a call.

        The lane decided on the call at `decided_at`, by default when the call began, and learnt its result at
        `noted_at`, by default when the call ended. Another call that is decided on between the end and that moment is
        under way when the pause begins.

        A call that shows that the destination works (it took or refused a record by itself) ends a pause. A call that
        was under way when the pause began does not lengthen the pause, unless the destination asks for more. It does
        not end a pause that the destination asked for either. It does end a pause that was concluded from failures:
        otherwise a destination that fails now and then would stand still most of the time.
        """
        trouble = _trouble(outcomes)
        began = call.started_at if decided_at is None else decided_at
        # The loop's clock has steps of a millisecond, so a call of the same moment may have been begun before.
        was_on_its_way = self.pause is not None and began <= self.since
        if trouble is None:
            return self if was_on_its_way and self.asked else HEALTHY
        if was_on_its_way and trouble.after is None:
            return self
        unclear = self.unclear + 1
        if trouble.blame is Blame.UNCLEAR and unclear < UNCLEAR_LIMIT and self.pause is None:
            return DestinationHealth(unclear=unclear)
        now = call.ended_at
        pause = self._paused(trouble, now, schedule, chance)
        since = now if noted_at is None else noted_at
        return DestinationHealth(unclear, self.probes + 1, pause, since, asked=trouble.after is not None)

    def _paused(self, trouble: Retry, now: float, schedule: RetrySchedule, chance: float) -> Pause:
        seconds = trouble.after
        if seconds is None:
            seconds = min(wait(schedule, self.probes + 1, chance), LONGEST_PROBE)
        until = now + min(seconds, longest_wait(schedule))
        if self.pause and self.pause.until is not None:
            until = max(until, self.pause.until)
        return Pause(
            "lane", trouble.reason.value, trouble.detail, until, now if self.pause is None else self.pause.since
        )


HEALTHY = DestinationHealth()
"""Health of a destination that works."""


def _trouble(outcomes: Sequence[Outcome]) -> Retry | None:
    """Return the failure that puts the destination in doubt; None if a record shows that it works."""
    doubts = [each for each in outcomes if isinstance(each, Retry) and each.blame in {Blame.DESTINATION, Blame.UNCLEAR}]
    certain = [each for each in doubts if each.blame is Blame.DESTINATION]
    if certain:
        return certain[0]
    return doubts[0] if len(doubts) == len(outcomes) and doubts else None
