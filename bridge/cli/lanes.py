"""`leadbridge lanes`: list, pause and resume the lanes of destinations."""

import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from bridge.admin.presentation import lane_schema
from bridge.cli import inputs, output
from bridge.cli.inputs import (
    PAGE_ROWS,
    ChangesOption,
    ChatbotOption,
    ConfigOption,
    JsonOption,
    LimitOption,
    PathArgument,
)
from bridge.config import Config
from bridge.operations import lanes as operations
from bridge.operations.audit import BY_COMMAND, ActionResult
from bridge.operations.lanes import LaneFilter
from bridge.operations.masking import OPEN
from bridge.operations.store_access import open_store
from bridge.store.lane_queries import LaneRow, LaneStatus

_COLUMNS = ("destination", "state", "pending", "oldest_pending_at", "dead", "owner", "reason", "detail", "paused_until")
_SPARE = ("owner", "oldest_pending_at", "paused_until", "detail")

NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME", help="Names of destinations.")]

app = output.application(
    "leadbridge lanes list",
    'leadbridge lanes pause acme-hubspot --reason "moving to a new account"',
    "leadbridge lanes resume acme-hubspot",
    no_args_is_help=True,
)


@app.callback()
def lanes() -> None:
    """See the state of each destination; pause and resume it.

    A lane is the queue of one destination. It is `running`, `paused` (by an operator, or by the lane itself because the
    destination is in trouble; then it tries again at the time shown), `unowned` (no process works it), or `removed`:
    the configuration has no such destination any more, so move or discard its deliveries. Nothing is lost while a lane
    does not run: its deliveries wait.
    """


@app.command("list", epilog=output.examples("leadbridge lanes list", "leadbridge lanes list --state paused --json"))
def list_(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    state: Annotated[LaneStatus | None, typer.Option("--state", help="Only those in this state.")] = None,
    chatbot: ChatbotOption = None,
    destination: Annotated[
        str | None, typer.Option("--destination", metavar="NAME", help="Only the one of this name.")
    ] = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List the lanes by name, with the number and age of their waiting deliveries and the process that works them."""
    settings = inputs.read_config(inputs.chosen_path(path, config))
    with open_store(settings).reading() as connection:
        rows = operations.list_lanes(connection, settings, time.time(), LaneFilter(state, chatbot, destination))
    output.show_rows([_row(each, settings) for each in rows[:limit]], _COLUMNS, as_json=json, spare=_SPARE)


@app.command(epilog=output.examples('leadbridge lanes pause acme-hubspot --reason "moving to a new account"'))
def pause(
    names: NamesArgument,
    *,
    config: ConfigOption = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Reason, for people who look at the lane.")
    ] = operations.DEFAULT_REASON,
    json: ChangesOption = False,
) -> None:
    """Pause the lanes of destinations until they are resumed.

    Events are still accepted, and their deliveries wait. Calls that are under way are not cancelled.
    """
    settings = inputs.read_config(config)
    store = open_store(settings)

    def pause_one(name: str) -> ActionResult:
        with store.writing() as connection:
            result = operations.pause(connection, BY_COMMAND, name, settings, time.time(), reason)
        return replace(result, lines=(f"lane {name}: paused until `leadbridge lanes resume {name}`",))

    inputs.change_each(names, pause_one, as_json=json)


@app.command(epilog=output.examples("leadbridge lanes resume acme-hubspot acme-salesforce"))
def resume(names: NamesArgument, *, config: ConfigOption = None, json: ChangesOption = False) -> None:
    """Resume the lanes of destinations after a pause by an operator or by the lane itself."""
    settings = inputs.read_config(config)
    store = open_store(settings)

    def resume_one(name: str) -> ActionResult:
        with store.writing() as connection:
            return operations.resume(connection, BY_COMMAND, name, settings, time.time())

    inputs.change_each(names, resume_one, as_json=json)


def _row(row: LaneRow, config: Config) -> dict[str, Any]:
    lane = lane_schema(row, (), OPEN).model_dump(exclude={"name", "meaning", "quotas"})
    return {"id": row.name, "chatbot": operations.chatbots_of(config, row.name), "destination": row.name, **lane}
