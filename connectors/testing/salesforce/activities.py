"""The times of an Event: required values, and derived ones. Pure.

An event has a start and an end or a duration, or it is an all-day event with a day (Object Reference, Event).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from connectors.testing.salesforce.problems import ProblemError, refused_record
from connectors.testing.salesforce.values import moment, read_moment

_LONGEST = timedelta(days=14)
_DAY = 1440  # minutes


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
        "DurationInMinutes": values.get("DurationInMinutes") or _DAY,
    }


def _impossible(why: str, field: str) -> ProblemError:
    return refused_record("FIELD_INTEGRITY_EXCEPTION", why, field)
