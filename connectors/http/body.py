"""The bodies of requests. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson

from connectors.base import Context, Record, SettingError
from connectors.http.address import UnsendableError
from connectors.http.settings import HttpSettings, TemplateBody, setting

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


class Body:
    """Encodes records, as `body` and `wrap` say.

    Args:
        settings: The destination's.
        context: For compiling a template.
        names: The names that a template may use.

    Raises:
        SettingError: for settings that do not fit together, or a template that cannot be compiled.
    """

    def __init__(self, settings: HttpSettings, context: Context, names: frozenset[str]) -> None:
        form = settings.body or ("none" if settings.method == "GET" else "json")
        self.content_type: str | None
        """None for a request without a body."""
        self.template: Callable[[Mapping[str, Any]], str] | None = None
        """Set where the body is made from a template."""
        if isinstance(form, TemplateBody):
            self.content_type = form.content_type
            self._encode: Callable[[Record], bytes] = _fields_as_json
            with setting("body", "template"):
                self.template = context.expressions.template(form.template, names)
        else:
            self.content_type, self._encode = _FORMS[form]
        self.in_arrays = form in ("json", "event")
        """Whether several records can stand in one body."""
        if settings.wrap is not None and not self.in_arrays:
            raise SettingError(("wrap",), "needs body: json or event")
        self._before, self._after = _wrapping(settings.wrap)

    def one(self, record: Record, variables: Mapping[str, Any]) -> bytes | None:
        """Give the body of a call with one record. Raises `ExpressionError` where its values do not suit."""
        if self.template is not None:
            return self._rendered(self.template(variables))
        if self.content_type is None:
            return None
        part = self._encode(record)
        return b"%b%b%b" % (self._before, part, self._after) if self._before else part

    def part(self, record: Record) -> bytes:
        """Give a record's part of an array. Raises `UnsendableError` where a value has no form in JSON."""
        return self._encode(record)

    def array(self, parts: Sequence[bytes]) -> bytes:
        """Give the body of a call with several records."""
        return b"%b[%b]%b" % (self._before, b",".join(parts), self._after)

    def _rendered(self, text: str) -> bytes:
        body = text.encode("utf-8", "replace")
        if self.content_type and self.content_type.partition(";")[0].rstrip().endswith("json"):
            try:
                orjson.loads(body)
            except orjson.JSONDecodeError as error:
                why = f"{error.msg}, line {error.lineno} column {error.colno}"
                raise UnsendableError(
                    f"the body's template gives no JSON: {why}; write values as {{{{ X | json }}}}"
                ) from None
        return body


def _wrapping(name: str | None) -> tuple[bytes, bytes]:
    return (b"", b"") if name is None else (b"{%b:" % orjson.dumps(name), b"}")


def _fields_as_json(record: Record) -> bytes:
    try:
        return orjson.dumps(record.fields)
    except TypeError:  # a whole number of more than 64 bits, half an emoji, or a mapping that is no dict
        return _lenient_json(record.fields)


def _lenient_json(fields: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(dict(fields), allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        raise UnsendableError("a field's value has no form in JSON") from None


def _fields_as_form(record: Record) -> bytes:
    pairs = [(name, _form_text(each)) for name, value in record.fields.items() for each in _form_values(value)]
    return urlencode(pairs, errors="replace").encode()


def _form_values(value: object) -> Sequence[object]:
    """Give the values of a field of a form: a list becomes the same name several times."""
    return value if isinstance(value, list | tuple) else (value,)


def _form_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value)  # a number as written, `true`, an object as JSON
    except (TypeError, ValueError):
        raise UnsendableError("a field's value has no form in a form") from None


def _event(record: Record) -> bytes:
    return record.payload


_FORMS: Mapping[str, tuple[str | None, Callable[[Record], bytes]]] = {
    "json": (_JSON, _fields_as_json),
    "event": (_JSON, _event),
    "form": (_FORM, _fields_as_form),
    "none": (None, _event),
}
