"""Building of records for deliveries without blocking the event loop.

Most records take microseconds and are built in the event loop. Large payloads, and records that exceed the budget of
the event loop, are built in one thread, so that no lead can block other work.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from structlog.typing import FilteringBoundLogger

from bridge.config.model import Chatbot, Destination
from bridge.delivery import retry
from bridge.delivery.attempt import AttemptRunner
from bridge.delivery.batching import BatchItem, ready_record
from bridge.delivery.settlement import storable
from bridge.mapping import worker
from bridge.mapping.budget import InlineOverrun
from bridge.mapping.record import NotConfiguredError, UnmappableError, build_record
from bridge.store.interface import Delivery, Settlement
from connectors.base import Reason


@dataclass(slots=True)
class PreparedBatch:
    """Result of building records for some deliveries."""

    ready: list[BatchItem] = field(default_factory=list)
    dead_letters: list[Settlement] = field(default_factory=list)
    """Deliveries that became dead letters."""
    slow: list[Delivery] = field(default_factory=list)
    """Deliveries that take too long for the event loop."""
    waiting: int = 0
    """Number of deliveries whose chatbot's file is left out."""


class Preparation:
    """Builder of a lane's records. A delivery without a possible record becomes a dead letter.

    Args:
        destination: Destination of the lane.
        chatbots: Returns a chatbot of the configuration in use, by name.
        clock: Returns seconds since the epoch.
        caller: Receives dead letters.
        log: Logger of the lane.
    """

    def __init__(
        self,
        destination: Destination,
        chatbots: Callable[[str], Chatbot | None],
        clock: Callable[[], float],
        caller: AttemptRunner,
        log: FilteringBoundLogger,
    ) -> None:
        self._destination = destination
        self._chatbots = chatbots
        self._clock = clock
        self._caller = caller
        self._log = log

    async def inline(self, deliveries: Sequence[Delivery], now: float) -> PreparedBatch:
        """Build records in the event loop for deliveries that were read at `now`, except slow ones."""
        prepared = PreparedBatch()
        for at, delivery in enumerate(deliveries, 1):
            if len(delivery.payload) > worker.INLINE_PAYLOAD:
                prepared.slow.append(delivery)
                continue
            try:
                worker.at_once(partial(self._prepare, delivery, now, prepared))
            except InlineOverrun:
                prepared.slow.append(delivery)
            if at % worker.SLICE == 0:
                await asyncio.sleep(0)
        self._log_waiting(prepared)
        return prepared

    async def aside(self, delivery: Delivery, now: float) -> PreparedBatch:
        """Build the record of a slow delivery in the thread."""
        prepared = PreparedBatch()
        await worker.in_thread(partial(self._prepare, delivery, now, prepared))
        self._log_waiting(prepared)
        return prepared

    def _log_waiting(self, prepared: PreparedBatch) -> None:
        if prepared.waiting:
            reason = "the configuration does not name their chatbot or route"
            self._log.warning("deliveries_wait", deliveries=prepared.waiting, reason=reason)

    def _prepare(self, delivery: Delivery, now: float, into: PreparedBatch) -> None:
        try:
            record = build_record(delivery, self._chatbots)
            into.ready.append(ready_record(delivery, record, self._destination, now))
        except NotConfiguredError:
            # It stays out of the queue, with later deliveries of its contact, until a reload reads the queue again.
            into.waiting += 1
        except UnmappableError as error:
            into.dead_letters.append(self._dead_letter(delivery, error.reason, error.detail))
        except Exception as error:  # noqa: BLE001 - see below
            # Transforms and connectors may be foreign code, whose fault must not affect the other deliveries.
            self._log.exception("mapping_fault", delivery=delivery.id)
            detail = f"a plug-in raised {type(error).__name__}; see the log, fix it, then replay"
            into.dead_letters.append(self._dead_letter(delivery, Reason.MAPPING, detail))

    def _dead_letter(self, delivery: Delivery, reason: Reason, detail: str) -> Settlement:
        self._log.warning("delivery_unmappable", delivery=delivery.id, reason=reason.value)
        self._caller.spoiled(self._destination, delivery, reason)
        return retry.dead_letter(delivery, reason, storable(detail), self._clock())
