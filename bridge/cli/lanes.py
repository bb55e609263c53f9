"""`leadbridge lanes`: list, pause and resume the lanes of destinations."""

import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from bridge.admin.rows import moment
from bridge.cli import inputs, output
from bridge.cli.inputs import PAGE_ROWS, ChatbotOption, ConfigOption, JsonOption, LimitOption, for_each
from bridge.config import Config
from bridge.operations import lanes as operations
from bridge.operations.audit import BY_COMMAND
from bridge.operations.store_access import open_store
from bridge.store.lane_queries import LaneRow

_COLUMNS = ("destination", "state", "pending", "oldest_pending_at", "dead", "owner", "reason", "detail", "paused_until")

NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME", help="Names of destinations.")]

app = output.application(no_args_is_help=True)


class LaneFilter(StrEnum):
    """States of a lane."""

    RUNNING = "running"
    PAUSED = "paused"
    UNOWNED = "unowned"
    REMOVED = "removed"


@app.callback()
def lanes() -> None:
    """See the state of each destination; pause and resume it.

    A lane is the queue of one destination. It is `running`, `paused` (by an operator, or by the lane itself because the
    destination is in trouble; then it tries again at the time shown), `unowned` (no process works it), or `removed`:
    the configuration has no such destination any more, so move or discard its deliveries. Nothing is lost while a lane
    does not run: its deliveries wait.
    """


@app.command("list")
def list_(
    *,
    config: ConfigOption = None,
    state: Annotated[LaneFilter | None, typer.Option("--state", help="Only those in this state.")] = None,
    chatbot: ChatbotOption = None,
    destination: Annotated[
        str | None, typer.Option("--destination", metavar="NAME", help="Only the one of this name.")
    ] = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List the lanes by name, each with its waiting deliveries, their age, and the process that works it."""
    settings = inputs.read_config(config)
    with open_store(settings).reading() as connection:
        found = operations.list_lanes(connection, settings, time.time())
    rows = [_row(each, settings) for each in found]
    chosen = [
        row
        for row in rows
        if (state is None or row["state"] == state.value)
        and (chatbot is None or chatbot in row["chatbot"])
        and (destination is None or row["destination"] == destination)
    ]
    output.show_rows(chosen[:limit], _COLUMNS, as_json=json)


@app.command()
def pause(
    names: NamesArgument,
    *,
    config: ConfigOption = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for those who see it.")
    ] = operations.DEFAULT_REASON,
) -> None:
    """Hold the lanes of destinations until they are resumed.

    Events are still accepted, and their deliveries wait. Calls that are under way are not cancelled.
    """
    settings = inputs.read_config(config)
    store = open_store(settings)

    def pause_one(name: str) -> None:
        with store.writing() as connection:
            operations.pause(connection, BY_COMMAND, name, settings, time.time(), reason)
        output.say(f"lane {name}: paused until `leadbridge lanes resume {name}`")

    for_each(names, pause_one)


@app.command()
def resume(names: NamesArgument, *, config: ConfigOption = None) -> None:
    """Let the lanes of destinations go on after a pause by an operator or by the lane itself."""
    settings = inputs.read_config(config)
    store = open_store(settings)

    def resume_one(name: str) -> None:
        with store.writing() as connection:
            result = operations.resume(connection, BY_COMMAND, name, settings, time.time())
        output.say(result.message)

    for_each(names, resume_one)


def _row(row: LaneRow, config: Config) -> dict[str, Any]:
    pause = row.pause if row.configured else None
    return {
        "id": row.name,
        "state": row.state,
        "chatbot": _chatbots(row.name, config),
        "destination": row.name,
        "configured": row.configured,
        "pending": row.pending,
        "oldest_pending_at": moment(row.oldest_pending_at),
        "dead": row.dead,
        "owner": row.owner,
        "paused_by": pause.by if pause else None,
        "reason": row.why(),
        "detail": pause.detail if pause else None,
        "paused_until": moment(pause.until) if pause else None,
    }


def _chatbots(destination: str, config: Config) -> list[str]:
    """Return the chatbots that have a route to the destination."""
    return [
        chatbot.name
        for chatbot in config.chatbots.values()
        if any(route.destination == destination for route in chatbot.routes)
    ]
