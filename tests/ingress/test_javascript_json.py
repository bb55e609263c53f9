import json
import math
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import chain
from typing import ClassVar, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ingress.javascript_json import MAX_DEPTH, JsonValue, _number_text, json_form, parse, stringify
from tests.node.child import json_forms

MEBIBYTE = 1 << 20

T = TypeVar("T")

WRITTEN_OTHERWISE = [
    (b' \t\r\n{ "a" : [ 1 , 2 ] ,\r\n\t"b" : { } } \n', b'{"a":[1,2],"b":{}}'),
    (b'{"b":1,"2":1,"a":1,"1":1}', b'{"1":1,"2":1,"b":1,"a":1}'),
    (b'{"a":0,"10":0,"9":0}', b'{"9":0,"10":0,"a":0}'),
    (b'{"a":0,"4294967294":0,"0":0}', b'{"0":0,"4294967294":0,"a":0}'),
    (b'{"a":0,"\\u0031":0}', b'{"1":0,"a":0}'),
    (b'{"a":1,"b":2,"a":3}', b'{"a":3,"b":2}'),
    (b'{"b":0,"1":1,"b":2,"1":3}', b'{"1":3,"b":2}'),
    (b"[1.0,0.10,1e5,1E+2,1.50e1]", b"[1,0.1,100000,100,15]"),
    (b"[1e21,1E22,1e+0021]", b"[1e+21,1e+22,1e+21]"),
    (b"[1e20,123456789012345683968,-1.5e17]", b"[100000000000000000000,123456789012345680000,-150000000000000000]"),
    (b"[0.0000001,1.25e-7,-0.00000015]", b"[1e-7,1.25e-7,-1.5e-7]"),
    (b"[1e-6,1.5E-6,-1.25e-5]", b"[0.000001,0.0000015,-0.0000125]"),
    (b"[-0,-0.0,0e5,-0E-5]", b"[0,0,0,0]"),
    (b"[9007199254740993,9223372036854775807]", b"[9007199254740992,9223372036854776000]"),
    (b"[-9007199254740993,18446744073709551615]", b"[-9007199254740992,18446744073709552000]"),
    (b"[1e400,-1e400,1e-400,4.9e-324,2e-324]", b"[null,null,0,5e-324,0]"),
    (b"1" + b"0" * 400, b"null"),
    (b'"\\u002B\\u0026\\u003C\\u003e\\u0027"', b'"+&<>\'"'),
    (b'"\\u0022\\u005c\\u000a\\u0008\\u0009\\u000c\\u000d"', b'"\\"\\\\\\n\\b\\t\\f\\r"'),
    (b'"\\u001F\\u000B\\u007F"', b'"\\u001f\\u000b\x7f"'),
    (b'"\\u4E2D\\uD83D\\uDE00"', '"中\N{GRINNING FACE}"'.encode()),
    (b'"\\uD83D"', b'"\\ud83d"'),
    (b'"\\uDE00\\uD83D"', b'"\\ude00\\ud83d"'),
    (b'"\\uD83D\\uD83D\\uDE00"', '"\\ud83d\N{GRINNING FACE}"'.encode()),
    (b'{"\\uD83D":"\\uDBFFx"}', b'{"\\ud83d":"\\udbffx"}'),
    (b'"https:\\/\\/x"', b'"https://x"'),
    (b'"\xff"', '"\ufffd"'.encode()),
    (b'"\xe4\xb8"', '"\ufffd"'.encode()),
    (b'"\xf0\x9f\x98x\xc0\x80\xed\xa0\x80"', ('"\ufffdx' + "\ufffd" * 5 + '"').encode()),
    (b'\xef\xbb\xbf{"a": 1}', b'{"a":1}'),
]

