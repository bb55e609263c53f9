"""Problems for the errors of pydantic models: the fault and the correction, in terms of the configuration. Pure.

Covers the models of this package and those of connectors.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from bridge.config.diagnostics import Findings
from bridge.config.yaml_tree import COMMENT, ConfigPath, Node, Scalar, comment_after, find_node, key_position
from bridge.errors import did_you_mean

_SHAPES: Final[Mapping[str, str]] = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "date_type": "must be a date such as 2026-11-24",
    "dict_type": "must be a map of keys and values",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "list_type": "must be a list: [a, b]",
    "mapping_type": "must be a map of keys and values",
    "model_attributes_type": "must be a map of keys and values",
    "model_type": "must be a map of keys and values",
    "path_type": "must be the path of a file",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_sub_type": "must be text: put it in quotes",
    "string_type": "must be text: put it in quotes",
    "tuple_type": "must be a list: [a, b]",
    "url_parsing": "must be a URL such as https://crm.example.com/leads",
    "url_scheme": "must be a URL that begins with https://",
    "url_type": "must be a URL such as https://crm.example.com/leads",
}
_CHOICES: Final[Mapping[str, str]] = {
    "enum": "expected",
    "literal_error": "expected",
    "union_tag_invalid": "expected_tags",
}
_BOUNDS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("must be more than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "string_too_long": ("must have at most {} characters", "max_length"),
    "too_long": ("must have at most {} entries", "max_length"),
}
_MAPS: Final = frozenset({"model_type", "model_attributes_type"})
_PYDANTICS_OWN: Final = frozenset(get_args(ErrorType))
_INVALID: Final = "is not a valid value"
_SHOWN_KEYS: Final = 20


@dataclass(frozen=True, slots=True)
class ErrorReporter:
    """Conversion of one model's validation errors into problems of the configuration."""

    findings: Findings
    root: Node
    """The whole configuration, for the positions."""
    path: ConfigPath
    """Path of the model's values."""
    model: type[BaseModel]
    also_known: Iterable[str] = ()
    """Further keys that are allowed beside the model's own, for suggestions."""

    def report(self, error: ValidationError) -> None:
        """Add a problem for each error of a validation."""
        for each in error.errors(include_url=False):
            self._one(each)

    def _one(self, error: ErrorDetails) -> None:
        kind, location = error["type"], error["loc"]
        followed, node = find_node(self.root, (*self.path, *location))
        last = str(location[-1]) if location else ""
        if kind == "missing":
            field = self._fields(location[:-1]).get(last)
            what = _sentence(field.description if field else None)
            self.findings.error((*followed, last), key_position(self.root, followed), f"is missing{what}")
        elif kind == "extra_forbidden":
            self.findings.error(followed, key_position(self.root, followed), self._unknown(location, last))
        else:
            if isinstance(node, Scalar) and node.value is None:
                comment = comment_after(node)
                why = f"; {COMMENT}" if comment else ""
                place = comment or node.place
                self.findings.error(followed, place, f"has no value: give it one, or remove the key{why}")
                return
            example = _example(self._fields(location)) if kind in _MAPS else ""
            message = f"must be a map such as {example}" if example else _message(error)
            if kind == "string_pattern_mismatch" and (field := self._fields(location[:-1]).get(last)):
                message += f", as `{field.examples[0]}` does" if field.examples else ""
            self.findings.error(followed, node.place, message)

    def _unknown(self, location: ConfigPath, key: str) -> str:
        known = [*self._fields(location[:-1]), *(self.also_known if len(location) == 1 else ())]
        hint = did_you_mean(key, known)
        if hint or not known or len(known) > _SHOWN_KEYS:
            return f"unknown key{hint}"
        return f"unknown key; known here: {', '.join(sorted(known))}"

    def _fields(self, location: ConfigPath) -> dict[str, FieldInfo]:
        """Return the fields of the models at a location, by their names in the configuration."""
        models = [self.model]
        for key in location:
            if isinstance(key, str):
                fields_here = [fields[key] for fields in map(_by_name, models) if key in fields]
                models = [model for field in fields_here for model in _models_in(field.annotation)] or models
        return {name: field for model in models for name, field in _by_name(model).items()}


def _by_name(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def known_keys(model: type[BaseModel]) -> list[str]:
    """Return the keys of a model as the configuration writes them."""
    return list(_by_name(model))


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """Return the models in a type: itself, or the members of its unions, lists and maps."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _message(error: ErrorDetails) -> str:
    """Return the description of a valid value."""
    kind, context = error["type"], error.get("ctx", {})
    if kind not in _PYDANTICS_OWN:  # a connector's own kind of error has its own message
        return error["msg"]
    if "error" in context:
        return str(context["error"]) or _INVALID
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return words.format(context.get(bound))
    if kind == "string_pattern_mismatch":
        return f"must match the regular expression {context.get('pattern')}"
    if kind in _CHOICES:
        return _choice(str(context.get(_CHOICES[kind], "")), error.get("input"))
    several = kind == "string_type" and isinstance(error.get("input"), list | dict)
    return "must be a single text" if several else _SHAPES.get(kind, _INVALID)


def _choice(expected: str, given: object) -> str:
    """Return the choices. Pydantic writes them as `'a', 'b' or 'c'`."""
    words = expected.replace("'", "`")
    hint = did_you_mean(given, expected.split("'")[1::2]) if isinstance(given, str) else ""
    return f"must be {words}{hint}"


def _example(fields: Mapping[str, FieldInfo]) -> str:
    """Return a map of example values for the required keys of a model, or for its first two."""
    first = {name: field.examples[0] for name, field in fields.items() if field.examples}
    shown = {name: "…" if isinstance(each, dict | list) else each for name, each in first.items()}
    required = [name for name, field in fields.items() if field.is_required()]
    names = required if required and shown.keys() >= set(required) else list(shown)[:2]
    return f"{{{', '.join(f'{name}: {shown[name]}' for name in names)}}}" if names else ""


def _sentence(description: str | None) -> str:
    if not description:
        return ""
    first = description.partition(". ")[0].rstrip(".")
    # An abbreviation at the beginning keeps its capitals.
    return f": {first if first[1:2].isupper() else first[:1].lower() + first[1:]}"
