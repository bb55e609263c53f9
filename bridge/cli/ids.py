"""How a person names deliveries and events, one or several at a time."""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import typer
from sqlalchemy import Connection

from bridge.cli import output
from bridge.errors import LeadbridgeError, OperatorError, StoreUnavailableError
from bridge.store import questions
from bridge.store.questions import EventRow

LEAST_DIGITS = 6
"""So many digits of an event's id at least, where only its beginning is given."""

Id = TypeVar("Id")

_DELIVERY = re.compile(r"[1-9][0-9]{0,17}")
_EVENT = re.compile(f"[0-9a-f]{{{LEAST_DIGITS},{questions.ID_DIGITS}}}")


def delivery_id(text: str) -> int | None:
    """Read the id of a delivery: a number that does not begin with 0, as the ids of events do until the year 2106."""
    return int(text) if _DELIVERY.fullmatch(text) else None


def find_event(connection: Connection, text: str) -> EventRow:
    """Find the one event whose id begins so. Raises OperatorError if there is none, or more than one."""
    if not _EVENT.fullmatch(text.lower()):
        raise OperatorError(
            f"{text}: not the id of an event, which is {questions.ID_DIGITS} hexadecimal digits, or its first "
            f"{LEAST_DIGITS} or more"
        )
    found = questions.events_like(connection, text.lower())
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
