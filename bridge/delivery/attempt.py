"""Calls of connectors. A connector may be anybody's code, so each result and error becomes an outcome."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.trace import Tracer
from structlog.typing import FilteringBoundLogger

from bridge.config.model import Destination
from bridge.delivery import retry
from bridge.delivery.attempt_spans import AttemptSpans, trace_spoiled
from bridge.delivery.batching import BatchItem
from bridge.delivery.clock import DeliveryClock
from bridge.delivery.rate_limit import NO_HOLD, QuotaHold, quota_hold
from bridge.delivery.settlement import clean_outcome
from bridge.store.interface import Delivery
from connectors.base import Blame, Connector, Delivered, Outcome, Reason, Record, Rejected, Retry

Observe = Callable[[str, Outcome, retry.CallTiming, float], None]
"""Called for each attempt with the destination, the outcome, the call, and when the event was received."""


class AttemptRunner:
    """Makes the calls of all lanes of a process, and reports each attempt to `attempted`.

    With a tracer, each attempt has a span.
    """

    def __init__(self, attempted: Observe = lambda *_: None, tracer: Tracer | None = None) -> None:
        self.attempted = attempted
        self._tracer = tracer

    async def deliver(
        self,
        destination: Destination,
        batch: Sequence[BatchItem],
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> tuple[Sequence[Outcome], retry.CallTiming]:
        """Deliver a batch; return an outcome for each record, and the call.

        The lane keeps the rate limit (`Pace.prepay`). After a cancellation nobody knows which records were written.
        Calls may run in parallel.
        """
        if self._tracer is None:
            return await self._deliver(destination, batch, clock, log)
        with AttemptSpans(self._tracer, destination, [each.delivery for each in batch]) as spans:
            outcomes, call = await self._deliver(destination, batch, clock, log)
            spans.settle(outcomes, split=len(batch) > 1 and refused_whole(outcomes))
        return outcomes, call

    async def _deliver(
        self,
        destination: Destination,
        batch: Sequence[BatchItem],
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> tuple[Sequence[Outcome], retry.CallTiming]:
        records = [each.record for each in batch]
        started = clock()
        outcomes: Sequence[Outcome]
        try:
            async with asyncio.timeout(destination.timeout):
                given: Sequence[Any] = await destination.connector.deliver(records)
            outcomes = [clean_outcome(each) for each in given if isinstance(each, Outcome)]
        except TimeoutError:
            outcomes = [Retry(Reason.TIMEOUT, f"no answer within {destination.timeout:g} s")] * len(records)
        except Exception as error:
            log.exception("connector_failed", error=type(error).__name__)
            detail = f"the connector raised {type(error).__name__}; see the log"
            outcomes = [Retry(Reason.CONNECTOR_ERROR, detail)] * len(records)
        if len(outcomes) != len(records):
            detail = f"the connector returned {len(outcomes)} outcomes for {len(records)} records"
            outcomes = [Retry(Reason.CONNECTOR_ERROR, detail)] * len(records)
        outcomes = [_with_mapped(each, record) for each, record in zip(outcomes, records, strict=True)]
        return outcomes, retry.CallTiming(started, max(0.0, clock() - started))

    def spoiled(self, destination: Destination, delivery: Delivery, reason: Reason) -> None:
        """Trace a delivery that became a dead letter because its event cannot be mapped."""
        if self._tracer is not None:
            trace_spoiled(self._tracer, destination, delivery, reason)


def _with_mapped(outcome: Outcome, record: Record) -> Outcome:
    """Return an outcome that names mapped fields only: they are labels of a metric, so their number is bounded."""
    if not isinstance(outcome, Delivered) or not outcome.left_out:
        return outcome
    return replace(outcome, left_out=tuple(name for name in outcome.left_out if name in record.fields))


def call_allowance(connector: Connector, clock: DeliveryClock, log: FilteringBoundLogger) -> QuotaHold:
    """Return what the quotas allow that the connector knows after a call, whose times are the machine's."""
    try:
        return quota_hold([replace(each, until=clock.from_machine(each.until)) for each in connector.quotas()])
    except Exception as error:
        log.exception("connector_failed", error=type(error).__name__)
        return NO_HOLD


def refused_whole(outcomes: Sequence[Outcome]) -> bool:
    """Return whether a batch was refused because of a record that is not named, so that it must be split."""
    return all(isinstance(each, Rejected) and each.blame is Blame.BATCH for each in outcomes)


def log_attempt(log: FilteringBoundLogger, each: BatchItem, outcome: Outcome, call: retry.CallTiming) -> None:
    """Log the outcome of a record without its detail, which may hold the lead (`leadbridge deliveries show`)."""
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
