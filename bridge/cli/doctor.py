"""`leadbridge doctor`: faults of the installation and their remedies, on one page."""

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import inputs, output
from bridge.cli.check import warning_line
from bridge.cli.inputs import ConfigOption, JsonOption, PathArgument
from bridge.config import Config, ConfigError
from bridge.config.reload import load_for_use
from bridge.config.yaml_reader import SourceTree
from bridge.errors import LeadbridgeError
from bridge.operations import health_check
from bridge.operations.health_check import HealthFinding
from bridge.operations.probe import probe_all
from bridge.operations.store_access import CommandVault, driver_of, good_texts, open_store
from connectors.base import Severity

_SHOWN = {Severity.NOTE: ("good", "green"), Severity.WARNING: ("look", "yellow"), Severity.ERROR: ("BAD", "red")}

app = output.application()


@app.command(epilog=output.examples("leadbridge doctor", "leadbridge doctor --url https://leads.example.com/webhook"))
def doctor(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="The webhook's https:// address, to look at its certificate."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check the installation without changing it; print one line for each check, with the remedy for each fault.

    It checks the configuration, the store, the clocks, the disk, dead letters and waiting leads. It asks
    `leadbridge serve` if it is ready, and each destination if it would accept the leads. With --url it also checks the
    webhook as the sender sees it. The exit status is 1 if a check fails, 0 otherwise.
    """
    with output.waiting("checking the installation, and asking each destination"):
        found = list(_found(inputs.chosen_path(path, config), url))
    if json:
        output.write_json([asdict(each) for each in found])
    else:
        for each in found:
            word, colour = _SHOWN[each.severity]
            output.say_hanging(f"{word:<5} {each.area:<13} ", each.message, colour)
    if any(each.severity is Severity.ERROR for each in found):
        raise typer.Exit(1)


def _found(path: Path | None, url: str | None) -> Iterator[HealthFinding]:
    file = inputs.config_path(path)
    try:
        config, places = inputs.read_placed(file)
    except ConfigError as error:
        yield from (HealthFinding("configuration", Severity.ERROR, str(each)) for each in error.problems)
        yield from _without_broken(file)
        return
    yield from (HealthFinding("configuration", Severity.WARNING, warning_line(each)) for each in config.warnings)
    yield HealthFinding("configuration", Severity.NOTE, f"{file}: no errors")
    yield from _stored(config)
    if config.server.admin.port:
        yield health_check.bridge(config.server.admin)
    if not config.alerts.to:
        yield HealthFinding("alerts", Severity.WARNING, "no alerts are configured: write alerts: {to: [...]}")
    if url:
        yield from health_check.webhook(url, time.time())
    yield from _destinations(config, places)


def _without_broken(file: Path) -> Iterator[HealthFinding]:
    """Check the configuration with the last good texts of the files that have errors, as `serve` would start."""
    try:
        config = load_for_use(file, os.environ, good_texts)[0]
    except ConfigError:
        yield HealthFinding(
            "configuration", Severity.NOTE, "fix this first: nothing else can be checked without a configuration"
        )
        return
    yield from _stored(config)
    if config.server.admin.port:
        yield health_check.bridge(config.server.admin)


def _stored(config: Config) -> Iterator[HealthFinding]:
    """Check the store and its leads; a store that cannot be used is a finding."""
    now = time.time()
    try:
        driver = driver_of(config)
        yield from health_check.files(driver, config.store.spool)
        opened = open_store(config)
        yield from health_check.store(opened, driver)
        yield from health_check.encryption(config)
        with opened.reading() as connection:
            found = list(health_check.check_clock(connection, driver, now))
            yield from found or [HealthFinding("clock", Severity.NOTE, "nothing speaks against it")]
            waits = list(health_check.leads(connection, config, now))
            yield from waits or [
                HealthFinding("leads", Severity.NOTE, "none is dead, none waits too long, no lane is paused")
            ]
            yield health_check.refused(connection)
    except LeadbridgeError as error:
        yield HealthFinding("store", Severity.ERROR, str(error))


def _destinations(config: Config, places: SourceTree) -> Iterator[HealthFinding]:
    for each in asyncio.run(probe_all(config, places, partial(CommandVault, config))):
        message = each.problem.message if each.severity is Severity.NOTE else str(each.problem)
        yield HealthFinding("destination", each.severity, f"{each.destination}: {message}")
