"""Finding the configuration and reading it; the one place of the commands that does."""

import gc
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from sqlalchemy import Connection

from bridge.cli import output
from bridge.config import Config
from bridge.config.load import load_placed
from bridge.config.reload import load_tolerant
from bridge.config.yaml_reader import SourceTree
from bridge.errors import LeadbridgeError, OperatorError, StoreUnavailableError
from bridge.store import queries
from bridge.store.interface import PAGE
from bridge.store.queries import EventRow

VARIABLE = "LEADBRIDGE_CONFIG"
DEFAULT = "config.yaml"

T = TypeVar("T")


def find(path: Path | None) -> Path:
    """Give the path of the configuration: the one given, else the variable's, else the default.

    Raises OperatorError if there is nothing there.
    """
    found = path or Path(os.environ.get(VARIABLE) or DEFAULT)
    if not found.exists():
        raise OperatorError(f"{found}: no such file or folder; name the configuration, or set {VARIABLE} to its path")
    return found


def read(path: Path | None) -> Config:
    """Find and read the configuration, without the files of a folder that have errors, as `serve` does.

    Writes the errors of these files to standard error. Raises ConfigError if nothing can be done without them, or
    OperatorError.
    """
    found = find(path)
    config = _made(lambda: load_tolerant(found, os.environ)[0])
    for each in (problem for file in config.left_out for problem in file.problems):
        output.complain(str(each))
    return config


def read_whole(path: Path | None) -> Config:
    """Find and read the configuration. Raises ConfigError with everything that is wrong with it, or OperatorError."""
    return read_placed(path)[0]


def read_placed(path: Path | None) -> tuple[Config, SourceTree]:
    """Do what `read_whole` does, and tell beside it where everything stands."""
    found = find(path)
    return _made(lambda: load_placed(found, os.environ))


def _made(make: Callable[[], T]) -> T:
    # A thousand files are a million objects, all of which stay. To look for garbage among them takes a fifth of the
    # time while they are made, and as much again each time, the last when the process ends.
    gc.disable()
    try:
        return make()
    finally:
        gc.freeze()
        gc.enable()


LIMIT = 10_000
"""The most rows of a page."""

_CONFIGURATION = f"The configuration: a YAML file, or a folder of them. Default: ${VARIABLE}, then {DEFAULT}."

PathArgument = Annotated[Path | None, typer.Argument(metavar="PATH", show_default=False, help=_CONFIGURATION)]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="PATH", show_default=False, help=_CONFIGURATION)
]
"""The configuration of a command whose arguments are ids or names."""

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=LIMIT, help="Show N rows at most.")]
PAGE_ROWS = PAGE
ChatbotOption = Annotated[str | None, typer.Option("--chatbot", metavar="NAME", help="Only those of this chatbot.")]
DestinationOption = Annotated[
    str | None, typer.Option("--destination", metavar="NAME", help="Only those for this destination.")
]
BeforeOption = Annotated[
    int | None, typer.Option("--before", metavar="ID", min=1, help="Only those older than this one: the next page.")
]


LEAST_DIGITS = 6
"""So many digits of an event's id at least, where only its beginning is given."""

Id = TypeVar("Id")

_DELIVERY = re.compile(r"[1-9][0-9]{0,17}")
_EVENT = re.compile(f"[0-9a-f]{{{LEAST_DIGITS},{queries.ID_DIGITS}}}")


def delivery_id(text: str) -> int | None:
    """Read the id of a delivery: a number that does not begin with 0, as the ids of events do until the year 2106."""
    return int(text) if _DELIVERY.fullmatch(text) else None


def find_event(connection: Connection, text: str) -> EventRow:
    """Find the one event whose id begins so. Raises OperatorError if there is none, or more than one."""
    if not _EVENT.fullmatch(text.lower()):
        raise OperatorError(
            f"{text}: not the id of an event, which is {queries.ID_DIGITS} hexadecimal digits, or its first "
            f"{LEAST_DIGITS} or more"
        )
    found = queries.events_like(connection, text.lower())
    if not found:
        raise OperatorError(f"{text}: no event has this id; see `leadbridge events list`")
    if len(found) > 1:
        raise OperatorError(f"{text}: several events have an id that begins so; write more digits of it")
    return found[0]


def for_each(ids: Iterable[Id], act: Callable[[Id], None]) -> None:
    """Do something for each id, in order; say what cannot be done and go on with the others, then exit status 1.

    A store in trouble ends it at once: it would be in trouble for the others too.
    """
    failed = False
    for each in ids:
        try:
            act(each)
        except StoreUnavailableError:
            raise
        except LeadbridgeError as error:
            output.complain(str(error))
            failed = True
    if failed:
        raise typer.Exit(1)
