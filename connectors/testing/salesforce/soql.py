"""SOQL queries, as far as a connector needs them to find a record. Pure.

`SELECT fields FROM object [WHERE field = value | field IN (values) [AND ...]] [ORDER BY field [ASC | DESC]] [LIMIT n]`;
anything else is a MALFORMED_QUERY, although a real org supports more. Escapes and literals are those of the SOQL and
SOSL Reference (Quoted String Escape Sequences; Date Formats and Date Literals).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors.testing.salesforce.objects import Field, SObject
from connectors.testing.salesforce.org import Org
from connectors.testing.salesforce.problems import ProblemError, refused
from connectors.testing.salesforce.rows import Row
from connectors.testing.salesforce.values import full_id, moment

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')"
    r"|(?P<moment>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))"
    r"|(?P<day>\d{4}-\d\d-\d\d)"
    r"|(?P<number>[+-]?\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<sign>[=,()]))",
    re.ASCII | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_MOST_ROWS = 50_000  # of a query, over all of its pages


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def upper(self) -> str:
        return self.text.upper() if self.kind in ("word", "sign") else ""


@dataclass(frozen=True, slots=True)
class _Literal:
    kind: str
    """`text`, `number`, `moment`, `day`, `boolean` or `null`."""
    value: Any


class _Reader:
    """Reader of the words of a query."""

    def __init__(self, query: str) -> None:
        self.query = query
        self._tokens = list(self._split())
        self._next = 0

    def _split(self) -> list[_Token]:
        tokens, at, end = [], 0, len(self.query.rstrip())
        while at < end:
            found = _TOKEN.match(self.query, at)
            if found is None:
                raise _malformed(f"unexpected token: '{self.query[at : at + 1]}'")
            kind = str(found.lastgroup)
            tokens.append(_Token(kind, found[kind], found.start(kind)))
            at = found.end()
        return tokens

    def take(self, *words: str) -> bool:
        """Consume these words if they come next."""
        coming = [each.upper for each in self._tokens[self._next : self._next + len(words)]]
        if coming != list(words):
            return False
        self._next += len(words)
        return True

    def want(self, *words: str) -> None:
        if not self.take(*words):
            raise _malformed(f"expecting '{' '.join(words)}', found '{self._coming}'")

    def name(self) -> _Token:
        return self._token("word")

    def number(self) -> int:
        token = self._token("number")
        if not token.text.isdecimal():
            raise _malformed(f"unexpected token: '{token.text}'")
        return int(token.text)

    def literal(self) -> _Literal:
        token = self._token("text", "number", "moment", "day", "word")
        if token.kind == "text":
            return _Literal("text", _unescaped(token.text[1:-1]))
        if token.kind == "number":
            return _Literal("number", float(token.text))
        if token.kind == "moment":
            return _Literal("moment", _moment(token.text))
        if token.kind == "day":
            return _Literal("day", token.text)
        if token.text.lower() == "null":
            return _Literal("null", None)
        if token.text.lower() in ("true", "false"):
            return _Literal("boolean", token.text.lower() == "true")
        raise _malformed(f"unexpected token: '{token.text}'")

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise _malformed(f"unexpected token: '{self._coming}'")

    def _token(self, *kinds: str) -> _Token:
        if self._next >= len(self._tokens) or self._tokens[self._next].kind not in kinds:
            raise _malformed(f"unexpected token: '{self._coming}'")
        self._next += 1
        return self._tokens[self._next - 1]

    @property
    def _coming(self) -> str:
        return self._tokens[self._next].text if self._next < len(self._tokens) else "<EOF>"


def run(org: Org, query: str, version: str) -> list[dict[str, Any]]:
    """Return the records of a query. Raises `ProblemError`."""
    reader = _Reader(query)
    reader.want("SELECT")
    names = [reader.name()]
    while reader.take(","):
        names.append(reader.name())
    reader.want("FROM")
    made = _object(org, reader.name().text)
    fields = [_field(reader, made, each) for each in names]
    tests = _tests(reader, made) if reader.take("WHERE") else []
    order, descending = _order(reader, made) if reader.take("ORDER", "BY") else (None, False)
    limit = reader.number() if reader.take("LIMIT") else _MOST_ROWS
    reader.end()
    seen = (row for row in org.rows.of(made.name) if row.id not in org.hidden)
    rows = [row for row in seen if all(test(row) for test in tests)]
    if order is not None:
        rows.sort(key=lambda row: _sortable(row.fields.get(order)), reverse=descending)
    return [_record(row, fields, version) for row in rows[:limit]]


def _tests(reader: _Reader, made: SObject) -> list[Callable[[Row], bool]]:
    tests = [_test(reader, made)]
    while reader.take("AND"):
        tests.append(_test(reader, made))
    return tests


def _test(reader: _Reader, made: SObject) -> Callable[[Row], bool]:
    field = _field(reader, made, reader.name())
    if not field.filterable:
        raise refused(400, "INVALID_FIELD", f"field '{field.name}' can not be filtered in a query call")
    if reader.take("="):
        literals = [reader.literal()]
    else:
        reader.want("IN")
        reader.want("(")
        literals = [reader.literal()]
        while reader.take(","):
            literals.append(reader.literal())
        reader.want(")")
    wanted = {_comparable(field, _checked(field, each)) for each in literals}
    return lambda row: _comparable(field, row.fields.get(field.name)) in wanted


def _order(reader: _Reader, made: SObject) -> tuple[str, bool]:
    field = _field(reader, made, reader.name())
    descending = reader.take("DESC")
    if not descending:
        reader.take("ASC")
    return field.name, descending


def _checked(field: Field, literal: _Literal) -> Any:
    """Raise an error for a quoted value of a field that is not text, and the reverse."""
    kinds: Mapping[str, tuple[str, ...]] = {
        "boolean": ("boolean",),
        "int": ("number",),
        "double": ("number",),
        "currency": ("number",),
        "datetime": ("moment",),
        "date": ("day",),
    }
    wanted = kinds.get(field.kind, ("text",))
    if literal.kind not in (*wanted, "null"):
        how = "enclosed in quotes" if "text" in wanted else "of this type and not enclosed in quotes"
        message = f"value of filter criterion for field '{field.name}' must be of type {field.kind} and should be {how}"
        raise refused(400, "INVALID_FIELD", message)
    if field.kind in ("id", "reference") and literal.value is not None and full_id(literal.value) is None:
        raise refused(400, "INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {literal.value}")
    return literal.value


def _comparable(field: Field, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return full_id(value) or value if field.kind in ("id", "reference") else value.casefold()


def _object(org: Org, name: str) -> SObject:
    for known, made in org.objects.items():
        if known.lower() == name.lower():
            return made
    raise refused(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")


def _field(reader: _Reader, made: SObject, token: _Token) -> Field:
    for name, field in made.fields.items():
        if name.lower() == token.text.lower():
            return field
    where = f"ERROR at Row:1:Column:{token.at + 1}"
    message = f"\n{reader.query}\n{' ' * token.at}^\n{where}\nNo such column '{token.text}' on entity '{made.name}'."
    raise refused(400, "INVALID_FIELD", message)


def _record(row: Row, fields: list[Field], version: str) -> dict[str, Any]:
    return {"attributes": row.attributes(version), **{each.name: row.fields.get(each.name) for each in fields}}


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else "")


def _unescaped(text: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2] not in _ESCAPES:
            raise _malformed(f"invalid escape sequence '\\{found[2]}'")
        return _ESCAPES[found[2]]

    return _ESCAPE.sub(replaced, text)


def _moment(text: str) -> str:
    try:
        return moment(datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise _malformed(f"unexpected token: '{text}'") from None


def _malformed(why: str) -> ProblemError:
    return refused(400, "MALFORMED_QUERY", why)
