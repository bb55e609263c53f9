"""`leadbridge quarantine`: requests that were refused because their signature did not hold."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from bridge.cli import inputs, output
from bridge.cli.inputs import PAGE_ROWS, BeforeOption, ChatbotOption, ConfigOption, JsonOption, LimitOption, for_each
from bridge.cli.store import OpenStore, open_store
from bridge.config import Config
from bridge.errors import OperatorError
from bridge.event import timestamp
from bridge.ingress import reprocess
from bridge.operations.audit import BY_COMMAND, Action, Entry, Subject
from bridge.store import audit_log, queries
from bridge.store import quarantine as rooms
from bridge.store.queries import Page, QuarantineRow

_COLUMNS = ("id", "state", "room", "chatbot", "received_at", "bytes")

IdsArgument = Annotated[list[int] | None, typer.Argument(metavar="ID", show_default=False, help="Ids of requests.")]
AllOption = Annotated[bool, typer.Option("--all", help="Instead of IDs: every request.")]

app = output.application(no_args_is_help=True)


@app.callback()
def quarantine() -> None:
    """Look at requests with a wrong signature; release or discard them.

    A request that names one of your chatbots, but whose signature does not hold, was answered with 401 and is kept
    here for 7 days. Its room says what it looks like. `mismatch`: a lead under another key; if a signing key in the
    configuration is mistyped, correct it, then release. `stale`: the key matches, but the signature is too old or too
    new; if a clock was wrong, release it with --any-age. `junk`: the rest.
    """


@app.command("list")
def list_(
    *,
    config: ConfigOption = None,
    chatbot: ChatbotOption = None,
    before: BeforeOption = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List the requests, newest first, without what they hold."""
    with open_store(inputs.read(config)).reading() as connection:
        rows = queries.quarantine_page(connection, Page(chatbot, None, before, limit))
    output.show_rows([_row(each) for each in rows], _COLUMNS, as_json=json)
    if not json and len(rows) == limit:
        output.complain(f"For older ones: --before {rows[-1].id}")


@app.command()
def release(
    ids: IdsArgument = None,
    *,
    config: ConfigOption = None,
    everything: AllOption = False,
    any_age: Annotated[
        bool, typer.Option("--any-age", help="Also where the signature is too old or too new. Its key must match.")
    ] = False,
) -> None:
    """Verify requests again with the configuration as it is on disk now, and accept those whose signature holds.

    Their age is taken as of their receipt. The others stay, are named, and the exit status is 1. With --any-age a
    request that somebody has captured and sent again is accepted too, unless its event is known: use it only if a clock
    was wrong.
    """
    settings, store, chosen = _chosen(ids, config, everything=everything)
    for_each(chosen, lambda each: output.say(_release(store, each, settings, any_age=any_age)))


@app.command()
def discard(ids: IdsArgument = None, *, config: ConfigOption = None, everything: AllOption = False) -> None:
    """Delete requests for good, without looking at their signatures."""
    _, store, chosen = _chosen(ids, config, everything=everything)
    for_each(chosen, lambda each: output.say(_discard(store, each)))


def _chosen(ids: list[int] | None, config: Path | None, *, everything: bool) -> tuple[Config, OpenStore, list[int]]:
    if bool(ids) == everything:
        raise typer.BadParameter("give either IDs or --all")
    settings = inputs.read(config)
    store = open_store(settings)
    chosen = _all(store) if everything else ids or []
    if not chosen:
        output.say("nothing is in quarantine")
    return settings, store, chosen


def _release(store: OpenStore, request: int, config: Config, *, any_age: bool) -> str:
    with store.writing() as connection:
        quarantined = queries.quarantined(connection, request)
        said = reprocess.release(connection, request, quarantined, config, any_age=any_age) if quarantined else None
        if said is None:
            raise _unknown(request)
        facts = {"age": "any"} if any_age else {}
        _note(connection, Action.RELEASE, request, facts)
    return said


def _discard(store: OpenStore, request: int) -> str:
    with store.writing() as connection:
        if not rooms.discard(connection, [request]):
            raise _unknown(request)
        _note(connection, Action.DISCARD, request)
    return f"request {request}: discarded"


def _note(connection: Connection, action: Action, request: int, facts: Mapping[str, str] | None = None) -> None:
    audit_log.keep(connection, Entry(BY_COMMAND, action, Subject.REQUEST, str(request), facts=facts or {}), time.time())


def _unknown(request: int) -> OperatorError:
    return OperatorError(f"{request}: no request in quarantine has this id; see `leadbridge quarantine list`")


def _all(store: OpenStore) -> list[int]:
    """Give every request's id, oldest first; their number is bounded for each chatbot."""
    ids: list[int] = []
    page = None
    with store.reading() as connection:
        while page is None or page:
            page = queries.quarantine_page(connection, Page(before=ids[-1] if ids else None))
            ids += [row.id for row in page]
    return ids[::-1]


def _row(row: QuarantineRow) -> dict[str, object]:
    return {
        "id": row.id,
        "state": "quarantined",
        "room": row.room.value,
        "chatbot": row.chatbot,
        "received_at": timestamp(row.received_at),
        "bytes": row.size,
    }
