"""Configuration, events, ids and common options of the commands."""

import gc
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from bridge.cli import output
from bridge.config import Config
from bridge.config.load import load_placed
from bridge.config.reload import load_for_use
from bridge.config.yaml_reader import SourceTree
from bridge.errors import LeadbridgeError, OperatorError, StoreUnavailableError
from bridge.operations.audit import Action, ActionResult, Subject
from bridge.operations.store_access import good_texts
from bridge.store.interface import PAGE
from connectors.base import parse_duration

VARIABLE = "LEADBRIDGE_CONFIG"
DEFAULT = "config.yaml"

_LONG = 1.0  # seconds; shorter work shows no progress

T = TypeVar("T")


def chosen_path(path: Path | None, config: Path | None) -> Path | None:
    """Return the path that a command has as its argument or as --config. Raises BadParameter if it has both."""
    if path and config:
        raise typer.BadParameter("name the configuration once: as PATH, or with --config")
    return path or config


def config_path(path: Path | None) -> Path:
    """Return the path of the configuration: the argument, else the variable's value, else the default.

    Raises OperatorError if there is no such file or folder.
    """
    found = path or Path(os.environ.get(VARIABLE) or DEFAULT)
    if not found.exists():
        raise OperatorError(f"{found}: no such file or folder; name the configuration, or set {VARIABLE} to its path")
    return found


def read_config(path: Path | None) -> Config:
    """Find and read the configuration, with the last good text of each file that has an error, as `serve` does.

    Writes the errors to standard error. Raises OperatorError, and ConfigError if `serve` could not start.
    """
    found = config_path(path)
    config = _without_collection(lambda: load_for_use(found, os.environ, good_texts)[0])
    for each in (problem for fault in config.faults for problem in fault.problems):
        output.complain(str(each))
    return config


def read_whole(path: Path | None) -> Config:
    """Find and read the configuration. Raises ConfigError with everything that is wrong with it, or OperatorError."""
    return read_placed(path)[0]


def read_placed(path: Path | None) -> tuple[Config, SourceTree]:
    """Read the configuration as `read_whole` does, with the positions of its parts."""
    found = config_path(path)
    return _without_collection(lambda: load_placed(found, os.environ))


def _without_collection(make: Callable[[], T]) -> T:
    # A thousand files are a million objects that all stay. The garbage collector would take a fifth of the time while
    # they are made, and as long again with each later collection, also at the end of the process.
    gc.disable()
    try:
        with output.waiting("reading the configuration", after=_LONG):
            return make()
    finally:
        gc.freeze()
        gc.enable()


LIMIT = 10_000
"""Maximum number of rows of a page."""

_CONFIGURATION = f"The configuration: a YAML file, or a folder of them. Default: ${VARIABLE}, then {DEFAULT}."

PathArgument = Annotated[Path | None, typer.Argument(metavar="PATH", show_default=False, help=_CONFIGURATION)]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="PATH", show_default=False, help=_CONFIGURATION)
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="Only rows from this time on: 24h (ago), 2026-11-25, or 2026-11-25T09:00."
    ),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only rows before this time, written like --since.")
]

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
ChangesOption = Annotated[
    bool, typer.Option("--json", help="Write an array of objects with id, state, message and error, for programs.")
]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=LIMIT, help="Show at most N rows.")]
PAGE_ROWS = PAGE
ChatbotOption = Annotated[str | None, typer.Option("--chatbot", metavar="NAME", help="Only rows of this chatbot.")]
DestinationOption = Annotated[
    str | None, typer.Option("--destination", metavar="NAME", help="Only rows of this destination.")
]
BeforeOption = Annotated[
    int | None, typer.Option("--before", metavar="ID", min=1, help="Only rows older than this one: the next page.")
]


def moment(text: str | None, now: float, option: str) -> float | None:
    """Read a time: a duration before now, a date, or a date and time, in UTC unless it names another zone.

    Raises BadParameter.
    """
    if text is None:
        return None
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"`{text}` is not a time; write 24h or 7d for the time since then, 2026-11-25, or 2026-11-25T09:00"
        raise typer.BadParameter(message, param_hint=option) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


