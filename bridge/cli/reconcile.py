"""`leadbridge reconcile`: received leads compared with delivered leads."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import JsonOption, PathArgument
from bridge.config import Config
from bridge.config.model import Destination
from bridge.config.units import parse_duration
from bridge.operations.audit import BY_COMMAND, Action, Entry
from bridge.operations.reconcile import (
    CheckPlan,
    DeliveredPage,
    Missing,
    OutcomeCounts,
    RecordCheck,
    ask_all,
    lines,
    missing,
    steps,
)
from bridge.operations.store_access import CommandVault, OpenStore, open_store
from bridge.store import audit_log, history
from bridge.store.search import SPAN, seq_at

NAMED = 20
"""Maximum number of deliveries that are named for a destination with missing records: the newest."""

_COLUMNS = ("chatbot", "destination", "received", "delivered", "waiting", "dead", "discarded", "quarantined")
_ONLINE = (*_COLUMNS, "held", "gone", "unknown")

app = output.application()


def _span(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command()
def reconcile(
    path: PathArgument = None,
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="DURATION", help="Look at events that were received in this time.")
    ] = "24h",
    online: Annotated[
        bool, typer.Option("--online", help="Ask the destinations whether they still hold each delivered record.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare received leads with delivered leads, by chatbot and destination.

    A lead is missing if its delivery is dead, if its event was not recognised (these events have a line of their own,
    without a destination), if it may be in quarantine (refused requests have a line for their chatbot, without a
    destination; junk is not counted), or if, with --online, its destination does not hold the record any more. A lead
    that waits is not missing yet. If a destination's connector cannot ask, its records are `unknown`. The exit status
    is 1 if any lead is missing, 0 otherwise.
    """
    seconds, now = _span(since), time.time()
    config = inputs.read_config(path)
    store = open_store(config)
    with store.reading() as connection:
        first = seq_at(connection, now - seconds)
        last = history.last_event(connection)
        counted = history.count_quarantined(connection, now - seconds)
    # In steps: a long question would keep the write-ahead log from being begun anew.
    for start, end in steps(first, last, SPAN):
        with store.reading() as connection:
            counted += history.count_events(connection, start, end)
    answered = _answers(config, store, counted, first, now) if online else None
    columns = _ONLINE if online else _COLUMNS
    rows = [{name: getattr(each, name) for name in columns} for each in lines(counted, answered)]
    output.show_rows(rows, columns, as_json=json)
    found = missing(counted, answered)
    _complain(found, answered or {})
    if found:
        raise typer.Exit(1)


def _answers(
    config: Config, store: OpenStore, counted: OutcomeCounts, first: int, now: float
) -> Mapping[str, RecordCheck]:
    """Write the audit entry, then ask the destinations."""
    answered = {name: RecordCheck() for name in config.destinations}
    wanted = {name: answered[name] for name in answered if counted.delivered(name)}
    total = sum(map(counted.delivered, wanted))
    with store.writing() as connection:
        audit_log.add_entry(connection, Entry(BY_COMMAND, Action.INQUIRE, count=total), now)

    async def read(name: str, before: int | None) -> DeliveredPage:
        with store.reading() as connection:
            return history.delivered_page(connection, name, first, before)

    @asynccontextmanager
    async def opened(destination: Destination) -> AsyncIterator[None]:
        destination.connector.open(CommandVault(config, destination.name))
        try:
            yield
        finally:
            await destination.connector.close()

    asyncio.run(ask_all(CheckPlan(read, opened, time.time), config, wanted))
    return answered


def _complain(found: Missing, answered: Mapping[str, RecordCheck]) -> None:
    """Print the number of missing leads, and what to do."""
    if found.dead:
        output.complain(
            f"{found.dead:,} dead: see `leadbridge deliveries list --state dead`, fix the cause, replay them"
        )
    if found.unrecognised:
        output.complain(
            f"{found.unrecognised:,} not recognised: see `leadbridge events list --state unrecognised`, fix the "
            "configuration, replay them"
        )
    if found.quarantined:
        output.complain(
            f"{found.quarantined:,} in quarantine may be leads: see `leadbridge quarantine list`, correct the cause, "
            "release them; discard the others"
        )
    for name, each in answered.items():
        gone = each.gone.total()
        if gone:
            named = " ".join(str(delivery.id) for delivery in each.named[:NAMED])
            more = f" and {gone - NAMED:,} more" if gone > NAMED else ""
            output.complain(
                f"{name}: holds {gone:,} of its records no more (deleted there, or merged into another): "
                f"deliveries {named}{more}; see each with `leadbridge deliveries show`, replay those that are missed"
            )
