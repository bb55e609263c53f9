"""Asking destinations whether they still hold what they were given: for the command and for the dashboard.

One call at a time for each destination, beside its lane where that is worked here, under the same rate limit. What a
destination has told is left of its quota is for leads, so it is not asked when nothing but the reserve is left; nor
when it says nothing: its connector cannot ask, or it is in trouble.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from bridge.allowance import allowance
from bridge.config.model import Config, Destination, Route
from bridge.reconciliation import Answered, Delivered, DeliveredPage
from connectors.base import Filed

DESTINATIONS_AT_ONCE = 10
SILENT_LIMIT = 3
"""So many calls in a row that tell nothing, and the destination is not asked any more."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How destinations are asked."""

    read: Callable[[str, int | None], Awaitable[DeliveredPage]]
    """Reads what was delivered to a destination, from where the page before it said. Raises StoreUnavailableError."""
    opened: Callable[[Destination], AbstractAsyncContextManager[None]]
    """Has its connector open meanwhile."""
    now: Callable[[], float]
    """Seconds since the epoch."""
    going: Callable[[Destination], bool] = lambda _: True
    """Whether to go on, asked before each call."""
    limit: int | None = None
    """The most records that one destination is asked for: the newest."""
    pause: float = 0.0
    """Seconds between two calls to one destination, which leave its limit to leads."""


async def ask_all(asking: Asking, config: Config, answered: Mapping[str, Answered]) -> None:
    """Ask the destinations that `answered` names, each by itself; what they say is noted there while it comes.

    Raises what `Asking.read` raises; then nobody is asked any more.
    """
    gate = asyncio.Semaphore(DESTINATIONS_AT_ONCE)
    routes = {(chatbot.name, route.name): route for chatbot in config.chatbots.values() for route in chatbot.routes}

    async def ask(destination: Destination) -> None:
        async with gate, asking.opened(destination):
            await _ask(asking, destination, routes, answered[destination.name])

    try:
        async with asyncio.TaskGroup() as group:
            for name in answered:
                group.create_task(ask(config.destinations[name]))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _ask(
    asking: Asking, destination: Destination, routes: Mapping[tuple[str, str], Route], answered: Answered
) -> None:
    silent = 0
    page = DeliveredPage((), None)
    while asking.going(destination) and silent < SILENT_LIMIT and not _spent(destination, asking.now()):
        page = await asking.read(destination.name, page.next)
        rows = page.rows if asking.limit is None else page.rows[: asking.limit - answered.asked]
        filed = _filed(rows, routes)
        told = await _told(destination, filed) if filed else {}
        answered.note(rows, told)
        silent = silent + 1 if filed and all(each is None for each in told.values()) else 0
        if page.next is None or answered.asked == asking.limit:
            return
        if filed:
            await asyncio.sleep(asking.pause)


def _filed(rows: Sequence[Delivered], routes: Mapping[tuple[str, str], Route]) -> list[tuple[int, Filed]]:
    """Give what can be asked for: it has an id there, and its route is still configured."""
    return [
        (each.id, Filed(each.remote_id, route.settings))
        for each in rows
        if each.remote_id and (route := routes.get((each.chatbot, each.route)))
    ]


async def _told(destination: Destination, filed: Sequence[tuple[int, Filed]]) -> Mapping[int, bool | None]:
    """Ask once; where there is no answer nothing is told."""
    try:
        async with asyncio.timeout(destination.timeout):
            said = list(await destination.connector.holds([each for _, each in filed]))
    except Exception:  # noqa: BLE001 - foreign code, and not to know is all there is to say of it
        return {}
    return dict(zip((each for each, _ in filed), said, strict=True)) if len(said) == len(filed) else {}


def _spent(destination: Destination, now: float) -> bool:
    try:
        return allowance(destination.connector.quotas()).retries_until > now
    except Exception:  # noqa: BLE001 - foreign code; what it does not tell forbids nothing
        return False