Id = TypeVar("Id")

_STATES = {
    Action.REPLAY: "pending",
    Action.MOVE: "pending",
    Action.DISCARD: "discarded",
    Action.PAUSE: "paused",
    Action.RESUME: "resumed",
    Action.RELEASE: "accepted",
}
"""State of an object after an action."""
_NUMBERED = {Subject.DELIVERY, Subject.REQUEST}
_DELIVERY = re.compile(r"[1-9][0-9]{0,17}")


def delivery_id(text: str) -> int | None:
    """Read the id of a delivery: a number that does not begin with 0, as the ids of events do until the year 2106."""
    return int(text) if _DELIVERY.fullmatch(text) else None


def for_each(ids: Iterable[Id], act: Callable[[Id], None]) -> None:
    """Call `act` for each id, in order; print its errors, go on with the others, and end with exit status 1.

    A store in trouble ends the loop at once: the other ids would fail too.
    """
    failed = False
    for each in ids:
        try:
            act(each)
        except StoreUnavailableError:
            raise
        except LeadbridgeError as error:
            output.complain(output.error_text(error))
            failed = True
    if failed:
        raise typer.Exit(1)


def show_each(ids: Collection[Id], show: Callable[[Id], Any], *, as_json: bool) -> None:
    """Call `show` for each id as `for_each` does. With JSON write its values: one alone, several as an array."""
    values = list[Any]()
    try:
        for_each(ids, lambda each: values.append(show(each)))
    finally:
        if as_json and len(ids) > 1:
            output.write_json(values)
        elif as_json and values:
            output.write_json(values[0])


def change_each(ids: Iterable[Id], change: Callable[[Id], ActionResult], *, as_json: bool) -> None:
    """Call `change` for each id as `for_each` does, and print the results; with JSON as one array of objects.

    An object has the `id`, the new `state`, and a `message`, or for an id that was not changed the `error`.
    """
    rows = list[dict[str, Any]]()

    def change_one(name: Id) -> None:
        try:
            result = change(name)
        except LeadbridgeError as error:
            rows.append({"id": name, "state": None, "message": None, "error": str(error)})
            raise
        for line, entry in zip(result.lines, result.entries, strict=True):
            subject = entry.subject_id or ""
            number = int(subject) if entry.subject in _NUMBERED else subject
            is_event = entry.subject is Subject.EVENT and entry.action is Action.REPLAY
            state = "accepted" if is_event else _STATES.get(entry.action)
            rows.append({"id": number, "state": state, "message": line, "error": None})
            if not as_json:
                output.say(line)

    try:
        for_each(ids, change_one)
    finally:
        if as_json:
            output.write_json(rows)


def confirm(question: str, *, yes: bool) -> None:
    """Ask a question in a terminal, and end the command unless the answer is yes; `yes` answers it beforehand."""
    if yes:
        return
    if not is_interactive():
        raise typer.BadParameter(f"{question} Confirm with --yes, because this is not a terminal")
    typer.confirm(question, abort=True, err=True)


def is_interactive() -> bool:
    """Return True if a person can answer a question."""
    return sys.stdin.isatty()


def check_selection(ids: Collection[object] | None, *, everything: bool) -> None:
    """Raise BadParameter unless there are either IDs or --all."""
    if bool(ids) == everything:
        raise typer.BadParameter("name IDs, or use --all")


STANDARD_INPUT = Path("-")

_CONFIGURATION_SUFFIXES = {".yaml", ".yml"}


def is_configuration(path: Path) -> bool:
    """Return True if an argument must be the configuration, judging by its name."""
    return path.suffix.lower() in _CONFIGURATION_SUFFIXES or (path != STANDARD_INPUT and path.is_dir())


def split_required_event(arguments: list[Path]) -> tuple[Path | None, Path]:
    """Read `[PATH] EVENT.json`. Raises BadParameter for anything else."""
    path, event = split_event(arguments)
    if event is None:
        raise typer.BadParameter("name the event too: a file of JSON, or - for standard input")
    return path, event


def split_event(arguments: list[Path]) -> tuple[Path | None, Path | None]:
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
