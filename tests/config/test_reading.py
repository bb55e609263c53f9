"""The parts of reading on their own: places, types, units, suggestions, and what the models say of themselves."""

from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr

from bridge.config.diagnostics import ConfigProblem, Findings
from bridge.config.schema import ConfigPart
from bridge.config.secrets import key_fault, secret_settings
from bridge.config.setting_types import parse_address
from bridge.config.yaml_reader import read_yaml
from bridge.config.yaml_tree import MapNode, Position, Scalar, dotted_path, plain, position_inside
from bridge.errors import did_you_mean
from bridge.mapping.field_form import FieldForm
from connectors.base import parse_duration, parse_size


def tree(text: str) -> MapNode:
    findings = Findings()
    found = read_yaml("a.yaml", text, findings)
    assert found is not None, findings.problems
    return found


def scalar(text: str) -> Scalar:
    found = tree(text).items["a"]
    assert isinstance(found, Scalar)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "a: one X two\n",
        "a: 'one X two'\n",
        'a: "one X two"\n',
        "b: 1\na: 'it''s one X two'\n",
        'a: "say \\"one\\" X\\n two"\n',
        "a: |\n  one\n    X two\n",
        "a: |2-\n    one\n   X two\n",
        "a: >\n  one\n\n  two X\n  three\n",
        "a: one\n  two\n  X three\n",
        "a: 'one\n  two\n\n  X three'\n",
        'a: "one \\\n   X two"\n',
        "a: ünï X\n",
        "ü: ö\na: X\n",
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_place_inside_a_text_is_found_in_the_file(text: str, line_end: str) -> None:
    found = scalar(text.replace("\n", line_end))
    assert isinstance(found.value, str)
    before = found.value[: found.value.index("X")]
    place = position_inside(found, before.count("\n") + 1, len(before) - before.rfind("\n"))
    lines = text.split("\n")
    assert lines[place.line - 1][place.column - 1] == "X"


@given(st.text(alphabet=" \n\"'\\:#-|>{}äxy", min_size=1), st.sampled_from(['"', "'", "|", ">", None]), st.data())
def test_a_place_inside_any_text_is_its_character_or_where_the_text_begins(text: str, style: Any, data: Any) -> None:
    written_out = yaml.dump({"a": text + "."}, default_style=style, allow_unicode=True, width=20)
    findings = Findings()
    found = read_yaml("a.yaml", written_out, findings)
    if found is None:
        return
    value = next(iter(found.items.values()))
    assert isinstance(value, Scalar)
    assert isinstance(value.value, str)
    index = data.draw(st.integers(0, len(value.value) - 1))
    character = value.value[index]
    line = value.value.count("\n", 0, index) + 1
    place = position_inside(value, line, index - value.value.rfind("\n", 0, index))
    there = written_out.split("\n")[place.line - 1][place.column - 1 : place.column]
    assert character.isspace() or place == value.place or there == character


def test_a_position_that_a_text_does_not_have_is_where_the_text_begins() -> None:
    found = scalar("a: text\n")
    assert position_inside(found, 5, 1) == found.place
    assert position_inside(found, 1, None) == Position("a.yaml", 1, 4)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("NO", "NO"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("", None),
        ("0", 0),
        ("-5", -5),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1e5", "1e5"),
        ("+49", "+49"),
        ("1.5", 1.5),
        (".5", ".5"),
        ("12:30:00", "12:30:00"),
        ("2026-11-24", "2026-11-24"),
        ("1234567890123456", "1234567890123456"),
        (".inf", ".inf"),
        ("'5'", "5"),
        ("\uff15", "\uff15"),
    ],
)
def test_plain_words_have_the_types_of_json(text: str, value: Any) -> None:
    found = plain(scalar(f"a: {text}\n"))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000), ("1.5h", 5_400), (0, 0), ("0s", 0)],
)
def test_durations(text: Any, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", 5, "5 seconds", "-5s", "s", "1e3s", "5S", None, True, False, "5s ", "\u0665s"]
)
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(ValueError, match="30s, 5m, 12h or 30d"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "size"), [("1B", 1), ("256KiB", 262_144), ("1 MiB", 1_048_576), ("2GiB", 2**31)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", 5, "1MB", "0KiB", "-1KiB", "1.5MiB", None])
def test_what_is_no_size(text: Any) -> None:
    with pytest.raises(ValueError, match="256KiB or 1MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:0", "::1", 0), (":8080", "0.0.0.0", 8080), ("a.b-c:1", "a.b-c", 1)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    found = parse_address(text)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize("text", ["", "8080", 8080, "a:", "a:b", "::1:80", "a:65536", "http://a:80", "a b:80", None])
def test_what_is_no_address(text: Any) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:8081"):
        parse_address(text)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "tiny",
        "x" * 30,
        "*" * 30,
        "changeme-changeme",
        "CHANGE_ME_PLEASE_NOW",
        "your-signing-key-here",
        "<signing key here>",
        "replace me with a key",
        "todo: put the key here",
        "placeholder-placeholder",
        "xxx-key-of-the-vendor",
        " padded-key-padded-key",
    ],
)
def test_what_cannot_be_a_key(secret: str) -> None:
    fault = key_fault(secret)
    assert fault
    assert not secret or secret not in fault


