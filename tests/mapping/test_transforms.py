"""Each transform on the values that leads have, and on those that they should not have."""

import hashlib
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mapping.transform_api import Parameter, Transform, TransformError
from bridge.mapping.transforms import BUILTIN, read_time

ARGUMENTS: dict[str, list[Any]] = {
    "truncate": [5],
    "e164": ["US"],
    "date": ["%Y-%m-%d"],
    "regex_extract": [r"(\d+)"],
    "regex_replace": [r"\d", "#"],
    "lookup": [{"Lead": "L"}],
    "query_param": ["q"],
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.emails(),
    st.from_regex(r"\A[+(]?\d[\d ()-]{0,18}\Z"),
    st.from_regex(r"\A(https?://)?[a-z\[\]:@.]{0,12}(/[^\n]{0,9})?(\?[a-z=&%]{0,12})?\Z"),
    st.datetimes().map(str),
)


def run(name: str, value: Any, *arguments: Any, **named: Any) -> Any:
    return BUILTIN[name].bind(arguments, named)(value)


def test_the_registry_is_the_one_of_the_contract() -> None:
    names = (
        "trim lower upper title truncate e164 email date epoch_ms regex_extract regex_replace first_name rest_of_name "
        "last_name lookup hash url_host query_param phone_country html_escape bmp json appointment_start"
    )
    assert sorted(BUILTIN) == sorted(names.split())


@pytest.mark.parametrize("name", sorted(BUILTIN))
@given(value=VALUES)
def test_no_value_breaks_a_transform(name: str, value: Any) -> None:
    run(name, value, *ARGUMENTS.get(name, []))


@pytest.mark.parametrize("name", sorted(set(BUILTIN) - {"json", "epoch_ms"}))
@pytest.mark.parametrize("value", ["", None])
def test_an_empty_value_stays_empty(name: str, value: Any) -> None:
    assert run(name, value, *ARGUMENTS.get(name, [])) == ""


@pytest.mark.parametrize(
    ("name", "arguments", "value", "expected"),
    [
        ("trim", [], "  a b\n", "a b"),
        ("lower", [], "ÄB", "äb"),
        ("upper", [], "äß", "ÄSS"),
        ("upper", [], 31305, "31305"),
        ("title", [], "o'neil mary-jane JOHN's (bob)", "O'neil Mary-Jane John's (Bob)"),
        ("truncate", [3], "héllo", "hél"),
        ("truncate", [0], "hello", ""),
        ("truncate", ["3"], "hello", "hel"),
        ("truncate", [3], "😀😀😀😀", "😀😀😀"),
        ("e164", ["US"], "(415) 555-0100", "+14155550100"),
        ("e164", ["us"], " 415.555.0100 ", "+14155550100"),
        ("e164", ["US"], "+44 20 7946 0958", "+442079460958"),
        ("e164", ["US"], 4155550100, "+14155550100"),
        ("e164", ["CN"], "138 0013 8000", "+8613800138000"),
        ("e164", ["US"], "call me", "call me"),
        ("e164", ["US"], "12", "12"),
        ("e164", ["US"], "1" * 1000, "1" * 1000),
        ("phone_country", ["GB"], "020 7946 0018", "GB"),
        ("phone_country", ["us"], "+44 1481 960 194", "GG"),
        ("phone_country", ["US"], "416 555 0123", "CA"),
        ("phone_country", ["US"], "999 555 0100", "US"),
        ("phone_country", ["GB"], "+1 999 555 0100", ""),
        ("phone_country", [], "+34 612 345 678", "ES"),
        ("phone_country", [], "612 345 678", ""),
        ("phone_country", ["US"], "+800 1234 5678", ""),
        ("phone_country", ["US"], "call me", ""),
        ("phone_country", ["US"], "1" * 1000, ""),
        ("email", [], " Test@QQ.com ", "test@qq.com"),
        ("email", [], "mailto:A@b.co", "a@b.co"),
        ("email", [], "Info@Bücher.example", "info@bücher.example"),
        ("email", [], " Ada at Example.com ", "Ada at Example.com"),
        ("email", [], "A@", "A@"),
        ("date", ["%Y-%m-%d %H:%M"], "2023-11-23T18:36:21.512302Z", "2023-11-23 18:36"),
        ("date", ["%H:%M", "America/New_York"], "2023-11-23T18:36:21", "13:36"),
        ("date", ["%H:%M", "Asia/Kolkata"], 1700764581, "00:06"),
        ("date", ["%s %%s", "Asia/Tokyo"], "2023-11-23T18:36:21.9Z", "1700764581 %s"),
        ("date", ["%Y"], "tomorrow at 5", "tomorrow at 5"),
        ("date", ["%Y", "Asia/Tokyo"], "9999-12-31T23:00:00", "9999-12-31T23:00:00"),
        ("epoch_ms", [], "2023-11-23T18:36:21.512302Z", 1700764581512),
        ("epoch_ms", [], "1969-12-31T23:59:59.5", -500),
        ("epoch_ms", [], "soon", "soon"),
        ("epoch_ms", [], "", ""),
        ("regex_extract", [r"\d+"], "a 12 b 34", "12"),
        ("regex_extract", [r"(\d+)-(\d+)"], "a 12-34", "12"),
        ("regex_extract", [r"(\d+)-(\d+)", 2], "a 12-34", "34"),
        ("regex_extract", [r"(\d+)-(\d+)", 0], "a 12-34", "12-34"),
        ("regex_extract", [r"(?P<x>\d+)", "x"], "a 12", "12"),
        ("regex_extract", [r"a(b)?"], "a", ""),
        ("regex_extract", [r"\d+"], "none", ""),
        ("regex_replace", [r"(\d)(\d)", r"\2\1"], "12 34", "21 43"),
        ("regex_replace", ["x", ""], "axbx", "ab"),
        ("first_name", [], "Dr. David Garcia", "David"),
        ("last_name", [], "Garcia, David", "Garcia"),
        ("last_name", [], "David", ""),
        ("first_name", [], "D" * 1000, ""),
        ("lookup", [{"Lead": "L", "5": 50}], " Lead ", "L"),
        ("lookup", [{"Lead": "L", "5": 50}], 5, 50),
        ("lookup", [{"Lead": "L"}], "Other", ""),
        ("hash", [], "é", hashlib.sha256("é".encode()).hexdigest()),
        ("url_host", [], "www.Google.com", "www.google.com"),
        ("url_host", [], "HTTPS://me@Example.com:80/x?y#z", "example.com"),
        ("url_host", [], "http://[::1", ""),
        ("query_param", ["utm"], "ex.com/x?utm=a%20b&utm=c", "a b"),
        ("query_param", ["utm"], "https://ex.com/", ""),
        ("query_param", ["utm"], "https://ex.com/?" + "a=1&" * 500, ""),
        ("html_escape", [], "<b>\"&'", "&lt;b&gt;&#34;&amp;&#39;"),
        ("bmp", [], "héllo 😀 中", "héllo  中"),
        ("json", [], 'a"b\n中', '"a\\"b\\n中"'),
        ("json", [], "", '""'),
        ("json", [], 2**70, str(2**70)),
    ],
)
def test_gives(name: str, arguments: list[Any], value: Any, expected: Any) -> None:
    assert run(name, value, *arguments) == expected


