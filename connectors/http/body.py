"""The bodies of requests: the mapped fields, the event, templates, and documents with templates in them. Pure."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson

from connectors.base import Context, ExpressionError, Record, SettingError
from connectors.http.address import UnsendableError
from connectors.http.settings import BodyForm, HttpSettings, setting

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_PRINTED = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_ESCAPED = re.compile(r"\|\s*(json|tojson|int|float|round|length|count|epoch_ms|hash|url_host)\b")
"""Filters whose result has no quotes of a lead, or is JSON."""
_PLAIN = frozenset({"SerialNumber", "SessionID", "Type", "chatbot", "event.id", "event.received_at", "record_id"})
"""Names whose values are numbers or have no quotes."""

Path = tuple[str | int, ...]
Variables = Mapping[str, Any]


class _Nothing:
    """Marker for a value that a document leaves out."""


_NOTHING = _Nothing()


class Body:
    """Encoder of records, as `body` and `wrap` say.

    Args:
        settings: Settings of the destination.
        context: Compiles a template.
        names: Names that a template may use.

    Raises:
        SettingError: settings do not fit together, or a template cannot be compiled.
    """

    def __init__(self, settings: HttpSettings, context: Context, names: frozenset[str]) -> None:
        form = settings.body or ("none" if settings.method == "GET" else "json")
        self.content_type: str | None
        """Content-Type; None for a request without a body."""
        self.needs_variables = isinstance(form, BodyForm)
        """True if the body is made from the variables of a record, not from the record alone."""
        self._encode: Callable[[Record], bytes] = _fields_as_json
        self._template: Callable[[Variables], str] | None = None
        self._document: Callable[[Variables], Any] | None = None
        if not isinstance(form, BodyForm):
            self.content_type, self._encode = _FORMS[form]
        else:
            self.content_type = form.content_type
            if form.template is not None:
                with setting("body", "template"):
                    self._template = context.expressions.template(form.template, names)
                    if _is_json(form.content_type):
                        _check_json(form.template)
            else:
                self._document = _Compiler(context, names).document(form.document, ("body", "json"))
        self.in_arrays = form in ("json", "event")
        """True if one body can hold several records."""
        if settings.wrap is not None and not self.in_arrays:
            raise SettingError(("wrap",), "needs body: json or event")
        self._before, self._after = _wrapping(settings.wrap)

    def one(self, record: Record, variables: Variables) -> bytes | None:
        """Return the body of a call with one record. Raises `ExpressionError` for unsuitable values."""
        if self._template is not None:
            return self._rendered(self._template(variables))
        if self._document is not None:
            return _as_json(self._document(variables))
        if self.content_type is None:
            return None
        part = self._encode(record)
        return b"%b%b%b" % (self._before, part, self._after) if self._before else part

    def part(self, record: Record) -> bytes:
        """Return a record's part of an array. Raises `UnsendableError` for a value that JSON cannot hold."""
        return self._encode(record)

    def array(self, parts: Sequence[bytes]) -> bytes:
        """Return the body of a call with several records."""
        return b"%b[%b]%b" % (self._before, b",".join(parts), self._after)

    def _rendered(self, text: str) -> bytes:
        body = text.encode()
        if self.content_type and _is_json(self.content_type):
            try:
                orjson.loads(body)
            except orjson.JSONDecodeError as error:
                why = f"{error.msg}, line {error.lineno} column {error.colno}"
                raise UnsendableError(
                    f"the body's template does not produce JSON: {why}; write values as {{{{ X | json }}}}"
                ) from None
        return body


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].rstrip().endswith("json")


def _check_json(template: str) -> None:
    """Raise `ExpressionError` for a text in a JSON template that a quote in its value would break."""
    for found in _PRINTED.finditer(template):
        text = found[1].strip()
        if text not in _PLAIN and not _ESCAPED.search(text):
            message = f"in JSON write `{{{{ {text} | json }}}}` without quotes around it: a quote in a value breaks it"
            line = template.count("\n", 0, found.start()) + 1
            raise ExpressionError(message, line, found.start() - template.rfind("\n", 0, found.start()))


def _wrapping(name: str | None) -> tuple[bytes, bytes]:
    return (b"", b"") if name is None else (b"{%b:" % orjson.dumps(name), b"}")


