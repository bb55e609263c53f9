"""One call of a connector, which may be anybody's code: whatever it does becomes an outcome of each record."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from bridge.config.model import Destination
from bridge.delivery import retry
from bridge.delivery.batching import Ready
from bridge.delivery.quota import Allowance, allowance
from bridge.delivery.settlement import cleaned
from bridge.store.interface import Delivery
from connectors.base import Blame, Connector, Delivered, Outcome, Reason, Rejected, Retry

Observe = Callable[[str, Outcome, retry.Call, float], None]
"""Told of each attempt: the destination, its outcome, the call, and when the event had been received."""


class Caller:
    """Makes the calls of all lanes of a process, and has somebody told of each attempt (`attempted`).

    Where more is to be known of an attempt, such as its trace, a subclass sees to it: here it costs nothing.
    """

    def __init__(self, attempted: Observe = lambda *_: None) -> None:
        self.attempted = attempted

    async def deliver(
        self,
        destination: Destination,
        batch: Sequence[Ready],
        clock: Callable[[], float],
        log: Any,  # noqa: ANN401 - structlog's logger, which has no type of its own
    ) -> tuple[Sequence[Outcome], retry.Call]:
        """Give a batch to the destination's connector; one outcome for each, and when the call was and how long.

        The rate limit is its lane's to keep (`Pace.prepay`). Cancelled, it leaves open what was written. May be called
        in parallel.
        """
        records = [each.record for each in batch]
        started = clock()
        outcomes: Sequence[Outcome]
        try:
            async with asyncio.timeout(destination.timeout):
                given: Sequence[Any] = await destination.connector.deliver(records)
            outcomes = [cleaned(each) for each in given if isinstance(each, Outcome)]
        except TimeoutError:
            outcomes = [Retry(Reason.TIMEOUT, f"no answer within {destination.timeout:g} s")] * len(records)
        except Exception as error:
            log.exception("connector_failed", error=type(error).__name__)
            detail = f"the connector raised {type(error).__name__}; see the log"
            outcomes = [Retry(Reason.CONNECTOR_ERROR, detail)] * len(records)
        if len(outcomes) != len(records):
            detail = f"the connector gave {len(outcomes)} outcomes for {len(records)} records"
            outcomes = [Retry(Reason.CONNECTOR_ERROR, detail)] * len(records)
        return outcomes, retry.Call(started, max(0.0, clock() - started))

    def spoiled(self, destination: Destination, delivery: Delivery, reason: Reason) -> None:
        """Hear of a delivery that became a dead letter because no record can be made of its event."""


def allowed(connector: Connector, log: Any) -> Allowance:  # noqa: ANN401 - as above
    """Say what the quotas allow that the connector knows of after a call."""
    try:
        return allowance(connector.quotas())
    except Exception as error:
        log.exception("connector_failed", error=type(error).__name__)
        return Allowance()


def refused_whole(outcomes: Sequence[Outcome]) -> bool:
    """Tell whether a batch was refused for a record that is not named: it is to be split."""
    return all(isinstance(each, Rejected) and each.blame is Blame.BATCH for each in outcomes)


def log_attempt(log: Any, each: Ready, outcome: Outcome, call: retry.Call) -> None:  # noqa: ANN401 - structlog's logger
    """Log what came of a record, without the detail: it may hold the lead. `leadbridge deliveries show` has it."""
    failed = {} if isinstance(outcome, Delivered) else {"reason": outcome.reason.value}
    log.info(
        "attempt",
        delivery=each.delivery.id,
        event_id=each.delivery.event_id,
        outcome=type(outcome).__name__.lower(),
        status=outcome.status,
        seconds=round(call.duration, 4),
        **failed,
    )
