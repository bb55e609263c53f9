"""One run: the program under load, the blows of a plan, and the verdict."""

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from sqlalchemy import func, select

from bridge.store.preparation import driver_for
from bridge.store.schema import deliveries
from tests.acceptance.configured import ENVIRONMENT
from tests.acceptance.waiting import comes
from tests.chaos.blows import FOR_POSTGRESQL, FOR_SQLITE, ON_A_SMALL_DISK, Blows, disk
from tests.chaos.crms import Crm, configuration, crms, disorder
from tests.chaos.database import database
from tests.chaos.load import Ledger, load
from tests.chaos.plan import Blow, Step, farthest, plan
from tests.chaos.supervised import ChaosError
from tests.chaos.verdict import Result, judge
from tests.chaos.victim import Victim
from tests.chaos.wire import Wire

_SQLITE = "sqlite:///leadbridge.db"
_ARRIVAL_SECONDS = 60.0
_NAMED_FAULTS = 3
_MARGIN = 600.0
"""Seconds by which the clock of the end is past all times that anything can wait for."""


class Engine(StrEnum):
    """Where the store lies."""

    FILE = "SQLite"
    SMALL_DISK = "SQLite on a small disk of its own, where that can be mounted"
    SERVER = "PostgreSQL, the spool on a small disk, where that can be mounted"


async def run(seed: int, kills: int, engine: Engine = Engine.FILE) -> Result:
    """Run once; give what came of it.

    Args:
        seed: Decides the plan, the CRMs' faults and the cuts.
        kills: At least so many SIGKILLs of the program.
        engine: Where the store lies.
    """
    began = time.monotonic()
    result = Result(seed, engine.name.lower())
    with contextlib.ExitStack() as stack:
        beside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leadbridge-chaos-")))
        folder = beside / "store"
        mounted = engine is not Engine.FILE and stack.enter_context(disk(folder))
        folder.mkdir(exist_ok=True)
        server = stack.enter_context(database()) if engine is Engine.SERVER else None
        left_out = (FOR_SQLITE if server else FOR_POSTGRESQL) | (frozenset() if mounted else ON_A_SMALL_DISK)
        steps = plan(seed, kills, frozenset(Blow) - left_out)
        async with crms(seed) as made:
            victim = Victim(folder, beside, configuration(made, server.url if server else _SQLITE), ENVIRONMENT)
            async with victim, Wire(victim.port, seed - 1) as inbound:
                await _run(victim, Blows(victim, made, inbound, server), made, inbound, steps, result)
    result.seconds = time.monotonic() - began
    return result


async def _run(
    victim: Victim, blows: Blows, made: Sequence[Crm], inbound: Wire, steps: Sequence[Step], result: Result
) -> None:
    ledger = Ledger()
    try:
        await victim.up()
        async with load(f"http://127.0.0.1:{inbound.port}/webhook", ledger, result.seed):
            for step in steps:
                await blows.deal(step)
                result.blows[step.blow.value] += 1
            await blows.heal(farthest(steps) + _MARGIN)
        await comes(lambda: all(ledger.acknowledged <= crm.held().keys() for crm in made), _ARRIVAL_SECONDS)
        states = _states(victim)
        if await comes(lambda: "pending" not in _states(victim), _ARRIVAL_SECONDS):
            states = _states(victim)
        if await victim.stop() != 0:
            result.findings.append(f"the end was not in order: {victim.told()}")
        checked = await victim.run("db", "check")
        if checked.status:
            result.findings.append(f"the store is damaged: {checked.errors}")
        judge(result, ledger, {crm.name: crm.held() for crm in made}, states)
        wrong = disorder(made[0].calls()) + disorder(made[1].calls())
        if wrong:
            result.findings.append(f"{len(wrong)} leads of a contact out of order, such as {wrong[0]}")
    except ChaosError as error:
        result.findings.append(str(error))
    result.kills = blows.kills
    result.cuts = inbound.cuts + sum(crm.wire.cuts for crm in made)
    result.faults = sum(call.fault is not None for crm in made for call in crm.calls())
    result.findings += [f"in the log: {line[:2000]}" for line in victim.faults()[:_NAMED_FAULTS]]


def _states(victim: Victim) -> Mapping[str, int]:
    """Count the deliveries by state, as the store has them."""
    url = str(victim.settings["store"]["url"])
    if url == _SQLITE:
        url = f"sqlite:///{victim.store}"
    question = select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
    with driver_for(url).engine().connect() as connection:
        return {str(state): int(count) for state, count in connection.execute(question)}
