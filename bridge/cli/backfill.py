"""`leadbridge backfill`: accept leads that were missed while the bridge was down, from the vendor's list."""

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import JsonOption, PathArgument
from bridge.event import timestamp
from bridge.operations import backfill as operations
from bridge.operations.audit import BY_COMMAND
from bridge.operations.backfill import BackfillRequest, BackfillResult
from bridge.operations.store_access import open_store
from bridge.operations.vendor_list import Judged, Verdict

_NOT_ACCEPTED = {Verdict.DOUBTFUL, Verdict.INCOMPLETE}

app = output.application()


@app.command()
def backfill(
    path: PathArgument = None,
    *,
    chatbot: Annotated[str, typer.Option("--chatbot", metavar="NAME", help="The chatbot.")],
    since: Annotated[
        datetime, typer.Option("--since", metavar="DATE", formats=["%Y-%m-%d"], help="From this day (UTC) until now.")
    ],
    json: JsonOption = False,
) -> None:
    """Ask the vendor for the leads of a chatbot, and accept those that never came.

    It needs the chatbot's `pull: {url, key}`. A lead that is accepted is routed as if it had come to the webhook, and
    a running `leadbridge serve` delivers it. A known lead is left alone. A lead without enough data to identify it, or
    that may be a known lead in another spelling, is shown and not accepted: if it was missed, write it as an event and
    `leadbridge send` it. This shows personal data.

    The exit status is 1 if anything was not accepted for that reason.
    """
    config = inputs.read_config(path)
    operations.source(config, chatbot)
    now = time.time()
    start = since.replace(tzinfo=UTC)
    try:
        operations.check_since(config, start, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from error
    store = open_store(config)
    with output.waiting() as report:
        result = operations.backfill(config, store, BY_COMMAND, BackfillRequest(chatbot, start), now, report)
    if json:
        output.write_json([_row(each, chatbot) for each in reversed(result.judged)])
    else:
        _show(result, f"{chatbot} since {start.date()}")
    if any(each.verdict in _NOT_ACCEPTED for each in result.judged):
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
