"""Transforms with their parameters, and the check of their arguments. Pure.

The built-in transforms are in `transforms`; those of plug-ins have the same form.
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

TransformStep = Callable[[Any], Any]
"""Function of a transform with its arguments bound."""

REQUIRED: Final = object()
"""Default of a required argument."""
_KINDS: Final = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
_CALL_STEPS: Final = 1_000
"""Steps of the budget for each call of a transform."""
_MIN_CHARACTERS: Final = 4
"""Minimum number of characters that a call is charged for."""
_BOOLEANS: Final = {"true": True, "false": False}


class TransformError(ValueError):
    """Error for a wrong use of a transform. The message names the right use and contains no value."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a transform."""

    name: str
    kinds: tuple[type, ...]
    """Allowed types, of `str`, `int`, `float`, `bool`, `list` and `dict`."""
    description: str
    default: Any = REQUIRED
    constant: bool = False
    """True if templates must write the argument as a constant. A value computed from an event would be a stranger's
    choice."""

    def check(self, value: Any) -> Any:
        """Return the value as one of the allowed types, converted from text if necessary; raise `TransformError`."""
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
        """Convert a text from a variable, or a whole number, to an allowed type; None if that is impossible."""
        if bool in self.kinds and isinstance(value, str) and value in _BOOLEANS:
            return _BOOLEANS[value]
        if int in self.kinds and isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
            return int(value)
        if float not in self.kinds or isinstance(value, bool):
            return None
        text = str(value) if isinstance(value, str | int) else ""
        return float(text) if re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", text, re.ASCII) else None


@dataclass(frozen=True, slots=True)
class Transform:
    """A transform with its description, parameters and cost."""

    name: str
    description: str
    make: Callable[..., TransformStep]
    """Factory of the step. Receives the checked arguments in the order of `parameters`; may raise `TransformError`."""
    parameters: tuple[Parameter, ...] = ()
    rate: int = 10
    """Maximum number of budget steps for a character of the value; see `bridge.mapping.budget`."""
    reads: int = FIELD_TEXT
    """Maximum number of characters of the value that are read."""

    def bind(self, arguments: Sequence[Any] = (), named: Mapping[str, Any] = MappingProxyType({})) -> TransformStep:
        """Return the step with its arguments bound, by position and by name.

        Raises:
            TransformError: An argument is missing, unknown, of the wrong type, or invalid.
        """
        self.check_names(arguments, named)
        given = dict(zip((parameter.name for parameter in self.parameters), arguments, strict=False)) | dict(named)
        return self._charged(self.make(*(self._argument(parameter, given) for parameter in self.parameters)))

    def _charged(self, step: TransformStep) -> TransformStep:
        """Return a step that takes its cost from the current budget and limits its result."""
        rate, reads = self.rate, self.reads
        short = _CALL_STEPS // rate

        def charged(value: Any) -> Any:
            if type(value) is str and len(value) <= short:
                return step(value)  # costs no more than a turn of the loop or list around it
            left = budget.current_budget()
            if isinstance(value, str):
                left.charge((min(len(value), reads) + _MIN_CHARACTERS) * rate + _CALL_STEPS)
            else:
                left.charge_value(value, rate)
            result = step(value)
            if type(result) is str and len(result) > FIELD_TEXT:
                left.charge_text(len(result))
            return result

        return charged

    def check_names(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Check number and names of the arguments; raise `TransformError`."""
        names = [parameter.name for parameter in self.parameters]
        takes = ", ".join(f"`{name}`" for name in names) or "no arguments"
        if len(arguments) > len(names):
            raise TransformError(f"transform `{self.name}` takes {takes}, not {len(arguments)} arguments")
        for name in named:
            if name not in names:
                hint = did_you_mean(name, names) or f": it takes {takes}"
                raise TransformError(f"transform `{self.name}` has no argument `{name}`{hint}")
            if name in names[: len(arguments)]:
                raise TransformError(f"transform `{self.name}` gets `{name}` twice")

    def _argument(self, parameter: Parameter, given: Mapping[str, Any]) -> Any:
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


def value_as_text(value: object) -> str:
    """Return a value as text: empty for None, `true` and `false`, JSON for lists and objects."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return to_json(value) if isinstance(value, bool | list | dict) else str(value)


def to_json(value: object) -> str:
    """Return a value as compact JSON; an empty text is `""` with quotes, as in a JSON body."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a number beyond 64 bits, a lone surrogate
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
