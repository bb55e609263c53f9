"""`leadbridge report`: leads, deliveries and problems of the last weeks, printed or sent."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from bridge.alerts.report_text import report_message, span_text
from bridge.alerts.targets import Message, send_message
from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption
from bridge.config import Config
from bridge.config.model import ReportSettings
from bridge.errors import ConflictError, OperatorError, did_you_mean
from bridge.operations.audit import BY_COMMAND
from bridge.operations.figures import lasting, percent
from bridge.operations.report import WEEK, Report, ReportLine, read_report, span_before, take_left
from bridge.operations.store_access import OpenStore, open_store
from bridge.store.filter import Scope
from bridge.store.report_log import note_try

MOST_WEEKS = 13
_COLUMNS = ("chatbot", "leads", "before", "delivered", "in_crm", "typical_time", "slow_time", "waiting", "dead")

app = output.application()


@app.command(
    epilog=output.examples(
        "leadbridge report --weeks 4",
        "leadbridge report --chatbot acme-website",
        "leadbridge report acme --send",
        "leadbridge report acme --left",
    )
)
def report(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Reports of the configuration; default: all leads.")
    ] = None,
    *,
    config: ConfigOption = None,
    chatbot: Annotated[
        list[str] | None, typer.Option("--chatbot", metavar="NAME", help="Only this chatbot; several are allowed.")
    ] = None,
    weeks: Annotated[int, typer.Option("--weeks", metavar="N", min=1, max=MOST_WEEKS, help="Number of weeks.")] = 1,
    send: Annotated[
        bool, typer.Option("--send", help="Send the reports to their receivers now, instead of printing them.")
    ] = False,
    left: Annotated[
        bool, typer.Option("--left", help="Send what `leadbridge problems` lists, to the receivers that miss it.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show the leads and deliveries of the last weeks by chatbot, and the problems of the moment.

    The days end with yesterday (UTC), and are compared with as many before. NAME is a report of the configuration
    (`reports`), which `leadbridge serve` sends each week. With --send it is sent at once to its receivers, all reports
    without NAME; the next regular one is sent all the same. With --left a regular one that has not reached a receiver
    is sent to it.
    """
    settings = inputs.read_config(config)
    if send and left:
        raise typer.BadParameter("choose one of --send and --left", param_hint="--left")
    if chatbot and (send or left or names):
        raise typer.BadParameter("a report of the configuration has chatbots of its own", param_hint="--chatbot")
    chosen = _chosen(settings, names or (), everything=send or left)
    _check_chatbots(settings, chatbot or ())
    store, days = open_store(settings), weeks * WEEK
    if send or left:
        rows = _send_left(settings, store, chosen, names or ()) if left else _send(settings, store, chosen, days)
        _show_sent(rows, as_json=json)
        return
    if not chosen:
        _show(_read(settings, store, days, Scope(frozenset(chatbot) if chatbot else None)), as_json=json)
    for each in chosen:
        _show(_read(settings, store, days, Scope(each.chatbots)), each.name, as_json=json)


def _chosen(config: Config, names: Sequence[str], *, everything: bool) -> Sequence[ReportSettings]:
    """Return the named reports, or all of them. Raises OperatorError."""
    known = config.reports
    for name in names:
        if name not in known:
            raise OperatorError(f"{name}: the configuration has no such report{did_you_mean(name, known) or ''}")
    if everything and not known:
        raise OperatorError("no report is configured: write `reports: {NAME: {to: [...]}}`, see docs/configuration.md")
    return [known[name] for name in (names or (known if everything else ()))]


def _check_chatbots(config: Config, names: Sequence[str]) -> None:
    for name in names:
        if name not in config.chatbots:
            raise OperatorError(f"{name}: no chatbot has this name{did_you_mean(name, config.chatbots) or ''}")


def _read(config: Config, store: OpenStore, days: int, scope: Scope) -> Report:
    now = time.time()
    with store.reading() as connection:
        return read_report(connection, config, span_before(now, days), now, scope)


def _show(found: Report, name: str = "", *, as_json: bool) -> None:
    rows = [_row(each, as_json=as_json) for each in (found.whole, *found.chatbots)]
    if not as_json:
        output.say(f"{name}: {span_text(found.span)}" if name else span_text(found.span))
    output.show_rows(rows, _COLUMNS, as_json=as_json, spare=("slow_time", "before"))
    if as_json:
        return
    for each in found.problems:
        output.say(f"{each.title}: {each.why}")


def _row(line: ReportLine, *, as_json: bool) -> dict[str, Any]:
    numbers = line.numbers
    share, typical, slow = numbers.share, numbers.quantile(0.5), numbers.quantile(0.95)
    return {
        "id": line.chatbot or "all",
        "chatbot": line.chatbot or "all",
        "leads": numbers.received,
        "before": line.before.received,
        "delivered": numbers.delivered,
        "in_crm": share if as_json else percent(share),
        "typical_time": typical if as_json else lasting(typical),
        "slow_time": slow if as_json else lasting(slow),
        "waiting": numbers.waiting,
        "dead": numbers.dead,
    }


def _send(config: Config, store: OpenStore, chosen: Sequence[ReportSettings], days: int) -> dict[str, str | None]:
    """Send reports of the last days to all their receivers. Returns the failure of each receiver, or None."""
    found: dict[str, str | None] = {}
    for settings in chosen:
        message = report_message(settings.name, _read(config, store, days, Scope(settings.chatbots)))
        for label, url in settings.receivers.items():
            found[label] = _send_to(label, url, message)
    return found


def _send_left(
    config: Config, store: OpenStore, chosen: Sequence[ReportSettings], names: Sequence[str]
) -> dict[str, str | None]:
    """Send reports that were noted to the receivers that miss them. Returns the failure of each receiver, or None.

    Raises ConflictError if nobody misses one of the `names`.
    """
    found: dict[str, str | None] = {}
    for settings in chosen:
        now = time.time()
        try:
            with store.writing(queue=False) as connection:
                row, _ = take_left(connection, BY_COMMAND, settings.name, config, now)
        except ConflictError:
            if names:
                raise
            continue
        with store.reading() as connection:
            read = read_report(connection, config, span_before(row.due_at), now, Scope(settings.chatbots))
        message = report_message(settings.name, read)
        for label, url in settings.receivers.items():
            if label in row.left:
                failure = found[label] = _send_to(label, url, message)
                with store.writing(queue=False) as connection:
                    note_try(connection, row, label, time.time(), sent=failure is None)
    return found


def _send_to(label: str, url: str, message: Message) -> str | None:
    with output.waiting(f"sending to {label}"):
        return send_message(url, message)


def _show_sent(found: Mapping[str, str | None], *, as_json: bool) -> None:
    """Print what was sent; exit with status 1 after a failure."""
    if as_json:
        output.write_json(
            [{"id": label, "state": "failed" if each else "sent", "error": each} for label, each in found.items()]
        )
    for label, failure in found.items():
        if failure:
            output.complain(f"{label}: {failure}")
        elif not as_json:
            output.say(f"{label}: sent")
    if not found and not as_json:
        output.say("no receiver misses a report")
    if any(found.values()):
        raise typer.Exit(1)
