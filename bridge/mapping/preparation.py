"""How deliveries become records to send, without holding up the event loop.

Nearly all of it takes microseconds and is done in the event loop. Large payloads, and work that spends the event loop's
budget, are done in one thread: whatever a lead says, nothing else waits for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bridge import worker
from bridge.config.model import Chatbot, Destination
from bridge.delivery import retry
from bridge.delivery.attempt import Caller
from bridge.delivery.batching import Ready, ready_record
from bridge.delivery.settlement import storable
from bridge.mapping.budget import InlineOverrun
from bridge.mapping.record import LeftOutError, Spoiled, make_record
from bridge.store.interface import Delivery, Settlement
from connectors.base import Reason


@dataclass(slots=True)
class Prepared:
    """What has become of some deliveries."""

    ready: list[Ready] = field(default_factory=list)
    spoiled: list[Settlement] = field(default_factory=list)
    """Dead letters."""
    slow: list[Delivery] = field(default_factory=list)
    """Those that the event loop has no time for."""
    waiting: int = 0
    """How many belong to a chatbot whose file is left out."""


class Preparation:
    """Turns the deliveries of a lane into records; those that cannot be become dead letters, and nothing is sent.

    Args:
        destination: Where they go.
        chatbots: Returns the chatbot of a name in the configuration in use.
        clock: Seconds since the epoch.
        caller: Hears of dead letters.
        log: The lane's.
    """

    def __init__(
        self,
        destination: Destination,
        chatbots: Callable[[str], Chatbot | None],
        clock: Callable[[], float],
        caller: Caller,
        log: Any,  # noqa: ANN401 - structlog's logger, which has no type of its own
    ) -> None:
        self._destination = destination
        self._chatbots = chatbots
        self._clock = clock
        self._caller = caller
        self._log = log

    async def inline(self, deliveries: Sequence[Delivery], now: float) -> Prepared:
        """Prepare deliveries that were read at `now` in the event loop, slice by slice, but for those that are slow."""
        prepared = Prepared()
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
        self._tell(prepared)
        return prepared

    async def aside(self, delivery: Delivery, now: float) -> Prepared:
        """Prepare a slow delivery in the thread."""
        prepared = Prepared()
        await worker.in_thread(partial(self._prepare, delivery, now, prepared))
        self._tell(prepared)
        return prepared

    def _tell(self, prepared: Prepared) -> None:
        if prepared.waiting:
            reason = "the files of their chatbots are left out"
            self._log.warning("deliveries_wait", deliveries=prepared.waiting, reason=reason)

    def _prepare(self, delivery: Delivery, now: float, into: Prepared) -> None:
        try:
            record = make_record(delivery, self._chatbots)
            into.ready.append(ready_record(delivery, record, self._destination, now))
        except LeftOutError:
            # It stays out, and what is behind it, until a reload has the queue read anew.
            into.waiting += 1
        except Spoiled as error:
            into.spoiled.append(self._spoiled(delivery, error.reason, error.detail))
        except Exception as error:  # noqa: BLE001 - see below
            # Transforms and connectors may be anybody's code; its fault must not keep the others from their records.
            self._log.exception("mapping_fault", delivery=delivery.id)
            detail = f"a plugin raised {type(error).__name__}; see the log, fix it, then replay"
            into.spoiled.append(self._spoiled(delivery, Reason.MAPPING, detail))

    def _spoiled(self, delivery: Delivery, reason: Reason, detail: str) -> Settlement:
        self._log.warning("delivery_spoiled", delivery=delivery.id, reason=reason.value)
        self._caller.spoiled(self._destination, delivery, reason)
        return retry.dead_letter(delivery, reason, storable(detail), self._clock())
