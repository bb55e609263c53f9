"""`leadbridge quarantine`: list, release and discard requests with a bad signature."""

import time
from typing import Annotated

import typer

from bridge.admin.presentation import quarantine_schema
from bridge.cli import inputs, output
from bridge.cli.inputs import PAGE_ROWS, BeforeOption, ChatbotOption, ConfigOption, JsonOption, LimitOption, for_each
from bridge.operations import quarantine as operations
from bridge.operations.audit import BY_COMMAND
from bridge.operations.store_access import OpenStore, open_store
from bridge.store import queries
from bridge.store.queries import PageRequest

_COLUMNS = ("id", "state", "room", "chatbot", "received_at", "bytes")

IdsArgument = Annotated[list[int] | None, typer.Argument(metavar="ID", show_default=False, help="Ids of requests.")]
AllOption = Annotated[bool, typer.Option("--all", help="Instead of IDs: every request.")]

app = output.application(no_args_is_help=True)


@app.callback()
def quarantine() -> None:
    """Look at requests with a bad signature; release or discard them.

    A request that names one of your chatbots but has a bad signature is answered with 401 and kept here for 7 days.
    Its room is the kind of request. `mismatch`: a lead under another key; if a signing key in the
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
    """List the requests, newest first, without their content."""
    with open_store(inputs.read_config(config)).reading() as connection:
        rows = queries.quarantine_page(connection, PageRequest(chatbot, None, before, limit))
    output.show_page(
        [{**quarantine_schema(each).model_dump(), "state": "quarantined"} for each in rows],
        _COLUMNS,
        limit,
        as_json=json,
    )


@app.command()
def release(
    ids: IdsArgument = None,
    *,
    config: ConfigOption = None,
    everything: AllOption = False,
    any_age: Annotated[
        bool, typer.Option("--any-age", help="Also accept a signature that is too old or too new. Its key must match.")
    ] = False,
) -> None:
    """Verify requests again with the configuration on disk, and accept those with a good signature.

    The age of a signature is its age on receipt. Requests with a bad signature stay, an error names each of them, and
    the exit status is 1. With --any-age a request that somebody captured and sent again is accepted too, unless its
    event is known: use it only if a clock was wrong.
    """
    settings = inputs.read_config(config)
    store = open_store(settings)

    def release_one(request: int) -> None:
        with store.writing() as connection:
            result = operations.release(connection, BY_COMMAND, request, settings, time.time(), any_age=any_age)
        output.say(result.message)

    for_each(_selected(store, ids, everything=everything), release_one)


@app.command()
def discard(ids: IdsArgument = None, *, config: ConfigOption = None, everything: AllOption = False) -> None:
    """Delete requests for good, without a check of their signatures."""
    store = open_store(inputs.read_config(config))

    def discard_one(request: int) -> None:
        with store.writing() as connection:
            result = operations.discard(connection, BY_COMMAND, request, time.time())
        output.say(result.message)

    for_each(_selected(store, ids, everything=everything), discard_one)


def _selected(store: OpenStore, ids: list[int] | None, *, everything: bool) -> list[int]:
    inputs.check_selection(ids, everything=everything)
    if ids:
        return ids
    with store.reading() as connection:
        found = operations.all_ids(connection)
    if not found:
        output.say("the quarantine is empty")
    return found
