"""What a transform is, and how its arguments are checked. Pure.

The transforms themselves are in `transforms`; one of a plugin's is made of the same parts.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import orjson

from bridge.errors import did_you_mean
from bridge.mapping import budget
from bridge.mapping.budget import FIELD_TEXT

Step = Callable[[Any], Any]
"""A transform with its arguments filled in."""

REQUIRED: Final = object()
"""The default of an argument that must be given."""
_KINDS: Final = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
_CALL: Final = 1_000
"""Steps of the budget that any call of a transform takes."""
_LEAST: Final = 4
"""Characters that a call takes steps for even if the value is shorter."""
_BOOLEANS: Final = {"true": True, "false": False}


class TransformError(ValueError):
    """A transform that is asked for wrongly. The message says how it is asked for rightly, and holds no value."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that a transform takes."""

    name: str
    kinds: tuple[type, ...]
    """What it may be: of `str`, `int`, `float`, `bool`, `list` and `dict`."""
    description: str
    default: Any = REQUIRED
    constant: bool = False
    """Whether a template must write it out: computed from an event's values it would be a stranger's to choose."""

    def check(self, value: Any) -> Any:  # noqa: ANN401 - arguments are whatever the author wrote
        """Give the value in one of the kinds, a text being read as what it says; raises `TransformError`."""
        fits = bool in self.kinds if isinstance(value, bool) else isinstance(value, self.kinds)
        if fits:
            return value
        read = self._read(value)
        if read is None:
            kinds = " or ".join(_KINDS[kind] for kind in self.kinds)
            why = f": {self.description}" if self.description else ""
            raise TransformError(f"`{self.name}` must be {kinds}{why}")
        return read

    def _read(self, value: object) -> float | None:
        """Read what a variable can only give as text, and a whole number where any number will do."""
        if bool in self.kinds and isinstance(value, str) and value in _BOOLEANS:
            return _BOOLEANS[value]
        if int in self.kinds and isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
            return int(value)
        if float not in self.kinds or isinstance(value, bool):
            return None
        written = str(value) if isinstance(value, str | int) else ""
        return float(written) if re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", written, re.ASCII) else None


@dataclass(frozen=True, slots=True)
class Transform:
    """A transform as the configuration knows it."""

    name: str
    description: str
    make: Callable[..., Step]
    """Given the checked arguments in the order of `parameters`, makes the step; may raise `TransformError`."""
    parameters: tuple[Parameter, ...] = ()
    rate: int = 10
    """Steps of the budget that a character of the value takes at the most; see `bridge.mapping.budget`."""
    reads: int = FIELD_TEXT
    """Characters of the value that it looks at."""

    def bind(self, arguments: Sequence[Any] = (), named: Mapping[str, Any] = MappingProxyType({})) -> Step:
        """Fill in the arguments, by position and by name, and give the step.

        Raises:
            TransformError: an argument is missing, unknown, of the wrong kind, or of no use.
        """
        self.check_names(arguments, named)
        given = dict(zip((parameter.name for parameter in self.parameters), arguments, strict=False)) | dict(named)
        return self._charged(self.make(*(self._argument(parameter, given) for parameter in self.parameters)))

    def _charged(self, step: Step) -> Step:
        """Have a step take its cost from the budget in force, and bound its result."""
        rate, reads = self.rate, self.reads
        short = _CALL // rate

        def charged(value: Any) -> Any:  # noqa: ANN401 - a JSON value
            if type(value) is str and len(value) <= short:
                return step(value)  # costs no more than the loop or the list around it takes for each turn
            left = budget.current()
            if isinstance(value, str):
                left.charge((min(len(value), reads) + _LEAST) * rate + _CALL)
            else:
                left.charge_value(value, rate)
            result = step(value)
            if type(result) is str and len(result) > FIELD_TEXT:
                left.charge_text(len(result))
            return result

        return charged

    def check_names(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Check how many arguments there are and what they are called; raises `TransformError`."""
        names = [parameter.name for parameter in self.parameters]
        takes = ", ".join(f"`{name}`" for name in names) or "no arguments"
        if len(arguments) > len(names):
            raise TransformError(f"transform `{self.name}` takes {takes}, not {len(arguments)} arguments")
        for name in named:
            if name not in names:
                hint = did_you_mean(name, names) or f": it takes {takes}"
                raise TransformError(f"transform `{self.name}` has no argument `{name}`{hint}")
            if name in names[: len(arguments)]:
                raise TransformError(f"transform `{self.name}` is given `{name}` twice")

    def _argument(self, parameter: Parameter, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - see Parameter.check
        value = given.get(parameter.name, parameter.default)
        if value is REQUIRED:
            why = f": {parameter.description}" if parameter.description else ""
            raise TransformError(f"transform `{self.name}` needs `{parameter.name}`{why}")
        if value is parameter.default:
            return value
        try:
            return parameter.check(value)
        except TransformError as error:
            raise TransformError(f"transform `{self.name}`: {error}") from None


def as_text(value: object) -> str:
    """Write a value as text: nothing for None, `true` and `false`, JSON for lists and objects."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return to_json(value) if isinstance(value, bool | list | dict) else str(value)


def to_json(value: object) -> str:
    """Write a value as compact JSON; an empty text is `""` with its quotes, as a body needs it."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a number beyond 64 bits, a lone surrogate
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
