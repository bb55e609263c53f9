"""Facts about a field that are known before there is an event, for the probes of connectors. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from jinja2 import nodes

from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.field_form import FieldForm
from bridge.mapping.transform_api import value_as_text
from bridge.mapping.transforms import BUILTIN
from connectors.base import MappedField

_SHORTENING: Final = frozenset({"trim"})
_TEXT_TRANSFORMS: Final = frozenset(BUILTIN) - {"epoch_ms", "lookup"}
_NUMERIC_FIELDS: Final = frozenset({"SessionID"})
"""Fields of the event that the sender writes as numbers."""


def field_facts(name: str, form: FieldForm, expressions: JinjaExpressions) -> MappedField:
    """Return the facts about a field that follow from its configuration.

    Args:
        name: Name of the field at the destination.
        form: Configuration of the field, without errors.
        expressions: Parser of its templates.
    """
    table = _table(form)
    if "value" in form.model_fields_set:
        known, closed = [form.value], True
    else:
        known, closed = list(table.values() if table is not None else ()), table is not None
    if form.default is not None:
        known.append(form.default)
    values = tuple(value for value in known if value_as_text(value).strip())
    return MappedField(
        name=name,
        always=form.required or _is_filled(form.value) or _is_filled(form.default),
        text=(closed or _is_text(form)) and all(isinstance(value, str) for value in values),
        longest=_longest_of(
            ([] if closed else [_longest(form, expressions)]) + [len(value_as_text(each)) for each in values]
        ),
        values=values,
        closed=closed,
    )


def _is_filled(value: object) -> bool:
    return bool(value_as_text(value).strip())


def _steps(form: FieldForm) -> list[tuple[str, Any]]:
    """Return the transforms by name, each with its arguments."""
    return [
        next(iter(each.items())) if isinstance(each, dict) else (str(each).strip(), None) for each in form.transform
    ]


def _table(form: FieldForm) -> Mapping[str, Any] | None:
    """Return the lookup table from which all values come; None if there is none."""
    if form.lookup is not None:
        return form.lookup
    name, given = (_steps(form) or [("", None)])[-1]
    if name != "lookup":
        return None
    inner = given[0] if isinstance(given, list) else given
    return inner if isinstance(inner, dict) else None


def _is_text(form: FieldForm) -> bool:
    """Return True if values from the event are text after all transforms."""
    steps = _steps(form)
    if steps:
        return steps[-1][0] in _TEXT_TRANSFORMS
    return all(source.strip() not in _NUMERIC_FIELDS for source in form.sources)


def _longest(form: FieldForm, expressions: JinjaExpressions) -> int | None:
    """Return the maximum length of values from the event after all transforms; None if unknown."""
    longest = _longest_of(_longest_source(source, expressions) for source in form.sources)
    for name, given in _steps(form):
        if name == "truncate":
            limit = _limit(given)
            longest = limit if longest is None or limit is None else min(limit, longest)
        elif name not in _SHORTENING:
            longest = None
    return longest


def _longest_of(each: Iterable[int | None]) -> int | None:
    """Return the largest number; None if one of them is unknown or there are none."""
    lengths = list(each)
    known = [length for length in lengths if length is not None]
    return max(known) if known and len(known) == len(lengths) else None


def _longest_source(source: str, expressions: JinjaExpressions) -> int | None:
    last = expressions.last_filter(source) if "truncate" in source else None
    if last is None or last.name != "truncate":
        return None
    arguments = [*last.args, *(keyword.value for keyword in last.kwargs)]
    return _limit(arguments[0].value) if len(arguments) == 1 and isinstance(arguments[0], nodes.Const) else None


def _limit(given: object) -> int | None:
    """Return the limit of `truncate` from any form of its argument."""
    inner = next(iter(given.values()), None) if isinstance(given, dict) else given
    number = inner[0] if isinstance(inner, list) and inner else inner
    return int(number) if isinstance(number, int | str) and str(number).isdecimal() else None
