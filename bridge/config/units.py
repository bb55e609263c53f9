"""Durations, sizes and addresses as the configuration writes them. Pure."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from bridge.config.model import ListenAddress

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_BYTES: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?) ?(ms|s|m|h|d)", re.ASCII)
_SIZE: Final = re.compile(r"(\d{1,9}) ?(B|KiB|MiB|GiB)", re.ASCII)
_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<name>[^\s\[\]:/@]*)):(?P<port>\d{1,5})", re.ASCII)
_PORTS: Final = 65_536


def parse_duration(text: object) -> float:
    """Read `500ms`, `30s`, `5m`, `12h`, `30d`; gives seconds. 0 needs no unit. Raises ValueError."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found:
        return float(found[1]) * _SECONDS[found[2]]
    if text == 0 and not isinstance(text, bool):
        return 0.0
    raise ValueError("must be a duration such as 30s, 5m, 12h or 30d")


def parse_size(text: object) -> int:
    """Read `512B`, `256KiB`, `1MiB`, `1GiB`; gives bytes. Raises ValueError."""
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if not found or not int(found[1]):
        raise ValueError("must be a size such as 256KiB or 1MiB")
    return int(found[1]) * _BYTES[found[2]]


def parse_address(text: object) -> ListenAddress:
    """Read `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, or `:8080` for all addresses. Raises ValueError."""
    found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if not found or int(found["port"]) >= _PORTS:
        raise ValueError("must be an address and a port, such as 127.0.0.1:8081 or [::1]:8081")
    return ListenAddress(found["v6"] or found["name"] or "0.0.0.0", int(found["port"]))  # noqa: S104 - asked for by `:8080`


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
"""Seconds; 0 is allowed."""
PositiveDuration = Annotated[
    float, PlainValidator(parse_duration), AfterValidator(_some_time), WithJsonSchema({**_WRITTEN})
]
"""Seconds, more than 0."""
ByteSize = Annotated[
    int,
    PlainValidator(parse_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,9} ?(B|KiB|MiB|GiB)$", "examples": ["256KiB", "1MiB"]}),
]
"""Bytes, more than 0."""
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
