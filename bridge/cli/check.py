"""`leadbridge check`: all that is wrong with a configuration, at once."""

from collections.abc import Iterable
from dataclasses import asdict

import typer

from bridge.cli import configuration, output
from bridge.cli.options import JsonOption, PathArgument
from bridge.config import Config, ConfigError, Problem

app = output.application()


@app.command()
def check(path: PathArgument = None, *, json: JsonOption = False) -> None:
    """Say all that is wrong with a configuration, one line each, as FILE:LINE:COLUMN: PATH: what is wrong.

    What works but is likely not meant is shown as a warning. Nothing is started, and nothing is sent. The exit status
    is 1 if there is an error, 0 otherwise.
    """
    found = configuration.find(path)
    try:
        config = configuration.read(found)
    except ConfigError as error:
        _show(error.problems, error.warnings, as_json=json)
        raise typer.Exit(1) from error
    _show((), config.warnings, as_json=json)
    if not json:
        output.say(f"{found}: good. {_summary(config)}")


def _show(problems: Iterable[Problem], warnings: Iterable[Problem], *, as_json: bool) -> None:
    """Write the findings to standard output: they are what was asked for, and what an editor reads."""
    if as_json:
        rows = [("error", each) for each in problems] + [("warning", each) for each in warnings]
        output.write_json([{"severity": severity, **asdict(problem)} for severity, problem in rows])
        return
    for problem in problems:
        output.say(str(problem))
    for warning in warnings:
        output.say(warning_line(warning))


def warning_line(warning: Problem) -> str:
    """Write a warning in the form of an error, and say that it is none."""
    place = f"{warning.file}:{warning.line}:{warning.column}"
    return f"{place}: {warning.path}: warning: {warning.message}"


def _summary(config: Config) -> str:
    """Say in a line what is configured."""
    destinations = ", ".join(f"{each.name} ({each.connector_name})" for each in config.destinations.values())
    chatbots = ", ".join(f"{each.name} ({_count(len(each.routes), 'route')})" for each in config.chatbots.values())
    return f"Chatbots: {chatbots or 'none'}. Destinations: {destinations or 'none'}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