KEPT = [
    b"null",
    b"[true,false]",
    b'""',
    b"[123456789012345680000,0.000001,9007199254740992,1.7976931348623157e+308,5e-324,-1e-7]",
    b'{"__proto__":{"a":1},"constructor":1,"toJSON":2,"length":3}',
    b'{"a":0,"01":0,"-1":0,"4294967295":0,"1.0":0,"1e1":0,"":0," 1":0,"99999999999":0}',
    '{"a":0,"\uff11":0,"\u0661":0}'.encode(),
    b'"\\u0000\\u001f\x7f"',
    '"\u2028\u2029\ufeff\ufffe中文\N{GRINNING FACE}"'.encode(),
    b'"+&<>\'/"',
]

REFUSED = [
    b"",
    b" ",
    b"\xef\xbb\xbf",
    b"\xef\xbb\xbf\xef\xbb\xbf{}",
    b"NaN",
    b"[-Infinity]",
    b"Infinity",
    b"01",
    b"-",
    b"+1",
    b".5",
    b"1.",
    b"1e",
    b"0x1",
    b"1_000",
    "\uff11".encode(),
    b"[1,]",
    b'{"a":1,}',
    b"[1 2]",
    b"{a:1}",
    b"{'a':1}",
    b"{1:1}",
    b'{"a"}',
    b'"a\tb"',
    b'"a\nb"',
    b'"\x00"',
    b'"\\x41"',
    b'"\\u12"',
    b'"\\u 123"',
    b'"\\u+123"',
    b'"\\u00_1"',
    b'"a',
    b"[",
    b"{}x",
    b"{}{}",
    b"True",
    b"undefined",
    b"\xa0{}",
    b"\x0c{}",
    b"[1]//",
    b"\x00",
    '{"a":1}'.encode("utf-16"),
    '{"a":1}'.encode("utf-32-le"),
]

IDENTICAL_READINGS = [
    (b"1e2", 100),
    (b"-0.0", 0),
    (b"9007199254740992", 2**53),
    (b"9007199254740993", 2**53),
    (b"-9007199254740992.0", -(2**53)),
    (b"9007199254740994", 9007199254740994.0),
    (b"123456789012345", 123456789012345),
    (b"0.5", 0.5),
    (b"1e400", math.inf),
    (b"-1e400", -math.inf),
    (b"1" + b"0" * 5000, math.inf),
    (b"true", True),
    (b"null", None),
    (b'"\\ud83d\\ude00\\ud83d"', "\N{GRINNING FACE}\ud83d"),
]

DOUBLES = st.floats(allow_nan=False)
# Surrogates too, but a pair of them as the one character that it is.
TEXTS = st.text(st.characters(exclude_categories=())).map(
    lambda text: text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
)
NAMES = TEXTS | st.integers(-1, 2**33).map(str)
VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | DOUBLES | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


