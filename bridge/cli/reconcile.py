"""`leadbridge reconcile`: received leads compared with delivered leads."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

import typer
from sqlalchemy import Connection

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption, PathArgument
from bridge.config import Config
from bridge.config.model import Destination
from bridge.operations.audit import BY_COMMAND, Action, Entry
from bridge.operations.reconcile import CheckTerms, Reconciliation
from bridge.operations.store_access import CommandVault, OpenStore, open_store
from bridge.store import audit_log

NAMED = 20
"""Maximum number of deliveries that are named for a destination with missing records: the newest."""

_COLUMNS = ("chatbot", "destination", "received", "delivered", "waiting", "dead", "discarded", "quarantined")
_ONLINE = (*_COLUMNS, "held", "gone", "unknown")

app = output.application()

T = TypeVar("T")


@app.command(
    epilog=output.examples("leadbridge reconcile --since 7d", "leadbridge reconcile --since 2026-11-01 --online")
)
def reconcile(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Events received from this time on: 24h (ago), 2026-11-25, or 2026-11-25T09:00.",
        ),
    ] = "24h",
    online: Annotated[
        bool, typer.Option("--online", help="Ask the destinations whether they still hold each delivered record.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare received leads with delivered leads, by chatbot and destination.

    A lead is missing in four cases. Its delivery is dead. Its event was not recognised: these events have a line of
    their own, without a destination. It may be in quarantine: these requests have a line for their chatbot, without a
    destination, and junk is not counted. With --online: its destination does not hold the record any more.

    A lead that waits is not missing yet. If a destination does not answer about a record, or its connector cannot ask,
    the record is `unknown`. The exit status is 1 if any lead is missing, 0 otherwise.
    """
    now = time.time()
    start = inputs.moment(since, now, "--since") or 0.0
    settings = inputs.read_config(inputs.chosen_path(path, config))
    result = Reconciliation(start)
    with output.waiting("comparing" if not online else "comparing, and asking each destination for its records"):
        asyncio.run(_work(result, settings, open_store(settings), now, online=online))
    columns = _ONLINE if online else _COLUMNS
    output.show_rows(
        [{name: getattr(each, name) for name in columns} for each in result.lines()],
        columns,
        as_json=json,
        spare=("discarded", "unknown", "waiting"),
    )
    _complain(result)
    if result.missing():
        raise typer.Exit(1)


async def _work(result: Reconciliation, config: Config, store: OpenStore, now: float, *, online: bool) -> None:
    """Count the events; with `online`, write the audit entry and ask the destinations."""

    async def read(query: Callable[[Connection], T]) -> T:
        with store.reading() as connection:
            return query(connection)

    @asynccontextmanager
    async def opened(destination: Destination) -> AsyncIterator[None]:
        destination.connector.open(CommandVault(config, destination.name))
        try:
            yield
        finally:
            await destination.connector.close()

    await result.count(read)
    if online:
        total = result.prepare(config)
        with store.writing() as connection:
            audit_log.add_entry(connection, Entry(BY_COMMAND, Action.INQUIRE, count=total), now)
        await result.ask(config, read, CheckTerms(opened, time.time))


def _complain(result: Reconciliation) -> None:
    """Print the number of missing leads, and what to do."""
    found = result.missing()
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
    for name, each in result.answers.items():
        gone = each.gone.total()
        if gone:
            named = " ".join(str(delivery.id) for delivery in each.named[:NAMED])
            more = f" and {gone - NAMED:,} more" if gone > NAMED else ""
            output.complain(
                f"{name}: holds {gone:,} of its records no more (deleted there, or merged into another): "
                f"deliveries {named}{more}; see each with `leadbridge deliveries show`, replay those that are missed"
            )