@pytest.mark.parametrize("digits", range(8))
@pytest.mark.parametrize("zone", ["", "Z"])
def test_a_creation_time_may_have_any_number_of_digits(digits: int, zone: str) -> None:
    fraction = f".{'1234567'[:digits]}" if digits else ""
    assert run("date", f"2023-11-23T18:36:21{fraction}{zone}", "%Y-%m-%dT%H:%M:%S") == "2023-11-23T18:36:21"


@given(st.text(), st.integers(min_value=0, max_value=600))
def test_truncate_keeps_its_bound_and_takes_no_more_than_it_must(text: str, n: int) -> None:
    cut = run("truncate", text, n)
    assert len(cut) == min(n, len(text))
    assert text.startswith(cut)


@given(st.datetimes())
def test_a_time_without_a_zone_is_utc(time: Any) -> None:
    assert read_time(time.isoformat()) == read_time(time.isoformat() + "+00:00")


@pytest.mark.parametrize(
    ("name", "arguments", "named", "told"),
    [
        ("truncate", [], {}, "needs `n`"),
        ("truncate", ["x"], {}, "`n` must be a whole number"),
        ("truncate", [True], {}, "`n` must be a whole number"),
        ("truncate", [1.5], {}, "`n` must be a whole number"),
        ("truncate", [-1], {}, "must not be negative"),
        ("truncate", [1, 2], {}, "takes `n`, not 2 arguments"),
        ("truncate", [1], {"n": 2}, "gets `n` twice"),
        ("truncate", [], {"length": 2}, "has no argument `length`"),
        ("date", ["%Y"], {"zone": "UTC"}, "it takes `format`, `tz`"),
        ("date", ["%Y", "Mars/Olympus"], {}, "a zone such as Europe/London"),
        ("date", ["%Y", ""], {}, "a zone such as Europe/London"),
        ("date", ["%Y", "../etc/passwd"], {}, "a zone such as Europe/London"),
        ("trim", [1], {}, "takes no arguments"),
        ("e164", ["UK"], {}, "Britain is GB"),
        ("e164", ["XX"], {}, "two-letter country code"),
        ("phone_country", ["UK"], {}, "Britain is GB"),
        ("appointment_start", ["Mars"], {}, "needs a time zone"),
        ("regex_extract", ["("], {}, "is not a valid RE2 pattern"),
        ("regex_extract", ["a", 1], {}, "no such `group`"),
        ("regex_extract", ["a", "x"], {}, "no such `group`"),
        ("regex_replace", ["a", r"\1"], {}, "refers to a group"),
        ("regex_replace", ["a"], {}, "needs `with`"),
        ("lookup", ["x"], {}, "must be a table"),
    ],
)
def test_wrong_arguments_are_told(name: str, arguments: list[Any], named: dict[str, Any], told: str) -> None:
    with pytest.raises(TransformError, match=f"transform `{name}`") as caught:
        BUILTIN[name].bind(arguments, named)
    assert told in str(caught.value)


