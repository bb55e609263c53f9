"""Removes what is kept no longer, in small steps beside the traffic.

A clock that is wrong by months would have everything removed at once. So pruning waits where the clock may be wrong:
when it is far beyond the newest event at the start, jumps while the process runs, or is far ahead of the database's.
A quiet installation looks the same as a wrong clock; therefore pruning waits for a day of running time only.
"""

import asyncio
from collections.abc import Callable

import structlog

from bridge.config.model import Config
from bridge.errors import StoreUnavailableError
from bridge.store.interface import Store
from bridge.store.quarantine import AGE_LIMIT

ROUND_SECONDS = 3600.0
"""From the end of one round over the store to the next."""
STEP_SECONDS = 0.2
"""Between two steps of a round: leaves the writer to the traffic."""
DOUBT_SECONDS = 2 * 86_400.0
"""A clock that is further ahead than this may be wrong."""
HELD_SECONDS = 86_400.0
"""For so long a person can see to the clock."""

_DETAIL = "the clock is far beyond the newest event: if it is wrong, correct it within a day of running time"

log = structlog.get_logger()


class ClockDoubt:
    """Decides whether the clock may be wrong. Pure: times are passed in."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._until = 0.0

    def holds(self, now: float, passed: float, there: float, newest: float | None) -> bool:
        """Tell whether pruning must wait.

        Args:
            now: The clock, in seconds since the epoch.
            passed: Seconds of running time, from any moment on.
            there: The store's own clock, or `now` again.
            newest: When the newest event was received, those of the future aside; None if there is none.
        """
        ahead = max(0.0, now - there)
        if self._last is None:
            ahead = max(ahead, there - newest if newest is not None else 0.0)
        else:
            ahead = max(ahead, (now - self._last[0]) - (passed - self._last[1]))
        if ahead > DOUBT_SECONDS:
            self._until = passed + HELD_SECONDS
        self._last = now, passed
        return passed < self._until


async def prune_for_ever(
    config: Callable[[], Config],
    store: Store,
    clock: Callable[[], float],
    held: Callable[[bool], None] = lambda _: None,
) -> None:
    """Go over the store again and again, until cancelled; a crash between two steps leaves the rest for later.

    `held` is called before each round, with whether it waits because the clock may be wrong.
    """
    doubt = ClockDoubt()
    while True:
        try:
            now = clock()
            there, newest = await store.newest(now)
            waits = doubt.holds(now, asyncio.get_running_loop().time(), there, newest)
            held(waits)
            if waits:
                log.warning("pruning_held", detail=_DETAIL)
            else:
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
    count = 0
    while after is not None:
        kept = config().store
        pruned = await store.prune(clock(), kept.retention_delivered, kept.retention_dead, after)
        after = pruned.after
        count += pruned.deleted
        await asyncio.sleep(STEP_SECONDS)
    if count:
        log.info("pruned", events=count)
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
