"""The values of fields: their stored form, the times of an Event, and refusals. Pure.

An event has a start and an end or a duration, or it is an all-day event with a day (Object Reference, Event).
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from connectors.testing.salesforce.objects import Field
from connectors.testing.salesforce.problems import Problem, ProblemError, refused, refused_record

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
_ZONED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:?\d\d)", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", re.ASCII)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_SHORT_ID = 15

_LONGEST = timedelta(days=14)
_ONE_DAY = 1440  # minutes


def full_id(record_id: str) -> str | None:
    """Return the id with 18 characters, or None for an invalid one.

    The last three show which of the first 15 are capitals, five to a character (Object Reference, ID Field Type).
    """
    if not _ID.fullmatch(record_id):
        return None
    short = record_id[:_SHORT_ID]
    groups = (short[start : start + 5] for start in range(0, _SHORT_ID, 5))
    made = short + "".join(_LETTERS[sum(char.isupper() << bit for bit, char in enumerate(group))] for group in groups)
    return made if record_id in (short, made) else None


def read_all(fields: Mapping[str, Field], document: Mapping[str, Any], type_name: str) -> dict[str, Any]:
    """Return a record's values in stored form. Empty text is null; blanks around text are removed.

    Raises:
        ProblemError: an unknown field, or a value of another type; the record is then `unread`.
    """
    values = {}
    for name, value in document.items():
        if name == "attributes":
            continue
        if name not in fields:
            problem = Problem("INVALID_FIELD", f"No such column '{name}' on sobject of type {type_name}", None)
            raise ProblemError(400, problem, unread=True)
        values[name] = None if value is None else _read(fields[name], value)
    return values


def problems_of(fields: Mapping[str, Field], values: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of readable values."""
    found = (_problem(fields[name], value) for name, value in values.items() if value is not None)
    return [problem for problem in found if problem]


def moment(seconds: float) -> str:
    """Return a time in the form of answers."""
    return _written(datetime.fromtimestamp(seconds, UTC))


def read_moment(value: str) -> datetime:
    """Return a stored time."""
    return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%f%z")


def _written(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}+0000"


def _read(field: Field, value: object) -> Any:
    if field.kind == "boolean":
        if isinstance(value, bool):
            return value
    elif field.kind in ("int", "double", "currency"):
        whole = field.kind == "int"
        if isinstance(value, int if whole else int | float) and not isinstance(value, bool):
            return value
    elif isinstance(value, str):
        if field.kind == "date":
            return _read_day(field, value)
        if field.kind == "datetime":
            return _read_moment(field, value)
        return value.strip() or None
    raise _unreadable(field, value)


def _read_day(field: Field, value: str) -> str:
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass  # a day that no calendar has
    raise _unreadable(field, value)


def _read_moment(field: Field, value: str) -> str:
    try:
        if _ZONED.fullmatch(value):
            return _written(datetime.fromisoformat(value))
    except ValueError:
        pass  # a time that no clock shows
    raise _unreadable(field, value)


def _unreadable(field: Field, value: object) -> ProblemError:
    wanted = "string" if field.is_text or field.kind in ("id", "reference") else field.kind
    shown = {str: f"VALUE_STRING value {value}", bool: f"VALUE_BOOLEAN value {str(value).lower()}"}
    seen = shown.get(type(value)) or (f"VALUE_NUMBER value {value}" if isinstance(value, int | float) else "an object")
    message = f"Cannot deserialize instance of {wanted} from {seen}"
    error = refused(400, "JSON_PARSER_ERROR", f"{message} or request may be missing a required field")
    return ProblemError(error.status, *error.problems, unread=True)


def _problem(field: Field, value: Any) -> Problem | None:
    if field.is_text and len(value) > field.length:
        message = f"{field.title}: data value too large: {value} (max length={field.length})"
        return Problem("STRING_TOO_LONG", message, (field.name,))
    if field.kind == "email" and not _EMAIL.fullmatch(value):
        return Problem("INVALID_EMAIL_ADDRESS", f"{field.title}: invalid email address: {value}", (field.name,))
    if field.restricted and value not in field.values:
        message = f"{field.title}: bad value for restricted picklist field: {value}"
        return Problem("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, (field.name,))
    if field.kind == "reference" and full_id(value) is None:
        return Problem("MALFORMED_ID", f"{field.title}: id value of incorrect type: {value}", (field.name,))
    return None


def event_times(values: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the times derived from an event's values.

    Args:
        values: The event after the write.
        written: Values of the write itself; they decide between an end and a duration that disagree.

    Raises:
        ProblemError: for an event without times, or with impossible times.
    """
    if values.get("IsAllDayEvent"):
        return _all_day(values)
    start = written.get("StartDateTime") or written.get("ActivityDateTime")
    start = start or values.get("StartDateTime") or values.get("ActivityDateTime")
    end, minutes = written.get("EndDateTime"), written.get("DurationInMinutes")
    if end is None and minutes is None:
        minutes = values.get("DurationInMinutes")
    missing = [
        name
        for name, value in (("DurationInMinutes", end if minutes is None else minutes), ("ActivityDateTime", start))
        if value is None
    ]
    if missing or start is None:
        raise refused_record("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", *missing)
    begin = read_moment(start)
    lasting = timedelta(minutes=minutes) if minutes is not None else read_moment(end or start) - begin
    if end is not None and begin + lasting != read_moment(end):
        raise _impossible("the duration and the end of the event do not agree", "DurationInMinutes")
    if lasting < timedelta(0):
        raise _impossible("the event cannot end before it starts", "EndDateTime")
    if lasting > _LONGEST:
        raise _impossible("an event cannot last longer than 14 days", "EndDateTime")
    return {
        "StartDateTime": start,
        "ActivityDateTime": start,
        "ActivityDate": start[:10],
        "EndDateTime": moment((begin + lasting).timestamp()),
        "DurationInMinutes": int(lasting.total_seconds() // 60),
    }


def _all_day(values: Mapping[str, Any]) -> dict[str, Any]:
    day = values.get("ActivityDate") or (values.get("StartDateTime") or "")[:10]
    if not day:
        missing = "ActivityDate"
        raise refused_record("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{missing}]", missing)
    midnight = f"{day}T00:00:00.000+0000"
    return {
        "ActivityDate": day,
        "ActivityDateTime": None,
        "StartDateTime": midnight,
        "EndDateTime": values.get("EndDateTime") or midnight,
        "DurationInMinutes": values.get("DurationInMinutes") or _ONE_DAY,
    }


def _impossible(why: str, field: str) -> ProblemError:
    return refused_record("FIELD_INTEGRITY_EXCEPTION", why, field)
