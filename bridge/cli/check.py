"""`leadbridge check`: all errors of a configuration at once."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption, PathArgument
from bridge.config import Config, ConfigError, ConfigProblem
from bridge.config.yaml_reader import SourceTree
from bridge.errors import LeadbridgeError
from bridge.operations.probe import probe_all
from connectors.base import Severity

app = output.application()

FindingRow = tuple[Severity, ConfigProblem]

_NAMED = 5  # names of destinations in one line


@app.command(
    epilog=output.examples(
        "leadbridge check", "leadbridge check acme.yaml --online", "leadbridge check -c conf.d --json"
    )
)
def check(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask the destinations too, if there is no error so far.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Report all errors of a configuration, one line each, as FILE:LINE:COLUMN: PATH: MESSAGE.

    A setting that works but is probably a mistake is shown as a warning. Nothing is started, and nothing is sent. With
    --online each destination is asked, without writing anything, if it is there, accepts the credentials, and knows
    the fields. Where a store is there (PostgreSQL only with --online), a destination that is no longer configured and
    whose deliveries wait is a warning. The exit status is 1 if there is an error, 0 otherwise.
    """
    found = inputs.config_path(inputs.chosen_path(path, config))
    try:
        settings, places = inputs.read_placed(found)
    except ConfigError as error:
        _show([*_rows(Severity.ERROR, error.problems), *_rows(Severity.WARNING, error.warnings)], as_json=json)
        raise typer.Exit(1) from error
    rows, well = _rows(Severity.WARNING, [*settings.warnings, *_removed(settings, places, online=online)]), list[str]()
    rows = sorted([*rows, *_rows(Severity.ERROR, _unknown_targets(settings, places))], key=lambda row: row[1])
    if online:
        more, well = _ask(settings, places, as_json=json)
        rows = sorted([*rows, *more], key=lambda row: row[1])
    _show(rows, as_json=json)
    for line in well:
        output.say(line)
    if any(severity is Severity.ERROR for severity, _ in rows):
        raise typer.Exit(1)
    if not json:
        output.say(f"{found}: good. {_summary(settings)}")


def _removed(config: Config, places: SourceTree, *, online: bool) -> list[ConfigProblem]:
    """Return a warning for each destination that is no longer configured and whose deliveries wait in the store.

    A store that is not there or cannot be read is no finding of a check; `doctor` reports it.
    """
    file = config.store.url.partition("sqlite:///")[2].partition("?")[0]
    if not (Path(file).exists() if file else online):
        return []
    from bridge.operations.lanes import removed_lanes  # as below
    from bridge.operations.store_access import open_store  # as below

    try:
        with open_store(config).reading() as connection:
            found = removed_lanes(connection, config, time.time())
    except LeadbridgeError:
        return []
    return [places.at_key(("destinations", each.name), each.why() or "") for each in found]


def _ask(config: Config, places: SourceTree, *, as_json: bool) -> tuple[list[FindingRow], list[str]]:
    """Ask the destinations; return the findings, and a line for each good destination (with JSON a row)."""
    from bridge.operations.store_access import CommandVault  # SQLAlchemy, a fifth of the time of a check without it

    with output.waiting() as show:
        count = len(config.destinations)

        def waiting_for(names: Sequence[str]) -> None:
            more = ", …" if len(names) > _NAMED else ""
            awaited = f"; waiting for {', '.join(names[:_NAMED])}{more}" if names else ""
            show(f"{count - len(names)} of {count} destinations have answered{awaited}")

        seen = asyncio.run(probe_all(config, places, partial(CommandVault, config), waiting_for))
    rows = [(each.severity, each.problem) for each in seen if as_json or each.severity is not Severity.NOTE]
    notes = [f"{each.destination}: {each.problem.message}" for each in seen if each.severity is Severity.NOTE]
    return rows, [] if as_json else notes


def _unknown_targets(config: Config, places: SourceTree) -> list[ConfigProblem]:
    """Return the targets of alerts and reports that Apprise does not know.

    Only the command asks: Apprise takes half a second.
    """
    paths: list[tuple[str, ...]] = [("alerts", "to")] if config.alerts.to else []
    paths += [("reports", name, "to") for name, each in config.reports.items() if each.to]
    if not paths:
        return []
    from bridge.alerts.targets import UNKNOWN, is_address

    found = []
    for path in paths:
        written = places.value(path)
        urls = {(): written} if isinstance(written, str) else {(at,): url for at, url in enumerate(written)}
        unknown = [at for at, url in urls.items() if url and not is_address(str(url))]
        found += [places.at_value((*path, *at), UNKNOWN) for at in unknown]
    return found


def _rows(severity: Severity, problems: Iterable[ConfigProblem]) -> list[FindingRow]:
    return [(severity, problem) for problem in problems]


def _show(rows: Iterable[FindingRow], *, as_json: bool) -> None:
    """Write the findings to standard output, where editors read them."""
    if as_json:
        output.write_json([{"severity": severity.value, **asdict(problem)} for severity, problem in rows])
        return
    for severity, problem in rows:
        output.say(str(problem) if severity is Severity.ERROR else warning_line(problem))


def warning_line(warning: ConfigProblem) -> str:
    """Write a warning in the form of an error, marked as a warning."""
    place = f"{warning.file}:{warning.line}:{warning.column}"
    return f"{place}: {warning.path}: warning: {warning.message}"


def _summary(config: Config) -> str:
    """Return a line about the configuration."""
    chatbots = [f"{each.name} ({_count(len(each.routes), 'route')})" for each in config.chatbots.values()]
    destinations = [f"{each.name} ({each.connector_name})" for each in config.destinations.values()]
    return f"Chatbots: {_named(chatbots)}. Destinations: {_named(destinations)}."


def _named(names: Sequence[str]) -> str:
    """Return a few names, or their number."""
    return str(len(names)) if len(names) > _NAMED else ", ".join(names) or "none"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
