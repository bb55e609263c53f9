"""`leadbridge backfill`: accept leads that were missed while the bridge was down, from the vendor's list."""

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption, PathArgument
from bridge.event import timestamp
from bridge.operations import backfill as operations
from bridge.operations.audit import BY_COMMAND
from bridge.operations.backfill import BackfillRequest, BackfillResult
from bridge.operations.store_access import open_store
from bridge.operations.vendor_list import Judged, Verdict

_NOT_ACCEPTED = {Verdict.DOUBTFUL, Verdict.INCOMPLETE}

app = output.application()


@app.command(
    epilog=output.examples(
        "leadbridge backfill --chatbot acme --since 2026-11-24", "leadbridge backfill --all --since 48h"
    )
)
def backfill(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    chatbot: Annotated[str | None, typer.Option("--chatbot", metavar="NAME", help="The chatbot.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Instead of --chatbot: every chatbot that has `pull`.")
    ] = False,
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="TIME", help="From this day (UTC) until now: 2026-11-24, or 48h for the day before last."
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Ask the vendor for the leads of a chatbot, and accept those that never came.

    It needs the chatbot's `pull: {url, key}`. A lead that is accepted is routed as if it had come to the webhook, and
    a running `leadbridge serve` delivers it. A known lead is left alone. A lead without enough data to identify it, or
    that may be a known lead in another spelling, is shown and not accepted: if it was missed, write it as an event and
    `leadbridge send` it. This shows personal data.

    The exit status is 1 if anything was not accepted for that reason, or if the list of a chatbot could not be read.
    """
    if (chatbot is None) is not everything:
        raise typer.BadParameter("name --chatbot, or use --all")
    settings = inputs.read_config(inputs.chosen_path(path, config))
    now = time.time()
    start = datetime.fromtimestamp(inputs.moment(since, now, "--since") or now, UTC)
    start = start.replace(hour=0, minute=0, second=0, microsecond=0)
    names = [chatbot] if chatbot else operations.chatbots_with_pull(settings)
    for name in names:
        operations.source(settings, name)
    try:
        operations.check_since(settings, start, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from error
    store = open_store(settings)
    rows, not_accepted = list[dict[str, Any]](), False

    def backfill_one(name: str) -> None:
        nonlocal not_accepted
        with output.waiting() as report:
            request = BackfillRequest(name, start)
            result = operations.backfill(
                settings, store, BY_COMMAND, request, now, lambda text: report(f"{name}: {text}")
            )
        not_accepted |= any(each.verdict in _NOT_ACCEPTED for each in result.judged)
        rows.extend(_row(each, name) for each in reversed(result.judged))
        if not json:
            _show(result, f"{name} since {start.date()}")

    try:
        inputs.for_each(names, backfill_one)
    finally:
        if json:
            output.write_json(rows)
    if not_accepted:
        raise typer.Exit(1)


def _show(result: BackfillResult, title: str) -> None:
    for line in result.lines:
        output.say(line)
    for each in result.judged:
        if each.verdict in _NOT_ACCEPTED:
            output.say(f"not accepted: {each.why}", "yellow")
            output.say(f"  {orjson.dumps(each.element).decode()}")
    counts = Counter(each.verdict for each in result.judged)
    output.say(
        f"{title}: {len(result.judged)} in the vendor's list; {counts[Verdict.MISSED]} accepted, "
        f"{counts[Verdict.KNOWN]} known, {counts[Verdict.DOUBTFUL] + counts[Verdict.INCOMPLETE]} not accepted"
    )


def _row(each: Judged, chatbot: str) -> dict[str, Any]:
    return {
        "id": each.listed.id if each.verdict is Verdict.MISSED and each.listed else each.known,
        "state": "accepted" if each.verdict is Verdict.MISSED else each.verdict.value,
        "chatbot": chatbot,
        "created_at": timestamp(each.listed.created.timestamp()) if each.listed else None,
        "why": each.why or None,
        "element": each.element if each.verdict in _NOT_ACCEPTED else None,
    }
