"""JSON as JavaScript reads and writes it, byte for byte as `JSON.stringify(JSON.parse(body))` does. Pure.

The sender signs `JSON.stringify(req.body)`. To verify such a signature, this module makes the same bytes as V8 (Node
20). `parse` reads a body into Python values, `stringify` writes any such value, and `json_form` does both.

The rules are those of ECMA-262, sections "JSON.parse", "SerializeJSONProperty", "QuoteJSONString",
"OrdinaryOwnPropertyKeys" and "Number::toString"; `tests/ingress/test_javascript_json.py` compares them with Node.
"""

import codecs
import json
import math
import re
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import accumulate, chain, repeat
from json.encoder import encode_basestring as _quoted
from typing import NoReturn, TypeAlias, TypeVar

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""A JSON value. A `str` may hold lone surrogates, as a JavaScript string may; a `float` may be infinite (`1e400`)."""

MAX_DEPTH = 200
"""Maximum depth of arrays and objects in each other; a deeper body does not count as JSON.

V8 reads any depth. CPython's scanner makes a C call for each level, and its limit depends on the version, the platform
and the stack of the caller. Usual serialisers write less (System.Text.Json stops at 64, Ruby's json at 100), and an
event needs 1.
"""

_Result = TypeVar("_Result")

_SAFE = 2**53
"""Limit up to which every integer is a double of its own, and both languages write all its digits."""
_SAFE_DIGITS = 15
"""Number of digits of an integer that is certainly below `_SAFE`. `int` refuses 4,300, and takes quadratic time."""
_MIN_POWER, _MAX_POWER = -6, 20
"""Powers of ten that JavaScript writes without an exponent (ECMA-262 "Number::toString")."""
_INDEX_LIMIT = 2**32 - 1
"""Limit of integer keys that are array indices (ECMA-262 "Object type"): V8 lists these before all others."""
_INDEX = re.compile("0|[1-9][0-9]{0,9}")

_BRACKETS = b"[{]}"
_STEPS = bytes.maketrans(_BRACKETS, b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))


def parse(body: bytes) -> JsonValue:
    """Read a body as `JSON.parse(body.toString("utf8"))` does in Node, after one leading byte order mark is taken off.

    As in JavaScript, broken UTF-8 becomes U+FFFD, one for each maximal subpart (WHATWG Encoding, "UTF-8
    decoder"); of members of one name the last value stands at the first one's place; every number is a double.
    The byte order mark is what Express strips; JSON.parse itself refuses one, and so a second one is refused here.

    Returns:
        The value. A number is an `int` where its double is an integer of at most 2**53 in magnitude (so `1e2` and
        `-0.0` are), else a `float`, infinite where it overflows. Members are in the order written, not V8's.

    Raises:
        ValueError: JSON.parse refuses the body, or it has more than `MAX_DEPTH` levels. The message holds nothing of
            the body.
    """
    _check_depth(body)
    text = body.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    try:
        value: JsonValue = _on_some_stack(lambda: _READER.decode(text))
    except json.JSONDecodeError as error:
        # Not the error itself: it carries the whole body.
        raise ValueError(f"not JSON at character {error.pos}") from None
    return value


def stringify(value: JsonValue, *, sort_keys: bool = False) -> bytes:
    """Write a value as `JSON.stringify(value)` does, in UTF-8. Any depth, without recursion.

    As in JavaScript, members whose name is an array index come first, ascending, then the others as they
    stand; numbers are written as doubles (an `int` beyond 2**53 too), `-0.0` as `0`, infinity and NaN as `null`; a
    lone surrogate is escaped, in lower case ("well-formed JSON.stringify"), all other text is written as it is.

    Args:
        value: The value, as `parse` or another JSON reader returns it.
        sort_keys: Write members by their names' UTF-16 code units instead, array indices too. With the above this is
            the canonical form of RFC 8785: equal for documents that differ only in white space, spelling and order.

    Raises:
        TypeError: The value is of a type that `JsonValue` does not name.
    """
    ordered = _canonical_order if sort_keys else _javascript_order
    pieces: list[str] = []
    write = pieces.append
    unfinished: list[tuple[Iterator[tuple[str, JsonValue]], str]] = [(iter([("", value)]), "")]
    while unfinished:
        parts, end = unfinished[-1]
        for prefix, item in parts:
            text = _SCALARS.get(type(item))
            if text:
                write(prefix + text(item))
            elif isinstance(item, list):
                write(prefix + "[")
                unfinished.append((zip(chain(("",), repeat(",")), item, strict=False), "]"))
                break
            elif isinstance(item, dict):
                write(prefix + "{")
                unfinished.append((_member_parts(ordered(item)), "}"))
                break
            else:
                raise TypeError(f"{type(item).__name__} is no JSON value")
        else:
            write(end)
            unfinished.pop()
    return _encoded("".join(pieces))


def json_form(body: bytes) -> bytes | None:
    """Return `JSON.stringify(JSON.parse(body))` in UTF-8; None if the body is not JSON (see `parse`).

    Linear in the body's size, whatever it holds.
    """
    try:
        return stringify(parse(body))
    except ValueError:
        return None


def _check_depth(body: bytes) -> None:
    """Raise ValueError if brackets outside of strings are nested deeper than `MAX_DEPTH`.

    Called before the scanner, which then never meets its own limit. The scanner stops where the text is no longer JSON,
    and up to there quotes and backslashes have the same meaning here.
    """
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    outside = b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    steps = array("b", outside.translate(_STEPS, _NO_BRACKETS))
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels")


def _on_some_stack(step: Callable[[], _Result]) -> _Result:
    """Run a step of up to `MAX_DEPTH` nested C calls, in a new thread if the caller leaves too little stack.

    Until Python 3.11 these calls count against the same limit (1000) as all frames of the caller. So it would depend on
    the caller if a body is JSON.
    """
    try:
        return step()
    except RecursionError:
        with ThreadPoolExecutor(max_workers=1) as fresh:
            return fresh.submit(step).result()


def _encoded(text: str) -> bytes:
    # Only lone surrogates cannot be encoded, and Python's escape for them is also JavaScript's: \udXXX.
    return text.encode("utf-8", "backslashreplace")


def _refuse(constant: str) -> NoReturn:
    """Refuse `NaN`, `Infinity` and `-Infinity`, which Python's scanner would take."""
    raise ValueError(f"{constant} is not JSON")


def _number(literal: str) -> int | float:
    number = float(literal)
    return int(number) if number.is_integer() and -_SAFE <= number <= _SAFE else number


def _integer(literal: str) -> int | float:
    return int(literal) if len(literal) <= _SAFE_DIGITS else _number(literal)


@lru_cache(maxsize=1024)
def _number_text(number: float) -> str:
    """Write a double as ECMA-262 "Number::toString" does, and infinity and NaN as `null`.

    Both languages choose the same digits: the fewest that read back as the same double, of these the nearest. They
    differ in the size from which they write an exponent (Python 1e16 and 1e-5, JavaScript 1e21 and 1e-7), in `1.0` and
    in `1e-07`.

    Cached: a megabyte holds many such numbers only if they are short, and of short ones there are few.
    """
    text = repr(number + 0.0)  # -0.0 + 0.0 is 0.0
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text.removesuffix(".0") if math.isfinite(number) else "null"
    power = int(exponent)
    if not _MIN_POWER <= power <= _MAX_POWER:
        return f"{mantissa}e{power:+d}"
    if number < 0:
        return "-" + _number_text(-number)
    digits = mantissa.replace(".", "")
    return f"0.{'0' * (-power - 1)}{digits}" if power < 0 else digits.ljust(power + 1, "0")


def _integer_text(number: int) -> str:
    if -_SAFE <= number <= _SAFE:
        return str(number)
    try:
        return _number_text(float(number))
    except OverflowError:
        return "null"


def _javascript_order(members: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Order members as V8 lists them: array indices ascending, then the others in their own order."""
    if not members or min(members) > ":":  # the character after "9"
        return members
    indices = [name for name in members if _INDEX.fullmatch(name) and int(name) < _INDEX_LIMIT]
    if not indices:
        return members
    indices.sort(key=int)
    return {name: members[name] for name in indices} | members


def _canonical_order(members: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Order members by their names' UTF-16 code units, as RFC 8785 (3.2.3) asks."""
    names = sorted(members, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return {name: members[name] for name in names}


def _member_parts(members: dict[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    names = [f",{_quoted(name)}:" for name in members]
    if names:
        names[0] = names[0][1:]
    return zip(names, members.values(), strict=True)


_SCALARS: dict[type, Callable[..., str]] = {
    str: _quoted,
    int: _integer_text,
    float: _number_text,
    bool: ("false", "true").__getitem__,
    type(None): lambda _: "null",
}
_READER = json.JSONDecoder(parse_int=_integer, parse_float=_number, parse_constant=_refuse)
