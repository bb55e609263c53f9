"""What can be told of expressions and patterns that are right in themselves, and yet cannot be meant."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from jinja2 import nodes

from bridge.config.draft import Draft
from bridge.config.problems import Path
from bridge.event import EVENT_TYPES
from bridge.expressions.regex_lint import nested_repetition
from bridge.mapping import FieldForm
from bridge.steps import Transform

_TYPE: Final = "Type"
_RUNAWAY: Final = (
    "a repetition of a repetition, such as (a+)+, can take for ever on an unlucky text: leave one of the two out"
)


def check_when(draft: Draft, path: Path, events: Iterable[str]) -> None:
    """Refuse a condition under which no event of these types can take the route."""
    types = [each for each in EVENT_TYPES if each in events]
    if types and _certain(draft, path, types) is False:
        which = " or ".join(f"`{each}`" for each in types)
        why = f": `Type` is {which} here, in just this spelling" if _certain(draft, path, [None]) is None else ""
        draft.value_error(path, f"is never true, so no event takes this route{why}; correct it, or remove the route")


def check_test_when(draft: Draft, path: Path) -> None:
    """Warn of a condition that makes every event a test."""
    if _certain(draft, path, EVENT_TYPES) is True:
        draft.warn(path, "is true of every event: all of them are tests, and none is delivered")


def _certain(draft: Draft, path: Path, types: Sequence[str | None]) -> bool | None:
    """Say whether a condition is true, or false, for all of some types; None where that depends on the event."""
    text = draft.text(path)
    if text is None:
        return None
    asked = types if _TYPE in text else [None]
    known: list[Mapping[str, Any]] = [{_TYPE: each} if each else {} for each in asked]
    truths = {draft.expressions.certain_truth(text, each) for each in known}
    return truths.pop() if len(truths) == 1 else None


def warn_of_patterns(draft: Draft, path: Path, forms: Mapping[str, FieldForm | None]) -> None:
    """Warn of regular expressions in a route's fields that can run without end."""
    for name, form in forms.items():
        for at, asked in enumerate(form.transform if form else ()):
            if any(map(nested_repetition, _asked_for(draft.transforms, asked))):
                draft.text_warning((*path, name, "transform", at), _RUNAWAY)
        for at, text in enumerate(form.sources if form else ()):
            if any(map(nested_repetition, _in_template(draft, text))):
                draft.text_warning((*path, name, "from", at), _RUNAWAY)


def _asked_for(transforms: Mapping[str, Transform], asked: object) -> Iterator[str]:
    """Give the patterns of `{regex_extract: PATTERN}`, `{regex_extract: [PATTERN, …]}`, `{…: {pattern: PATTERN}}`."""
    if not isinstance(asked, dict) or len(asked) != 1:
        return
    ((name, given),) = asked.items()
    named = given if isinstance(given, dict) else {}
    yield from _patterns(transforms.get(name), given if isinstance(given, list) else [given], named)


def _in_template(draft: Draft, text: str) -> Iterator[str]:
    if "{" not in text:
        return
    names = [each.name for each in draft.transforms.values() if any(part.pattern for part in each.parameters)]
    if not any(name in text for name in names):
        return
    for node in draft.expressions.filters(text):
        named = {keyword.key: _constant(keyword.value) for keyword in node.kwargs}
        yield from _patterns(draft.transforms.get(node.name), [_constant(each) for each in node.args], named)


def _constant(node: nodes.Node) -> object:
    return node.value if isinstance(node, nodes.Const) else None


def _patterns(transform: Transform | None, arguments: Sequence[object], named: Mapping[Any, object]) -> Iterator[str]:
    for at, parameter in enumerate(transform.parameters if transform else ()):
        given = arguments[at] if at < len(arguments) else named.get(parameter.name)
        given = named.get(parameter.name, given)
        if parameter.pattern and isinstance(given, str):
            yield given
