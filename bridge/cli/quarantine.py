"""`leadbridge quarantine`: list, release and discard requests with a bad signature."""

import contextlib
import time
from collections.abc import Callable
from typing import Annotated

import typer

from bridge.admin.presentation import quarantine_schema
from bridge.cli import inputs, output
from bridge.cli.inputs import (
    PAGE_ROWS,
    BeforeOption,
    ChangesOption,
    ChatbotOption,
    ConfigOption,
    JsonOption,
    LimitOption,
    PathArgument,
)
from bridge.operations import recovery as operations
from bridge.operations.audit import BY_COMMAND, ActionResult
from bridge.operations.store_access import OpenStore, open_store
from bridge.store.filter import EVERYTHING
from bridge.store.quarantine import quarantine_page

_COLUMNS = ("id", "state", "room", "chatbot", "received_at", "bytes")

IdsArgument = Annotated[list[int] | None, typer.Argument(metavar="ID", show_default=False, help="Ids of requests.")]
AllOption = Annotated[bool, typer.Option("--all", help="Instead of IDs: every request.")]

app = output.application(
    "leadbridge quarantine list",
    "leadbridge quarantine release 12 13",
    "leadbridge quarantine discard --all",
    no_args_is_help=True,
)


@app.callback()
def quarantine() -> None:
    """Look at requests with a bad signature; release or discard them.

    A request that names one of your chatbots but has a bad signature is answered with 401 and kept here for 7 days.
    Its room is the kind of request. `mismatch`: a lead under another key; if a signing key in the
    configuration is mistyped, correct it, then release. `stale`: the key matches, but the signature is too old or too
    new; if a clock was wrong, release it with --any-age. `junk`: the rest.
    """


@app.command(
    "list", epilog=output.examples("leadbridge quarantine list", "leadbridge quarantine list --chatbot acme --json")
)
def list_(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    chatbot: ChatbotOption = None,
    before: BeforeOption = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List the requests, newest first, without their content."""
    with open_store(inputs.read_config(inputs.chosen_path(path, config))).reading() as connection:
        rows = quarantine_page(connection, EVERYTHING.narrowed(chatbot), before, limit)
    output.show_page(
        [{**quarantine_schema(each).model_dump(), "state": "quarantined"} for each in rows],
        _COLUMNS,
        limit,
        as_json=json,
        spare=("bytes",),
    )


@app.command(
    epilog=output.examples("leadbridge quarantine release 12 13", "leadbridge quarantine release --all --any-age")
)
def release(
    ids: IdsArgument = None,
    *,
    config: ConfigOption = None,
    everything: AllOption = False,
    any_age: Annotated[
        bool, typer.Option("--any-age", help="Also accept a signature that is too old or too new. Its key must match.")
    ] = False,
    json: ChangesOption = False,
) -> None:
    """Verify requests again with the configuration on disk, and accept those with a good signature.

    The age of a signature is its age on receipt. Requests with a bad signature stay, an error names each of them, and
    the exit status is 1. With --any-age a request that somebody captured and sent again is accepted too, unless its
    event is known: use it only if a clock was wrong.
    """
    settings = inputs.read_config(config)
    store = open_store(settings)

    def release_one(request: int) -> ActionResult:
        with store.writing() as connection:
            return operations.release(connection, BY_COMMAND, request, settings, time.time(), any_age=any_age)

    _change_each(store, ids, release_one, everything=everything, as_json=json)


@app.command(epilog=output.examples("leadbridge quarantine discard 12", "leadbridge quarantine discard --all"))
def discard(
    ids: IdsArgument = None,
    *,
    config: ConfigOption = None,
    everything: AllOption = False,
    json: ChangesOption = False,
) -> None:
    """Delete requests for good, without a check of their signatures."""
    store = open_store(inputs.read_config(config))

    def discard_one(request: int) -> ActionResult:
        with store.writing() as connection:
            return operations.discard(connection, BY_COMMAND, request, time.time())

    _change_each(store, ids, discard_one, everything=everything, as_json=json)


def _change_each(
    store: OpenStore,
    ids: list[int] | None,
    change: Callable[[int], ActionResult],
    *,
    everything: bool,
    as_json: bool,
) -> None:
    inputs.check_selection(ids, everything=everything)
    if ids:
        inputs.change_each(ids, change, as_json=as_json)
        return
    with store.reading() as connection:
        ids = operations.all_ids(connection)
    if not ids and not as_json:
        output.say("the quarantine is empty")
    # Without JSON, the lines of the requests are the progress.
    with output.waiting() if as_json else contextlib.nullcontext(lambda _: None) as show_progress:

        def change_one(request: int) -> ActionResult:
            show_progress(f"request {ids.index(request) + 1:,} of {len(ids):,}")
            return change(request)

        inputs.change_each(ids, change_one, as_json=as_json)
