"""Types of settings, and the notation of their values: texts, names, lists, durations, addresses, times. Pure."""

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
)

from bridge.config.model import ListenAddress, WeeklyTime
from connectors.base import parse_duration, parse_size


def as_list(value: object) -> object:
    """Return a list with the text if the value is a single text."""
    return [value] if isinstance(value, str) else value


def as_serials(value: object) -> object:
    """Return a list with the serial number if the value is a single one. Raises ValueError for a map."""
    if isinstance(value, dict):
        raise ValueError("must be a serial number, or a list of serial numbers")  # noqa: TRY004 - pydantic reports ValueErrors
    return [value] if isinstance(value, str | int | float) or value is None else value


def _stripped(text: str) -> str:
    """Return a text without white space at its ends. Raises ValueError if nothing is left."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _as_written(value: object) -> object:
    """Return a whole number as text, which is exactly how it was written."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _one_destination(value: object) -> object:
    """Return the name of a destination as text. Raises ValueError for a list."""
    if isinstance(value, list):
        raise ValueError("must be the name of one destination: write a route of its own for each")  # noqa: TRY004 - pydantic reports ValueErrors
    return _as_written(value)


def parsed_setting(default: str, parse: Callable[[str], Any], description: str, example: str) -> Any:
    """Return a field with a parsed default that the JSON Schema shows as written."""
    return Field(
        default=parse(default), description=description, examples=[example], json_schema_extra={"default": default}
    )


TextSetting = Annotated[str, BeforeValidator(_as_written, json_schema_input_type=str | int)]
SecretText = Annotated[SecretStr, BeforeValidator(_as_written, json_schema_input_type=str | int)]
SecretTexts = Annotated[list[SecretText], BeforeValidator(as_list, json_schema_input_type=list[str | int] | str | int)]
SerialNumber = Annotated[TextSetting, StringConstraints(min_length=1), AfterValidator(_stripped)]
DestinationName = Annotated[str, BeforeValidator(_one_destination, json_schema_input_type=str | int)]
EventType = Literal["Lead", "Appointment"]


class StrictModel(BaseModel):
    """Base of all parts of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


UseSetting = Annotated[list[TextSetting], BeforeValidator(as_list, json_schema_input_type=list[str] | str)]


def use_setting(kind: str, example: str) -> Any:
    """Return the field `use`. The loader replaces it by the keys of the presets before a model sees them."""
    return Field(
        default=[],
        description=f"Name of a preset of `presets.{kind}`, or a list of names of which later ones win. Keys beside it "
        "replace those of the preset.",
        examples=[example],
    )


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


def parse_network(text: object) -> IPv4Network | IPv6Network:
    """Return a network: `10.0.0.0/8`, or one address such as `127.0.0.1`. Raises ValueError."""
    try:
        return ip_network(text if isinstance(text, str) else "")
    except ValueError:
        raise ValueError("must be an address or a network, such as 127.0.0.1 or 10.0.0.0/8") from None


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
NetworkSetting = Annotated[IPv4Network | IPv6Network, PlainValidator(parse_network), WithJsonSchema({"type": "string"})]
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
