"""One simulation, and what came of it."""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from tests.simulation.clock import simulated
from tests.simulation.cluster import Cluster, name_of
from tests.simulation.memory import MemoryStore
from tests.simulation.world import Arrival, Crm, Scenario, arrivals

DRAIN_SECONDS = 4 * 3600.0
"""How long what waits at the end may take."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the receipt of leads to their CRM."""

    count: int
    median: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation has shown."""

    scenario: Scenario
    leads: int
    undisturbed: Times
    """Of leads whose lane was not left by a dying process, and whose destination was there."""
    taken_over: Times
    """Of those that came while their lane had no owner, or were on their way when its process died."""
    away: Times
    """Of those whose destination was away when they came."""
    ownerless: float
    """For how long a lane had no owner, at most, in seconds."""
    smallest_share: int
    """Lanes of the process that has the fewest."""
    largest_share: int
    worked: int
    """Lanes that had anything to do."""
    busiest: float
    """The share of its processor that the busiest process used."""
    largest: float
    """Leads per second of the destination that gets the most."""
    wall: float
    """Seconds that the simulation took."""


def run(scenario: Scenario, crm: Crm | None = None) -> Outcome:
    """Simulate. The same scenario gives the same outcome, but for `wall`."""
    # Each attempt is a line of the log.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return simulated(_run(scenario, crm or Crm()))
    finally:
        structlog.reset_defaults()


async def _run(scenario: Scenario, crm: Crm) -> Outcome:
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    store = MemoryStore()
    cluster = Cluster(scenario, crm, store)
    everybody = list(cluster.processes)
    leads: dict[int, Arrival] = {}
    under_way: set[asyncio.Task[None]] = set()

    async def accept(lead: Arrival) -> None:
        leads[await cluster.accept(lead)] = lead

    async def kill() -> None:
        await asyncio.sleep(scenario.killed_at)
        await cluster.kill(scenario.kills)

    under_way.add(loop.create_task(kill()))
    for lead in arrivals(scenario):
        await asyncio.sleep(lead.at - loop.time())
        task = loop.create_task(accept(lead))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    while store.pending:
        if cluster.fault:
            raise cluster.fault
        assert loop.time() < scenario.seconds + DRAIN_SECONDS, f"{store.pending} deliveries do not go"
        await asyncio.sleep(1.0)
    await cluster.stop()
    groups = _groups(scenario, cluster, store, leads)
    sizes = Counter(lead.destination for lead in leads.values())
    return Outcome(
        scenario=scenario,
        leads=len(leads),
        undisturbed=_times(groups["undisturbed"]),
        taken_over=_times(groups["taken over"]),
        away=_times(groups["away"]),
        ownerless=max(cluster.ownerless.values(), default=0.0),
        smallest_share=min(cluster.shares.values()),
        largest_share=max(cluster.shares.values()),
        worked=len(sizes),
        busiest=max(process.busy for process in everybody) / scenario.seconds,
        largest=max(sizes.values(), default=0) / scenario.seconds,
        wall=time.perf_counter() - began,
    )


def _groups(
    scenario: Scenario, cluster: Cluster, store: MemoryStore, leads: Mapping[int, Arrival]
) -> Mapping[str, Sequence[float]]:
    groups: dict[str, list[float]] = defaultdict(list)
    for identity, lead in leads.items():
        arrived, delivered = store.arrived_at[identity], store.delivered_at[identity]
        ownerless = cluster.ownerless.get(name_of(lead.destination))
        left = ownerless is not None and arrived < scenario.killed_at + ownerless and delivered > scenario.killed_at
        kind = "away" if scenario.is_away(lead.destination, arrived) else "taken over" if left else "undisturbed"
        groups[kind].append(delivered - arrived)
    return groups


def _times(seconds: Sequence[float]) -> Times:
    if not seconds:
        return Times(0, 0.0, 0.0, 0.0)
    ordered = sorted(seconds)
    return Times(len(ordered), ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1])
