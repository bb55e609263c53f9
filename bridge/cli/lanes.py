"""`leadbridge lanes`: how each destination is doing."""

import time
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer

from bridge.admin.rows import moment
from bridge.cli import inputs, output
from bridge.cli.inputs import PAGE_ROWS, ChatbotOption, ConfigOption, JsonOption, LimitOption, for_each
from bridge.cli.store import OpenStore, open_store
from bridge.config import Config
from bridge.errors import OperatorError, did_you_mean
from bridge.operations.audit import BY_COMMAND, Action, Entry, Subject
from bridge.store import audit_log, commands
from bridge.store.interface import Pause
from bridge.store.lane_queries import LaneRow, ShardRow, all_lanes

REASON = "by an operator"
"""The reason of a pause that came without one."""

_COLUMNS = ("destination", "state", "pending", "oldest_pending_at", "dead", "owner", "reason", "detail", "paused_until")

NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME", help="Names of destinations.")]

app = output.application(no_args_is_help=True)


class LaneState(StrEnum):
    """What a lane can be doing."""

    RUNNING = "running"
    PAUSED = "paused"
    UNOWNED = "unowned"


@app.callback()
def lanes() -> None:
    """See how each destination is doing; pause and resume it.

    A lane is the queue of one destination, or one shard of it where it is split. It is `running`, `paused` (by an
    operator, or by itself because the destination is in trouble: then it tries again at the time shown), or `unowned`:
    no process works it. Nothing is lost while a lane does not run: its deliveries wait.
    """


@app.command("list")
def list_(
    *,
    config: ConfigOption = None,
    state: Annotated[LaneState | None, typer.Option("--state", help="Only those in this state.")] = None,
    chatbot: ChatbotOption = None,
    destination: Annotated[
        str | None, typer.Option("--destination", metavar="NAME", help="Only the one of this name.")
    ] = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List the lanes by name: what waits in each, since when, and who works it."""
    settings = inputs.read(config)
    rows = [_row(each, settings) for each in _all(open_store(settings), settings)]
    chosen = [
        row
        for row in rows
        if (state is None or row["state"] == state.value)
        and (chatbot is None or chatbot in row["chatbot"])
        and (destination is None or row["destination"] == destination)
    ]
    shown = chosen[:limit] if json else [line for row in chosen[:limit] for line in _lines(row)]
    output.show_rows(shown, _COLUMNS, as_json=json)


@app.command()
def pause(
    names: NamesArgument,
    *,
    config: ConfigOption = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who see it.")] = REASON,
) -> None:
    """Hold destinations, with all their lanes, until they are resumed.

    Events are still taken in, and their deliveries wait.
    Calls that are on their way are not called back.
    """
    settings = inputs.read(config)
    store = open_store(settings)
    known = _names(store, settings)
    for_each(names, lambda name: _pause(store, _known(name, known), reason))


@app.command()
def resume(names: NamesArgument, *, config: ConfigOption = None) -> None:
    """Let destinations, with all their lanes, go on, whether an operator has paused them or they themselves have."""
    settings = inputs.read(config)
    store = open_store(settings)
    known = _names(store, settings)
    for_each(names, lambda name: _resume(store, _known(name, known)))


def _pause(store: OpenStore, name: str, reason: str) -> None:
    with store.writing() as connection:
        commands.pause_lane(connection, name, Pause("operator", reason or REASON))
        # Not the reason: it is the operator's own words, and may name a person.
        audit_log.keep(connection, Entry(BY_COMMAND, Action.PAUSE, Subject.LANE, name), time.time())
    output.say(f"lane {name}: paused until `leadbridge lanes resume {name}`")


def _resume(store: OpenStore, name: str) -> None:
    with store.writing() as connection:
        was_paused = commands.resume_lane(connection, name)
        audit_log.keep(connection, Entry(BY_COMMAND, Action.RESUME, Subject.LANE, name), time.time())
    output.say(f"lane {name}: resumed" if was_paused else f"lane {name}: was not paused")


def _all(store: OpenStore, config: Config) -> list[LaneRow]:
    with store.reading() as connection:
        return all_lanes(connection, list(config.destinations), time.time())


def _names(store: OpenStore, config: Config) -> list[str]:
    return [row.name for row in _all(store, config)]


def _known(name: str, known: Iterable[str]) -> str:
    known = list(known)
    if name not in known:
        raise OperatorError(f"{name}: no destination has this name{did_you_mean(name, known)}")
    return name


def _row(row: LaneRow, config: Config) -> dict[str, Any]:
    pause = row.pause
    return {
        "id": row.name,
        "state": row.state,
        "chatbot": _chatbots(row.name, config),
        "destination": row.name,
        "configured": row.name in config.destinations,
        "pending": row.pending,
        "oldest_pending_at": moment(row.oldest_pending_at),
        "dead": row.dead,
        "owner": row.owner,
        "paused_by": pause.by if pause else None,
        "reason": row.why(configured=row.name in config.destinations),
        "detail": pause.detail if pause else None,
        "paused_until": moment(pause.until) if pause else None,
        "shards": [_shard(each) for each in row.shards],
    }


def _lines(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the lines of a table for a row: its own, and one for each of its shards."""
    shards = [each | {"destination": f"#{each['number']}/{len(row['shards'])}"} for each in row["shards"]]
    return [row, *shards]


def _shard(row: ShardRow) -> dict[str, Any]:
    pause = row.pause
    return {
        "number": row.number,
        "state": row.state,
        "owner": row.owner,
        "reason": pause.reason if pause else None,
        "detail": pause.detail if pause else None,
        "paused_until": moment(pause.until) if pause else None,
    }


def _chatbots(destination: str, config: Config) -> list[str]:
    """Give the chatbots that have a route to the destination."""
    return [
        chatbot.name
        for chatbot in config.chatbots.values()
        if any(route.destination == destination for route in chatbot.routes)
    ]
