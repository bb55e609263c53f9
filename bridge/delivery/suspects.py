"""Judgement of failures that a connector blames on the destination, or on either side. Pure.

A connector sees one answer. The lane sees all of them: if other records are delivered between the failures of one
record, the fault is that record's, whatever the connector says. Such a failure is counted against the record and no
longer pauses the lane. So one record alone cannot keep a lane paused, and it is given up after `give_up_after`.

Nothing is stored besides the number of attempts. After a restart a record that has failed often enough is judged at its
next failure, once another record was delivered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bridge.delivery.retry import HEALTHY, DestinationHealth
from bridge.store.interface import Delivery
from connectors.base import Blame, Delivered, Outcome, Reason, Retry

ATTEMPTS_LIMIT = 5
"""Number of attempts from which a failure that only one record meets is that record's."""
SHARE = 4
"""Factor by which a batch is smaller for records that have failed together, so that the cause ends up alone."""
KNOWN_LIMIT = 10_000
"""Maximum number of failed deliveries that are remembered. The oldest is forgotten first."""

ABOUT_ACCOUNT = frozenset({Reason.UNAUTHORIZED, Reason.FORBIDDEN, Reason.RATE_LIMITED, Reason.UNREACHABLE})
"""Reasons that concern the account or the network. A record that fails so, with no other one to compare, waits."""

_OWN = "other records are delivered meanwhile, so this failure counts against the record"
_ONLY = "no other record fails, so this failure counts against the record too"


class Judgement(NamedTuple):
    """Outcomes of a call, after the lane has compared them with those of other records."""

    outcomes: Sequence[Outcome]
    """Outcome of each record, with the blame that the lane has found."""
    signs: Mapping[int, Outcome]
    """By delivery: outcomes that say something about the destination."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Last failure of a delivery."""

    delivered: int
    """Number of records that the lane had delivered by then."""
    attempts: int
    own: bool
    """True if the delivery itself is to blame."""


class Suspects:
    """Deliveries whose calls have failed, and that may be to blame.

    `shares` is the most records of the next call with a delivery that has failed together with others.
    """

    def __init__(self) -> None:
        self.shares: dict[int, int] = {}
        self._failures: dict[int, _Failure] = {}
        self._delivered = 0
        self._ids: set[int] = set()
        """Deliveries that have failed since the destination worked last."""
        self._is_certain = False
        """True if a connector blames the destination."""
        self._is_asked = False
        """True if the destination asked for a pause."""

    def judge(self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome]) -> Judgement:
        """Return the outcomes of a call with their blame corrected."""
        delivered = sum(isinstance(each, Delivered) for each in outcomes)
        self._delivered += delivered
        judged, signs = [], {}
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            if not (isinstance(outcome, Retry) and outcome.blame in {Blame.DESTINATION, Blame.UNCLEAR}):
                self._forget(delivery.id)
                judged.append(outcome)
                signs[delivery.id] = outcome
                continue
            failure = self._failure(delivery, is_alone=len(outcomes) == 1 or delivered > 0)
            self._remember(delivery.id, failure, len(outcomes))
            if failure.own:
                judged.append(_against_record(outcome, _OWN))
                continue
            signs[delivery.id] = outcome
            counts = len(outcomes) == 1 and self._is_only_one(delivery.id, failure, outcome)
            judged.append(_against_record(outcome, _ONLY) if counts else outcome)
        return Judgement(judged, signs)

    def add(self, signs: Mapping[int, Outcome], health: DestinationHealth) -> None:
        """Add the outcomes of a call, after which the destination has this health."""
        if health == HEALTHY:
            self._ids.clear()
            self._is_certain = False
            return
        self._ids.update(each for each, outcome in signs.items() if isinstance(outcome, Retry))
        self._is_certain |= any(isinstance(each, Retry) and each.blame is Blame.DESTINATION for each in signs.values())
        self._is_asked = health.asked

    @property
    def alone(self) -> bool:
        """True if it is a single delivery, so that any other one shows which side is to blame.

        The destination's own trouble is believed until the delivery has failed often.
        """
        if len(self._ids) != 1:
            return False
        (only,) = self._ids
        failure = self._failures.get(only)
        has_failed_often = failure is not None and failure.attempts >= ATTEMPTS_LIMIT
        return not self._is_certain or (has_failed_often and not self._is_asked)

    def _failure(self, delivery: Delivery, *, is_alone: bool) -> _Failure:
        """Return the failure of a delivery; `is_alone` is whether no other record of its call had to fail with it."""
        last = self._failures.get(delivery.id)
        attempts = delivery.attempts + 1
        # A first failure compares with nothing. One before a restart came before everything that is delivered now.
        before = last.delivered if last else (0 if delivery.attempts else self._delivered)
        is_contradicted = is_alone and self._delivered > before and attempts >= ATTEMPTS_LIMIT
        return _Failure(self._delivered, attempts, is_contradicted or (last is not None and last.own))

    def _is_only_one(self, delivery: int, failure: _Failure, outcome: Retry) -> bool:
        """Return whether a failure of a quiet lane counts against the record, although the lane pauses."""
        return (
            outcome.blame is Blame.DESTINATION
            and outcome.reason not in ABOUT_ACCOUNT
            and failure.attempts >= ATTEMPTS_LIMIT
            and self._ids == {delivery}
        )

    def _remember(self, delivery: int, failure: _Failure, company: int) -> None:
        self._failures[delivery] = failure
        if company > 1:
            # Later it goes alone: the batches of before a restart are forgotten.
            self.shares[delivery] = 1 if failure.attempts >= ATTEMPTS_LIMIT else max(1, company // SHARE)
        if len(self._failures) > KNOWN_LIMIT:
            self._forget(next(iter(self._failures)))

    def _forget(self, delivery: int) -> None:
        self._failures.pop(delivery, None)
        self.shares.pop(delivery, None)


def _against_record(outcome: Retry, why: str) -> Retry:
    return replace(outcome, blame=Blame.RECORD, detail=f"{outcome.detail}; {why}")
