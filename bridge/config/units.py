"""Durations, sizes, addresses and times in the notation of the configuration. Pure."""

import re
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from bridge.config.model import ListenAddress, WeeklyTime
from connectors.base import parse_duration, parse_size

_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<name>[^\s\[\]:/@]*)):(?P<port>\d{1,5})", re.ASCII)
_PORTS: Final = 65_536
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKLY: Final = re.compile(rf"(?P<day>{'|'.join(_WEEKDAYS)}) +(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)", re.ASCII)


def parse_address(text: object) -> ListenAddress:
    """Return an address: `127.0.0.1:8080`, `[::1]:8080`, or `:8080` for all addresses. Raises ValueError."""
    match = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if not match or int(match["port"]) >= _PORTS:
        raise ValueError("must be an address and a port, such as 127.0.0.1:8081 or [::1]:8081")
    return ListenAddress(match["v6"] or match["name"] or "0.0.0.0", int(match["port"]))  # noqa: S104 - asked for by `:8080`


def parse_weekly(text: object) -> WeeklyTime:
    """Return a moment of each week: `monday 08:00`. Raises ValueError."""
    match = _WEEKLY.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if not match:
        raise ValueError("must be a day and a time, such as monday 08:00")
    return WeeklyTime(_WEEKDAYS.index(match["day"]), int(match["hour"]), int(match["minute"]))


def parse_time_zone(text: object) -> ZoneInfo:
    """Return a time zone by its name. Raises ValueError."""
    try:
        return ZoneInfo(text) if isinstance(text, str) else ZoneInfo("")
    except (ValueError, OSError, LookupError):
        raise ValueError("must be the name of a time zone, such as Europe/Berlin or UTC") from None


def _some_time(seconds: float) -> float:
    if not seconds:
        raise ValueError("must be longer than 0s")
    return seconds


_WRITTEN: Final = {
    "type": "string",
    "pattern": r"^\d{1,9}(\.\d{1,6})? ?(ms|s|m|h|d)$",
    "examples": ["30s", "5m", "12h", "30d"],
}
Duration = Annotated[float, PlainValidator(parse_duration), WithJsonSchema({"anyOf": [_WRITTEN, {"const": 0}]})]
"""Number of seconds; 0 is allowed."""
PositiveDuration = Annotated[
    float, PlainValidator(parse_duration), AfterValidator(_some_time), WithJsonSchema({**_WRITTEN})
]
"""Number of seconds, more than 0."""
ByteSize = Annotated[
    int,
    PlainValidator(parse_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,9} ?(B|KiB|MiB|GiB)$", "examples": ["256KiB", "1MiB"]}),
]
"""Number of bytes, more than 0."""
ListenSetting = Annotated[
    ListenAddress,
    PlainValidator(parse_address),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(\[[^\]]+\]|[^\s\[\]:/@]*):\d{1,5}$",
            "examples": ["0.0.0.0:8080", "127.0.0.1:8081", "[::1]:8081"],
        }
    ),
]
WeeklySetting = Annotated[
    WeeklyTime,
    PlainValidator(parse_weekly),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^({'|'.join(_WEEKDAYS)}) +([01]?\d|2[0-3]):[0-5]\d$",
            "examples": ["monday 08:00", "friday 17:30"],
        }
    ),
]
TimeZoneSetting = Annotated[
    ZoneInfo, PlainValidator(parse_time_zone), WithJsonSchema({"type": "string", "examples": ["Europe/Berlin", "UTC"]})
]