class _Compiler:
    """Compiler of a document whose texts may be templates, for one destination."""

    def __init__(self, context: Context, names: frozenset[str]) -> None:
        self._context = context
        self._names = names

    def document(self, source: object, path: Path) -> Callable[[Variables], Any]:
        """Return the function that makes a document from a record's variables. Raises `SettingError`."""
        part = self._part(source, path)
        empty: Any = [] if isinstance(source, list) else {}
        if part is None:
            return lambda _: source

        def made(variables: Variables) -> Any:
            value = part(variables)
            return empty if value is _NOTHING else value

        return made

    def _part(self, source: object, path: Path) -> Callable[[Variables], Any] | None:
        """Return the function for a part of the document; None if it is the same for each record."""
        if isinstance(source, str):
            return self._text(source, path)
        if isinstance(source, dict):
            parts = {str(name): self._part(each, (*path, str(name))) for name, each in source.items()}
            return self._object(source, parts) if any(parts.values()) else None
        if isinstance(source, list):
            items = [self._part(each, (*path, number)) for number, each in enumerate(source)]
            return self._list(source, items) if any(items) else None
        return None

    def _text(self, source: str, path: Path) -> Callable[[Variables], Any] | None:
        if "{{" not in source and "{%" not in source:
            if source in self._context.event_names:
                raise SettingError(path, f'would be sent as this word; for the field write "{{{{ {source} }}}}"')
            return None
        with setting(*path):
            bare = _only_expression(source)
            if bare is None:
                make: Callable[[Variables], Any] = self._context.expressions.template(source, self._names)
            else:
                make = self._context.expressions.expression(bare, self._names)

        def value(variables: Variables) -> Any:
            found = make(variables)
            return _NOTHING if found in (None, "", [], {}) else found

        return value

    def _object(
        self, source: Mapping[str, Any], parts: Mapping[str, Callable[[Variables], Any] | None]
    ) -> Callable[[Variables], Any]:
        def made(variables: Variables) -> Any:
            values = {name: part(variables) if part else source[name] for name, part in parts.items()}
            kept = {name: value for name, value in values.items() if value is not _NOTHING}
            # An object with constants alone, such as the kind of a missing phone, is left out.
            return kept if any(parts[name] for name in kept) else _NOTHING

        return made

    def _list(
        self, source: Sequence[Any], parts: Sequence[Callable[[Variables], Any] | None]
    ) -> Callable[[Variables], Any]:
        def made(variables: Variables) -> Any:
            values = [part(variables) if part else each for part, each in zip(parts, source, strict=True)]
            return [value for value in values if value is not _NOTHING] or _NOTHING

        return made


def _only_expression(text: str) -> str | None:
    """Return the expression of a text that is one `{{ }}` and nothing else, else None."""
    inner = text.strip()[2:-2]
    is_one = text.strip().startswith("{{") and text.strip().endswith("}}") and "{{" not in inner and "}}" not in inner
    return inner if is_one and "{%" not in inner and not inner.startswith("-") else None


def _fields_as_json(record: Record) -> bytes:
    return _as_json(record.fields)


def _as_json(document: Any) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:  # a whole number of more than 64 bits, or a mapping that is no dict
        return _lenient_json(document)


def _lenient_json(document: Any) -> bytes:
    document = dict(document) if isinstance(document, Mapping) else document
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        raise UnsendableError("JSON cannot hold the value of a field") from None


def _fields_as_form(record: Record) -> bytes:
    pairs = [(name, _form_text(each)) for name, value in record.fields.items() for each in _form_values(value)]
    return urlencode(pairs).encode()


def _form_values(value: object) -> Sequence[object]:
    """Return the values of a form field: a list becomes the same name several times."""
    return value if isinstance(value, list | tuple) else (value,)


def _form_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value)  # a number as written, `true`, an object as JSON
    except (TypeError, ValueError):
        raise UnsendableError("a form cannot hold the value of a field") from None


def _event(record: Record) -> bytes:
    return record.payload


_FORMS: Mapping[str, tuple[str | None, Callable[[Record], bytes]]] = {
    "json": (_JSON, _fields_as_json),
    "event": (_JSON, _event),
    "form": (_FORM, _fields_as_form),
    "none": (None, _event),
}
