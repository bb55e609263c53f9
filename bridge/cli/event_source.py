"""Reading an event from a file or from standard input, and telling its argument from the configuration's."""

import sys
from pathlib import Path

import typer

from bridge.errors import OperatorError

STANDARD_INPUT = Path("-")

_CONFIGURATION_SUFFIXES = {".yaml", ".yml"}


def is_configuration(path: Path) -> bool:
    """Whether an argument must mean the configuration, to judge by its name."""
    return path.suffix.lower() in _CONFIGURATION_SUFFIXES or (path != STANDARD_INPUT and path.is_dir())


def split_required(arguments: list[Path]) -> tuple[Path | None, Path]:
    """Read `[PATH] EVENT.json`. Raises BadParameter for anything else."""
    path, event = split(arguments)
    if event is None:
        raise typer.BadParameter("name the event too: a file of JSON, or - for standard input")
    return path, event


def split(arguments: list[Path]) -> tuple[Path | None, Path | None]:
    """Read `[PATH] [EVENT.json]`; one argument is the event, unless its name says that it is the configuration."""
    if len(arguments) > 2:  # noqa: PLR2004 - the two of the usage line
        raise typer.BadParameter("at most two arguments: the configuration and the event")
    path: Path | None = None
    event: Path | None = None
    if len(arguments) > 1:
        path, event = arguments
    elif arguments and is_configuration(arguments[0]):
        path = arguments[0]
    elif arguments:
        event = arguments[0]
    return path, event


def read_event(path: Path) -> bytes:
    """Read the event's bytes. Raises OperatorError."""
    if path == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}; name a file that holds the event as JSON") from error
