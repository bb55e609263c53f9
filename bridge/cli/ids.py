"""How a person names an event: by its id, or by a beginning of it that is unique."""

import re

from sqlalchemy import Connection

from bridge.errors import OperatorError
from bridge.store import questions
from bridge.store.questions import EventRow

LEAST_DIGITS = 6
"""So many digits of an event's id at least, where only its beginning is given."""

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