@pytest.mark.parametrize(
    "secret", ["0123456789abcdef", "the9f86d081884c7d65", "secret9f86d081884", "a-b_c-d_e-f_g-h_i"]
)
def test_what_can_be_a_key(secret: str) -> None:
    assert key_fault(secret) is None


class Inner(BaseModel):
    password: SecretStr
    user: str


class Outer(BaseModel):
    inner: Inner = Field(alias="login")
    keys: list[SecretStr]
    headers: dict[str, SecretStr]


def test_secrets_are_found_by_the_names_of_the_configuration() -> None:
    settings = Outer.model_validate(
        {
            "login": {"password": "p", "user": "u"},
            "keys": ["a", "b"],
            "headers": {"Accept-Language": "en", "X-Api-Key": "k"},
        }
    )
    assert [path for path, _ in secret_settings(settings)] == [
        ("login", "password"),
        ("keys", 0),
        ("keys", 1),
        ("headers", "X-Api-Key"),
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), "(file)"),
        (("chatbots", "acme-website", "routes", 0, "to"), "chatbots.acme-website.routes[0].to"),
        (("destinations", "a b"), 'destinations."a b"'),
    ],
)
def test_a_path_is_written_as_its_author_would(path: Any, text: str) -> None:
    assert dotted_path(path) == text


def test_a_problem_is_one_line() -> None:
    assert str(ConfigProblem("a.yaml", 3, 5, "server.listen", "is wrong")) == "a.yaml:3:5: server.listen: is wrong"


def test_what_follows_from_a_problem_is_not_told_again() -> None:
    findings = Findings()
    place = Position("a.yaml", 1, 1)
    findings.error(("a",), place, "first")
    findings.error(("a",), place, "again")
    findings.error(("a", "b"), place, "elsewhere")
    findings.invalidate(("c",), place, "unreadable")
    findings.error(("c", "d"), place, "follows")
    assert [problem.message for problem in findings.problems] == ["first", "elsewhere", "unreadable"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("lisen", " (did you mean `listen`?)"), ("LISTEN", " (did you mean `listen`?)"), ("zzz", ""), ("", "")],
)
def test_suggestions(name: str, hint: str) -> None:
    assert did_you_mean(name, ["listen", "admin"]) == hint


def models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inside = [models_in(field.annotation) for field in annotation.model_fields.values()]
        return {annotation}.union(*inside)
    return set().union(*map(models_in, get_args(annotation)))


def test_every_setting_describes_itself() -> None:
    found = models_in(ConfigPart)
    assert FieldForm in found
    for model in found:
        assert model.__doc__
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert field.description.strip()[-1] in ".…", f"{model.__name__}.{name}"


def test_the_models_give_a_json_schema() -> None:
    schema = ConfigPart.model_json_schema()
    server = schema["$defs"]["ServerPart"]["properties"]
    assert server["max_body"]["default"] == "1MiB"
    assert server["listen"]["default"] == "0.0.0.0:8080"
    assert schema["$defs"]["RetryPart"]["properties"]["give_up_after"]["default"] == "3d"
    assert schema["additionalProperties"] is False