def as_doubles(value: JsonValue) -> JsonValue:
    """Give what a value is after JavaScript read it: every number a double, none but finite ones written."""
    if isinstance(value, list):
        return [as_doubles(item) for item in value]
    if isinstance(value, dict):
        return {name: as_doubles(item) for name, item in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    return value


def nested(depth: int) -> bytes:
    """Write a document of so many levels, objects and arrays in turn, with brackets in strings that are no levels."""
    levels = [(b"[", b"]") if level % 2 else (rb'{"}\\":', b"}") for level in range(depth)]
    return b"".join(start for start, _ in levels) + rb'"\\\"[[{"' + b"".join(end for _, end in reversed(levels))


def with_little_stack(frames: int, step: Callable[[], T]) -> T:
    """Run a step where so many more frames are all that Python's recursion limit leaves."""
    used, frame = 0, sys._getframe()
    while frame.f_back:
        used, frame = used + 1, frame.f_back

    def down(count: int) -> T:
        return down(count - 1) if count else step()

    return down(sys.getrecursionlimit() - used - frames)


class TestJsonForm:
    @pytest.mark.parametrize(("body", "form"), WRITTEN_OTHERWISE)
    def test_what_javascript_writes_otherwise(self, body: bytes, form: bytes) -> None:
        assert json_form(body) == form
        assert stringify(parse(body)) == form

    @pytest.mark.parametrize("body", KEPT)
    def test_what_javascript_keeps(self, body: bytes) -> None:
        assert json_form(body) == body
        assert stringify(parse(body)) == body

    @pytest.mark.parametrize("body", REFUSED)
    def test_what_javascript_refuses(self, body: bytes) -> None:
        assert json_form(body) is None
        with pytest.raises(ValueError, match=r"^[A-Za-z0-9 -]+$"):
            parse(body)

    def test_the_tables_above_hold_in_node(self) -> None:
        table = WRITTEN_OTHERWISE + [(body, body) for body in KEPT] + [(body, None) for body in REFUSED]
        assert json_forms(body for body, _ in table) == [form for _, form in table]

    @given(VALUES)
    def test_is_its_own_form(self, value: JsonValue) -> None:
        form = stringify(value)
        assert json_form(form) == form
        assert stringify(parse(form)) == form

    @given(VALUES, st.integers(0, 4), st.sampled_from([json.dumps, partial(json.dumps, ensure_ascii=False)]))
    def test_does_not_depend_on_how_the_document_was_written(
        self, value: JsonValue, indent: int, write: Callable[..., str]
    ) -> None:
        document = write(as_doubles(value), indent=indent).encode("utf-8", "backslashreplace")
        assert json_form(document) == stringify(value)


class TestParse:
    @pytest.mark.parametrize(("body", "value"), IDENTICAL_READINGS)
    def test_values_and_their_types(self, body: bytes, value: JsonValue) -> None:
        parsed = parse(body)
        assert parsed == value
        assert type(parsed) is type(value)

    def test_keeps_members_in_the_order_written(self) -> None:
        parsed = parse(b'{"b":0,"1":0,"a":0,"b":1}')
        assert isinstance(parsed, dict)
        assert list(parsed.items()) == [("b", 1), ("1", 0), ("a", 0)]

    def test_the_error_holds_nothing_of_the_body(self) -> None:
        with pytest.raises(ValueError, match=r"^not JSON at character 6$") as caught:
            parse(b'["ok",secret@example.org]')
        assert type(caught.value) is ValueError
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    @given(VALUES)
    def test_reads_what_stringify_writes(self, value: JsonValue) -> None:
        assert parse(stringify(value)) == as_doubles(value)

    @given(st.binary())
    def test_any_bytes_are_read_or_refused(self, body: bytes) -> None:
        try:
            form = stringify(parse(body))
        except ValueError:
            assert json_form(body) is None
        else:
            assert json_form(body) == form


class TestStringify:
    @given(st.integers())
    def test_integers_are_written_as_doubles(self, number: int) -> None:
        assert stringify(number) == stringify(float(number))

    @pytest.mark.parametrize("number", [10**400, -(10**400), math.inf, -math.inf, math.nan])
    def test_what_is_no_finite_double_is_null(self, number: float) -> None:
        assert stringify(number) == b"null"

    def test_negative_zero_is_written_without_its_sign(self) -> None:
        _number_text.cache_clear()  # which takes both zeros for one
        assert stringify([-0.0, 0.0]) == b"[0,0]"

    @pytest.mark.parametrize("value", [b"x", (1,), {1}, {"a": object()}, [1, {"b": [Decimal(1)]}]])
    def test_other_types_are_refused(self, value: JsonValue) -> None:
        with pytest.raises(TypeError, match="no JSON value"):
            stringify(value)

    def test_sorted_by_utf_16_code_units(self) -> None:
        # The names of RFC 8785, 3.2.3: the emoji (D83D DE00) comes before U+FB33, unlike by code point.
        names = ["\u20ac", "\r", "\ufb33", "1", "\N{GRINNING FACE}", "\x80", "\u00f6", "10", "9", ""]
        ordered = ["", "\r", "1", "10", "9", "\x80", "\u00f6", "\u20ac", "\N{GRINNING FACE}", "\ufb33"]
        document = stringify(dict.fromkeys(names), sort_keys=True)
        assert list(json.loads(document)) == ordered

    @given(VALUES, st.randoms(use_true_random=False))
    def test_sorted_form_does_not_depend_on_the_order(self, value: JsonValue, rng: random.Random) -> None:
        def shuffled(inner: JsonValue) -> JsonValue:
            if isinstance(inner, list):
                return [shuffled(item) for item in inner]
            if isinstance(inner, dict):
                names = list(inner)
                rng.shuffle(names)
                return {name: shuffled(inner[name]) for name in names}
            return inner

        assert stringify(shuffled(value), sort_keys=True) == stringify(value, sort_keys=True)


class TestDepth:
    @pytest.mark.parametrize("frames", [40, 120, 400])
    def test_the_limit_is_the_same_wherever_it_is_called(self, frames: int) -> None:
        deepest, too_deep = nested(MAX_DEPTH), nested(MAX_DEPTH + 1)
        value = parse(deepest)
        assert with_little_stack(frames, partial(json_form, deepest)) == deepest
        assert with_little_stack(frames, partial(json_form, too_deep)) is None
        assert with_little_stack(frames, partial(stringify, value)) == deepest
        assert stringify(with_little_stack(frames, partial(parse, deepest))) == deepest
        with pytest.raises(ValueError, match="levels"):
            with_little_stack(frames, partial(parse, too_deep))

    def test_the_deepest_is_read_as_in_node(self) -> None:
        assert json_forms([nested(MAX_DEPTH)]) == [json_form(nested(MAX_DEPTH))]

    @pytest.mark.parametrize("document", [b"[" * 100_000, b'{"":' * 100_000, b'["\\"",' * 100_000, b"]" * 100_000])
    def test_unclosed_depth_is_refused(self, document: bytes) -> None:
        assert json_form(document) is None
        with pytest.raises(ValueError, match=r"levels|character"):
            parse(document)

    def test_brackets_side_by_side_are_no_depth(self) -> None:
        document = b"[" + b",".join([b'[{"[":[]}]'] * 10_000) + b"]"
        assert json_form(document) == document

    def test_any_depth_can_be_written(self) -> None:
        value: JsonValue = []
        for _ in range(20_000):
            value = [{"": value}]
        assert stringify(value) == b'[{"":' * 20_000 + b"[]" + b"}]" * 20_000


HOSTILE = {
    "digits": b"9" * MEBIBYTE,
    "fraction": b"0." + b"3" * MEBIBYTE,
    "exponent": b"1e" + b"9" * MEBIBYTE,
    "zeros": b"0." + b"0" * MEBIBYTE + b"1e1048577",
    "numbers": b"[" + b"1," * (MEBIBYTE // 2) + b"1]",
    "unusual numbers": b"[" + b"1e-5," * (MEBIBYTE // 5) + b"1]",
    "escapes": b'"' + b"\\u0000" * (MEBIBYTE // 6) + b'"',
    "lone surrogates": b'"' + b"\\ud800x" * (MEBIBYTE // 7) + b'"',
    "broken UTF-8": b'"' + b"\xed\xa0" * (MEBIBYTE // 2) + b'"',
    "backslashes": b'"' + b"\\" * MEBIBYTE,
    "quotes": b'"' * MEBIBYTE,
    "open brackets": b"[" * MEBIBYTE,
    "open objects": b'{"":' * (MEBIBYTE // 4),
    "nested": b"[" + b",".join([nested(MAX_DEPTH - 1)] * (MEBIBYTE // (MAX_DEPTH * 5))) + b"]",
    "objects": b"[" + b'{"1":0,"0":0},' * (MEBIBYTE // 14) + b"{}]",
    "index keys": b"{" + b",".join(b'"%d":0' % (2**32 - n) for n in range(MEBIBYTE // 16)) + b"}",
    "one key": b"{" + b",".join([b'"0":0'] * (MEBIBYTE // 6)) + b"}",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_is_bounded_whatever_a_mebibyte_holds(body: bytes) -> None:
    # Quadratic time would be minutes; linear time is a fraction of a second even on a slow machine.
    begun = time.process_time()
    json_form(body)
    assert time.process_time() - begun < 5


class Writer:
    """Writes JSON as no serialiser does: each document a walk through the spellings that the grammar allows.

    A seeded generator and not hypothesis: one run of Node has to be fed with many thousand documents at once, which
    hypothesis, made for one example after the other, can neither draw in that number nor shrink. What fails is
    found again by its seed, and the report begins with the shortest document.
    """

    WHITE_SPACE = ("", "", "", "", " ", "\n", "\t", "\r\n", "  ")
    LITERALS = ("true", "false", "null")
    CHARACTERS = (
        *map(chr, range(0x80)),
        *"\x80\u00e9\u0661\u2028\u2029\u4e2d\u6587\ud7ff\ue000\ufeff\ufffd\ufffe\uffff",
        *"\U00010000\U0001f600\U0010ffff",
    )
    SHORT_ESCAPES: ClassVar = dict(zip('"\\/\b\f\n\r\t', '"\\/bfnrt', strict=True))
    SURROGATES = ("\ud800", "\ud83d", "\udbff", "\udc00", "\ude00", "\udfff")
    NAMES = (
        *(
            "",
            "a",
            "b",
            "__proto__",
            "constructor",
            "toJSON",
            "toString",
            "length",
            "-0",
            "-1",
            "+1",
            "00",
            "01",
            "1.0",
        ),
        *(" 1", "1 ", "1e1", "0x1", "NaN", "Infinity", "\uff11", "\u0661", "0", "1", "2", "9", "10", "100"),
        *map(str, chain(range(2**31 - 2, 2**31 + 2), range(2**32 - 4, 2**32 + 3), (10**10, 2**53, 2**64, 10**21))),
    )
    NUMBERS = (
        *("0", "-0", "-0.0", "0e0", "0e-999", "0.0e+5", "1.0", "0.10", "1e5", "1E+2", "1e400", "-1e400", "1e-400"),
        *("4.9e-324", "5e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "2.2250738585072011e-308"),
        *("1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", "1e999999999999999999999"),
        *(
            "0." + "0" * 400 + "1e400",
            "1" + "0" * 400 + "e-400",
            "1e-999999999999999999999",
            "9" * 25,
            "123456789" * 40,
        ),
        *(f"{sign}{2**power + step}" for sign in ("", "-") for power in (53, 63, 64, 70) for step in range(-3, 4)),
        *("144115188075855870", "144115188075855872", "2e23", "9.5e-7", "0.1e-6", "1e23", "8.41e21", "5e-7", "1.5e300"),
    )
    TURNING_POINTS = (1e-7, 1e-6, 1e-5, 1e-4, 1e15, 1e16, 1e17, 1e20, 1e21, 1e22, 2.0**53, 2.0**63, 2.3e-308, 1.7e308)
    BROKEN = (
        *(b"NaN", b"-Infinity", b"Infinity", b"01", b"-01", b"1.", b".5", b"+1", b"1e", b"1e+", b"-", b"0x1", b"1_0"),
        *(
            b"\x00",
            b"\x0b",
            b"\x0c",
            b"\xc2\xa0",
            b"\xe2\x80\xa8",
            b"\t",
            b"\n",
            b"\x1f",
            b",",
            b",,",
            b":",
            b'"',
            b"'",
        ),
        *(b"\\", b"\\u", b"\\u12", b"\\u12G4", b"\\ud83", b"\\x41", b"\\0", b"\\U00000041", b"\\'", b"/**/", b"//"),
        *(b"[", b"]", b"{", b"}", b"True", b"nul", b"undefined", b"\xef\xbb\xbf", b"1 1", b"\xef\xbc\x91"),
    )
    BROKEN_UTF_8 = (
        *(
            b"\xff",
            b"\x80",
            b"\xc3",
            b"\xc0\x80",
            b"\xc1\xbf",
            b"\xe0\x80\x80",
            b"\xe4\xb8",
            b"\xed\xa0\x80",
            b"\xed\xbf",
        ),
        *(b"\xf0\x9f\x98", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80"),
        *(b"\xe2\x28\xa1", b"\xf0\x28\x8c\x28", b"\xf0\x90\x28", b"\xf0\x90\x80\x28", b"\xed\xa0\xbd\xed\xb8\x80"),
    )

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def body(self) -> bytes:
        """Write a document; every third is damaged, in a way that it mostly does not survive as JSON."""
        text = self.space() + self.value(0) + self.space()
        body = text.encode()
        fate = self.rng.random()
        if fate < 0.05:
            return b"\xef\xbb\xbf" + body
        for _ in range(self.rng.choice((1, 1, 2)) if fate > 0.67 else 0):
            body = self.damaged(body)
        return body

    def value(self, depth: int) -> str:
        """Write a value, with fewer levels to come the deeper it lies."""
        kind = self.rng.random() * (1 if depth < 4 else 0.6)
        if kind < 0.3:
            return self.number()
        if kind < 0.5:
            return self.text("".join(self.rng.choices(self.CHARACTERS, k=self.rng.randrange(9))))
        if kind < 0.6:
            return self.rng.choice(self.LITERALS)
        inner = range(self.rng.randrange(6))
        if kind < 0.72:
            return self.enclosed("[", (self.value(depth + 1) for _ in inner), "]")
        return self.enclosed("{", (self.member(depth + 1) for _ in inner), "}")

    def space(self) -> str:
        return self.rng.choice(self.WHITE_SPACE)

    def enclosed(self, start: str, items: Iterable[str], end: str) -> str:
        return start + ",".join(self.space() + item + self.space() for item in items) + end

    def member(self, depth: int) -> str:
        name = (
            self.rng.choice(self.NAMES)
            if self.rng.random() < 0.7
            else str(self.rng.getrandbits(self.rng.randrange(40)))
        )
        return f"{self.text(name)}{self.space()}:{self.space()}{self.value(depth)}"

    def text(self, content: str) -> str:
        """Write a string, each character as it is or in one of its escapes, and here and there surrogates."""
        written = [self.character(character) for character in content]
        if self.rng.random() < 0.2:
            units = map(self.unit, self.rng.choices(self.SURROGATES, k=self.rng.randrange(1, 5)))
            written.insert(self.rng.randrange(len(written) + 1), "".join(units))
        return '"' + "".join(written) + '"'

    def character(self, character: str) -> str:
        must = character < " " or character in '"\\'
        if character in self.SHORT_ESCAPES and self.rng.random() < 0.5:
            return "\\" + self.SHORT_ESCAPES[character]
        return self.unit(character) if must or self.rng.random() < 0.2 else character

    def unit(self, character: str) -> str:
        """Write the `\\uXXXX` escapes of a character, each digit in either case."""
        code = character.encode("utf-16-be", "surrogatepass")
        escapes = [f"{code[at]:02x}{code[at + 1]:02x}" for at in range(0, len(code), 2)]
        return "".join("\\u" + "".join(map(self.either_case, digits)) for digits in escapes)

    def either_case(self, digit: str) -> str:
        return digit.upper() if self.rng.random() < 0.5 else digit

    def number(self) -> str:
        kind = self.rng.randrange(8)
        if kind == 0:
            return self.rng.choice(self.NUMBERS)
        if kind == 1:
            return str(self.rng.randrange(-1000, 1000))
        if kind == 2:
            return str(self.rng.getrandbits(self.rng.randrange(1, 1100)) * self.rng.choice((1, -1)))
        if kind == 3:
            digits = "".join(self.rng.choices("0123456789", k=self.rng.randrange(1, 30)))
            return f"{self.rng.randrange(100)}.{digits}{self.exponent(self.rng.randrange(-340, 320))}"
        return self.spelling(self.double())

    def double(self) -> float:
        kind = self.rng.randrange(4)
        if kind == 0:
            number: float = self.rng.choice(self.TURNING_POINTS)
            for _ in range(self.rng.randrange(4)):
                number = math.nextafter(number, self.rng.choice((0.0, math.inf)))
            return number
        if kind == 1:
            return self.rng.randrange(10**6) / 10.0 ** self.rng.randrange(12)
        if kind == 2:
            return math.ldexp(self.rng.getrandbits(53), self.rng.randrange(-1074, -1020))
        (number,) = struct.unpack("<d", self.rng.randbytes(8))
        return number if math.isfinite(number) else 0.0

    def spelling(self, number: float) -> str:
        """Spell a double: rounded, exactly, or as the point half-way to the next one and a hair beside it."""
        kind = self.rng.randrange(6)
        if kind == 0:
            return f"{number:.{self.rng.randrange(25)}e}".replace("e", self.rng.choice("eE"))
        if kind == 1:
            return f"{number:.17g}"
        if kind == 2:
            return f"{Decimal(number):f}" if 1e-30 < abs(number) < 1e30 else f"{Decimal(number)}"
        if kind == 3 and abs(number) < 1e308:
            # Exact, since Python's fractions of integers are: numerators over the same power of two.
            low, high = Fraction(number), Fraction(math.nextafter(number, math.inf))
            return self.halfway((low + high) / 2)
        return repr(number) + ("0" * self.rng.randrange(3) if "." in repr(number) and "e" not in repr(number) else "")

    def halfway(self, middle: Fraction) -> str:
        # The denominator is a power of two, so 5**n more makes it a power of ten: all digits, none lost.
        places = middle.denominator.bit_length() - 1
        digits = middle.numerator * 5**places * 1000 + self.rng.randrange(-1, 2)
        return f"{digits}{self.exponent(-places - 3)}"

    def exponent(self, power: int) -> str:
        zeros = "0" * self.rng.randrange(3)
        sign = "-" if power < 0 else self.rng.choice(("", "+"))
        return f"{self.rng.choice('eE')}{sign}{zeros}{abs(power)}"

    def damaged(self, body: bytes) -> bytes:
        """Change, insert, take out or move a piece; half of the time with what JavaScript and Python tell apart."""
        at = self.rng.randrange(len(body) + 1)
        kind = self.rng.randrange(7)
        if kind == 0:
            return body[:at] + self.rng.choice(self.BROKEN) + body[at:]
        if kind in (1, 2):
            return body[:at] + self.rng.choice(self.BROKEN_UTF_8) + body[at:]
        if kind == 3:
            return body[:at] + self.rng.randbytes(1) + body[at + 1 :]
        if kind == 4:
            return body[:at] + body[at + self.rng.randrange(1, 4) :]
        if kind == 5:
            return body[:at] if self.rng.random() < 0.5 else body[at:]
        end = at + self.rng.randrange(6)
        return body[:end] + body[at:end] + body[end:]


@pytest.mark.parametrize("seed", range(6))
def test_generated_documents_as_in_node(seed: int) -> None:
    writer = Writer(seed)
    bodies = [writer.body() for _ in range(5_000)]
    expected = json_forms(bodies)
    outcomes = Counter(
        "refused" if form is None else "kept" if form == body else "changed"
        for body, form in zip(bodies, expected, strict=True)
    )
    assert outcomes["refused"] > 500
    assert outcomes["changed"] > 2_000
    wrong = [
        (body, form, own)
        for body, form in zip(bodies, expected, strict=True)
        for own in (json_form(body), form and stringify(parse(body)))
        if own != form
    ]
    assert min(wrong, key=lambda found: len(found[0]), default=None) is None


def test_canonical_form_as_in_node() -> None:
    writer = Writer(100)
    bodies = [writer.body() for _ in range(5_000)]
    for body, expected in zip(bodies, json_forms(bodies, "canonical"), strict=True):
        assert expected is None or stringify(parse(body), sort_keys=True) == expected
