"""Removes what is kept no longer, in small steps beside the traffic."""

import asyncio
from collections.abc import Callable

import structlog

from bridge.config.model import Config
from bridge.errors import StoreUnavailableError
from bridge.store.base import Store
from bridge.store.quarantine import AGE_LIMIT

ROUND_SECONDS = 3600.0
"""From the end of one round over the store to the next."""
STEP_SECONDS = 0.2
"""Between two steps of a round: leaves the writer to the traffic."""

log = structlog.get_logger()


async def prune_for_ever(config: Callable[[], Config], store: Store, clock: Callable[[], float]) -> None:
    """Go over the store again and again, until cancelled; a crash between two steps leaves the rest for later."""
    while True:
        try:
            await _round(config, store, clock)
        except StoreUnavailableError as error:
            log.warning("not_pruned", error=str(error))
        await asyncio.sleep(ROUND_SECONDS)


async def _round(config: Callable[[], Config], store: Store, clock: Callable[[], float]) -> None:
    """Go over it once.

    The audit log is kept as long as the longest-kept event: who has done something is known as long as what it was
    done to may be there.
    """
    after: int | None = 0
    while after is not None:
        kept = config().store
        after = await store.prune(clock(), kept.retention_delivered, kept.retention_dead, after)
        await asyncio.sleep(STEP_SECONDS)
    more = True
    while more:
        more = await store.prune_quarantine(clock() - AGE_LIMIT)
        more = await store.prune_tombstones(clock()) or more
        await asyncio.sleep(STEP_SECONDS)
    more = True
    while more:
        kept = config().store
        more = await store.prune_audit(clock() - max(kept.retention_delivered, kept.retention_dead))
        await asyncio.sleep(STEP_SECONDS)
