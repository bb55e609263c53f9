"""Removes what is kept no longer, in small steps beside the traffic."""

import asyncio
from collections.abc import Callable

import structlog

from bridge.config.model import Config
from bridge.errors import StoreUnavailableError
from bridge.store.base import Store

ROUND_SECONDS = 3600.0
"""From the end of one round over the store to the next."""
STEP_SECONDS = 0.2
"""Between two steps of a round: leaves the writer to the traffic."""

log = structlog.get_logger()


async def prune_for_ever(config: Callable[[], Config], store: Store, clock: Callable[[], float]) -> None:
    """Go over the store again and again, until cancelled; a crash between two steps leaves the rest for later."""
    cursor: int | None = None
    while True:
        settings = config().store
        try:
            cursor = await store.prune(
                clock(), settings.retention_delivered, settings.retention_dead, after=cursor or 0
            )
        except StoreUnavailableError as error:
            log.warning("not_pruned", error=str(error))
            cursor = None
        await asyncio.sleep(ROUND_SECONDS if cursor is None else STEP_SECONDS)
