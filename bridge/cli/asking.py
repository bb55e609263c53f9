"""Asking destinations whether they still hold what they were given, for `leadbridge reconcile --online`."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.cli.store import OpenStore
from bridge.cli.vault import CommandVault
from bridge.config import Config
from bridge.config.model import Destination, Route
from bridge.store import reconciling
from bridge.store.reconciling import Delivered
from connectors.base import Filed

AT_ONCE = 100
"""Records that one call asks for."""
DESTINATIONS_AT_ONCE = 10


@dataclass(slots=True)
class Answered:
    """What a destination said of what it was given, by chatbot."""

    held: dict[str, int] = field(default_factory=dict)
    untold: dict[str, int] = field(default_factory=dict)
    gone: dict[str, list[int]] = field(default_factory=dict)
    """Ids of the deliveries whose record is not there any more."""


async def ask_all(config: Config, store: OpenStore, first: int) -> Mapping[str, Answered]:
    """Ask all destinations, each by itself, for what was delivered of the events from a `seq` on."""
    gate = asyncio.Semaphore(DESTINATIONS_AT_ONCE)

    async def ask(destination: Destination) -> Answered:
        async with gate:
            return await _ask(destination, config, store, first)

    asked = await asyncio.gather(*map(ask, config.destinations.values()))
    return dict(zip(config.destinations, asked, strict=True))


async def _ask(destination: Destination, config: Config, store: OpenStore, first: int) -> Answered:
    answered, after = Answered(), 0
    routes = {(chatbot.name, route.name): route for chatbot in config.chatbots.values() for route in chatbot.routes}
    destination.connector.open(CommandVault(config, destination.name))
    try:
        while page := _page(store, destination.name, first, after):
            after = page[-1].id
            told = await _told(destination, page, routes)
            for each in page:
                _note(answered, each, told.get(each.id))
    finally:
        await destination.connector.close()
    return answered


def _page(store: OpenStore, name: str, first: int, after: int) -> Sequence[Delivered]:
    with store.reading() as connection:
        return reconciling.delivered(connection, name, first, after, AT_ONCE)


async def _told(
    destination: Destination, page: Sequence[Delivered], routes: Mapping[tuple[str, str], Route]
) -> dict[int, bool | None]:
    """Ask once; what cannot be asked for, or is not answered, is left out or None."""
    filed = [
        (each.id, Filed(each.remote_id, route.settings))
        for each in page
        if each.remote_id and (route := routes.get((each.chatbot, each.route)))
    ]
    if not filed:
        return {}
    try:
        async with asyncio.timeout(destination.timeout):
            said = list(await destination.connector.holds([each for _, each in filed]))
    except Exception:  # noqa: BLE001 - foreign code, and not to know is all there is to say of it
        return {}
    return dict(zip((each for each, _ in filed), said, strict=True)) if len(said) == len(filed) else {}


def _note(answered: Answered, delivery: Delivered, told: bool | None) -> None:  # noqa: FBT001 - the connector's answer
    if told is False:
        answered.gone.setdefault(delivery.chatbot, []).append(delivery.id)
    else:
        counts = answered.held if told else answered.untold
        counts[delivery.chatbot] = counts.get(delivery.chatbot, 0) + 1
