"""`leadbridge reconcile`: has every lead arrived?"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from bridge.cli import configuration, output
from bridge.cli.asking import Answered, ask_all
from bridge.cli.options import JsonOption, PathArgument
from bridge.cli.store import open_store
from bridge.config.units import parse_duration
from bridge.store import reconciling
from bridge.store.base import DeliveryState
from bridge.store.reconciling import Tally
from bridge.store.search import seq_at

NAMED = 20
"""The most deliveries that are named of a destination whose records are gone."""

_COLUMNS = ("chatbot", "destination", "received", "delivered", "waiting", "dead", "discarded")
_ONLINE = (*_COLUMNS, "held", "gone", "untold")

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
        str, typer.Option("--since", metavar="DURATION", help="Look at what has been received in this time.")
    ] = "24h",
    online: Annotated[
        bool, typer.Option("--online", help="Ask the destinations whether they still hold each delivered record.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare what was received with what has arrived, by chatbot and destination.

    A lead is missing if its delivery is dead, if its event was not recognised (these stand in a line of their own,
    without a destination), or if, asked with --online, its destination does not hold the record any more. One that
    waits is not missing yet. Of a destination whose connector cannot ask, the records are `untold`. The exit status is
    1 if any lead is missing, 0 otherwise.
    """
    seconds = _span(since)
    config = configuration.read(path)
    store = open_store(config)
    with store.reading() as connection:
        first = seq_at(connection, time.time() - seconds)
        tallies = reconciling.tallies(connection, first)
        strange = reconciling.unrecognised(connection, first)
    answered = asyncio.run(ask_all(config, store, first)) if online else {}
    rows = [_row(each, answered.get(each.destination or "") if online else None) for each in tallies]
    if strange:
        rows.append({**dict.fromkeys(_COLUMNS, 0), "chatbot": None, "destination": None, "received": strange})
        rows[-1]["dead"] = strange
    output.show_rows(rows, _ONLINE if online else _COLUMNS, as_json=json)
    if _complain(rows, strange, answered):
        raise typer.Exit(1)


def _row(tally: Tally, answered: Answered | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "chatbot": tally.chatbot,
        "destination": tally.destination,
        "received": tally.received,
        "delivered": tally.states.get(DeliveryState.DELIVERED, 0),
        "waiting": tally.states.get(DeliveryState.PENDING, 0),
        "dead": tally.states.get(DeliveryState.DEAD, 0),
        "discarded": tally.states.get(DeliveryState.DISCARDED, 0),
    }
    if answered is not None:
        row["held"] = answered.held.get(tally.chatbot, 0)
        row["gone"] = len(answered.gone.get(tally.chatbot, ()))
        row["untold"] = answered.untold.get(tally.chatbot, 0)
    return row


def _complain(rows: Sequence[Mapping[str, Any]], strange: int, answered: Mapping[str, Answered]) -> bool:
    """Say what is missing, and what to do; tells whether anything is."""
    dead = sum(each["dead"] for each in rows) - strange
    if dead:
        output.complain(f"{dead:,} dead: see `leadbridge deliveries list --state dead`, mend the cause, replay them")
    if strange:
        output.complain(
            f"{strange:,} not recognised: see `leadbridge events list --state unrecognised`, mend the configuration, "
            "replay them"
        )
    for name, each in answered.items():
        gone = sorted(identity for ids in each.gone.values() for identity in ids)
        if gone:
            more = f" and {len(gone) - NAMED:,} more" if len(gone) > NAMED else ""
            named = " ".join(map(str, gone[:NAMED]))
            output.complain(
                f"{name}: holds {len(gone):,} of its records no more (deleted there, or merged into another): "
                f"deliveries {named}{more}; see each with `leadbridge deliveries show`, replay those that are missed"
            )
    return bool(dead or strange or any(each.gone for each in answered.values()))