def test_the_start_of_an_appointment_becomes_a_field() -> None:
    text = "Cita: miércoles 25 de noviembre de 2026 a las 10:00"
    assert run("appointment_start", text, "Europe/Madrid") == "2026-11-25T09:00:00Z"
    assert run("date", run("appointment_start", text, "Europe/Madrid"), "%H:%M", "Europe/Madrid") == "10:00"
    assert run("appointment_start", text) == ""
    assert run("appointment_start", text, "Europe/Madrid", "2026-11-24T10:00:00Z") == "2026-11-25T09:00:00Z"
    assert run("appointment_start", text, "Europe/Madrid", "2026-12-24T10:00:00Z") == ""
    assert run("appointment_start", "tomorrow at ten", "Europe/Madrid") == ""


def test_a_plugin_is_made_of_the_same_parts() -> None:
    repeated = Transform(
        "repeated", "Several times.", lambda n: lambda value: value * n, (Parameter("n", (int,), "how often"),)
    )
    assert repeated.bind([2])("ab") == "abab"


def test_what_is_heavy_is_imported_only_when_it_is_used() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['leadbridge', 'serve']\n"
        "import bridge.cli.serve\n"
        "heavy = 'alembic apprise connectors.appointments cryptography email_validator greenlet nameparser '\n"
        "heavy += 'phonenumbers pygments re2 rich'\n"
        "assert not set(heavy.split()) & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("whole", "first", "rest", "last"),
    [
        ("Juan Carlos Pérez Gómez", "Juan", "Carlos Pérez Gómez", "Gómez"),
        ("María de la Cruz y Vega", "María", "de la Cruz y Vega", "de la Cruz y Vega"),
        ("Ludwig van Beethoven", "Ludwig", "van Beethoven", "van Beethoven"),
        ("Dr. Ada King Lovelace", "Ada", "King Lovelace, Dr.", "Lovelace"),
        ("Lovelace, Ada Maria", "Ada", "Maria Lovelace", "Lovelace"),
        ('Robert "Bob" Smith Jr.', "Robert", '"Bob" Smith Jr.', "Smith"),
        ("Ann Annable", "Ann", "Annable", "Annable"),
        ("Mr. Smith", "", "Mr. Smith", "Smith"),
        ("Ada", "Ada", "", ""),
        ("王小明", "小明", "王", "王"),
        ("王 小明", "小明", "王", "王"),
        ("欧阳娜娜", "娜娜", "欧阳", "欧阳"),
        ("諸葛亮", "亮", "諸葛", "諸葛"),
        ("王小明先生", "小明", "王先生", "王"),
        ("田中太郎", "", "田中太郎", "田中太郎"),
        ("김민수", "민수", "김", "김"),
        ("D" * 1000, "", "D" * 1000, ""),
    ],
)
def test_a_full_name_is_split(whole: str, first: str, rest: str, last: str) -> None:
    found = tuple(run(name, whole) for name in ("first_name", "rest_of_name", "last_name"))
    assert found == (first, rest, last)


_NAME_WORDS = (
    'Juan Pérez de la van der Dr. Mr Jr. III "Bob" (Jack) y Smith, Anne-Marie J. 王 小明 欧阳娜娜 김민수 Ph.D. née '
    "Sir Ann AnnAnn St. bin O'Neil"
)


@given(whole=st.lists(st.sampled_from(_NAME_WORDS.split()), max_size=7).map(" ".join) | st.text(max_size=20))
def test_first_name_and_rest_of_name_are_always_the_whole_name(whole: str) -> None:
    parts = run("first_name", whole) + run("rest_of_name", whole)
    assert sorted(re.sub(r"[\s,]", "", parts)) == sorted(re.sub(r"[\s,]", "", whole))
