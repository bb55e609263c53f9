"""Dry runs of an edited route, without their page."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import orjson
import pytest

from bridge.config.diagnostics import Findings
from bridge.config.load import fill_variables
from bridge.config.model import Config
from bridge.config.reload import Files, load_files
from bridge.mapping.pattern import compile_pattern
from bridge.operations.dry_run import DryRun, PageBudget, dry_run
from bridge.operations.playground import (
    EXPANDED_LIMIT,
    PROBLEMS_LIMIT,
    RoutePosition,
    TrialResult,
    differences,
    route_text,
    run_in_use,
    run_trial,
    seen_by,
)
from bridge.store.filter import Scope
from bridge.store.interface import Delivery
from tests.building import NOW, Clock, FakeConnector, chatbot, config, destination, event, lead, route

MAIN = b"""
server: {admin_token: a-token-of-an-operator}
destinations:
  crm: {connector: http, url: "https://crm.example.com/leads"}
chatbots:
  acme:
    serial_number: 59001dd73709417321c58b11693183a2
    signing_keys: [a-signing-key-of-good-length]
    routes: [{to: crm, fields: {mail: Email}}]
  other:
    serial_number: 59001dd73709417321c58b11693183a3
    signing_keys: [a-signing-key-of-good-length]
    routes: [{to: gone, fields: {mail: Email}}]
"""
OTHERS = (
    MAIN[MAIN.index(b"chatbots") :].replace(b"acme", b"third").replace(b"other", b"fourth").replace(b"crm", b"gone")
)
PAYLOAD = orjson.dumps(lead(Email="ada@example.com"))


def files(contents: Mapping[str, bytes], environ: Mapping[str, str] = MappingProxyType({})) -> Files:
    """Return a folder of files in use."""
    folder = Path("/etc/leadbridge")
    known = {folder / name: content for name, content in contents.items()}
    trees = {file: fill_variables(file, content, environ, Findings()) for file, content in known.items()}
    return Files(folder, environ, known, {file: tree for file, tree in trees.items() if tree})


def test_a_route_is_tried_without_the_other_chatbots() -> None:
    """A thousand of them took seconds. Here none of the others could be compiled: their destination is not there."""
    in_use = files({"a.yaml": MAIN, "b.yaml": OTHERS})
    tried = run_trial(in_use, RoutePosition("acme", 0), "to: crm\nfields: {e-mail: Email}", PAYLOAD, NOW)
    assert tried.problems == ()
    assert tried.result
    assert tried.result.fields == {"e-mail": "ada@example.com"}
    assert run_trial(in_use, RoutePosition("acme", 0), "to: gone", PAYLOAD, NOW).problems


KEYS = ", ".join(f"{'k' * 1_000}{n}: 1" for n in range(30))


def tried(text: str) -> TrialResult:
    return run_trial(files({"a.yaml": MAIN}), RoutePosition("acme", 0), text, PAYLOAD, NOW)


def test_variables_are_filled_in_but_for_those_of_the_edited_text() -> None:
    secret = "a-token-from-a-variable"
    main = MAIN.replace(b"a-token-of-an-operator", b"'${TOKEN}'").replace(b"mail: Email", b"mail: {value: '${TOKEN}'}")
    in_use = files({"a.yaml": main}, {"TOKEN": secret})
    place = RoutePosition("acme", 0)
    text = route_text(in_use, place)
    assert "${TOKEN}" in text
    made = run_trial(in_use, place, text, PAYLOAD, NOW).result
    assert made
    assert made.fields == {"mail": "${TOKEN}"}


def test_a_route_with_presets_is_tried_wherever_it_is_written() -> None:
    shared = b"""
presets:
  routes: {leads: {fields: {mail: Email, name: FirstName}}}
  chatbots: {standard: {signing_keys: [a-signing-key-of-good-length], routes: [{use: leads, to: crm}]}}
"""
    own = b"""
destinations:
  crm: {connector: http, url: "https://crm.example.com/leads"}
chatbots:
  acme: {use: standard, serial_number: 59001dd73709417321c58b11693183a2}
  other:
    use: standard
    serial_number: 59001dd73709417321c58b11693183a3
    routes: [{use: leads, to: crm, fields: {name: null}}]
"""
    in_use = files({"a.yaml": own, "b.yaml": shared})
    assert route_text(in_use, RoutePosition("acme", 0)) == "use: leads\nto: crm\n"
    assert route_text(in_use, RoutePosition("other", 0)) == "use: leads\nto: crm\nfields:\n  name: null\n"
    for name in ("acme", "other"):
        edited = "use: leads\nto: crm\nfields: {name: LastName}\n"
        made = run_trial(in_use, RoutePosition(name, 0), edited, PAYLOAD, NOW).result
        assert made
        assert made.fields == {"mail": "ada@example.com", "name": "García"}
        refused = run_trial(in_use, RoutePosition(name, 0), "use: leeds\nto: crm\n", PAYLOAD, NOW).problems
        assert refused == ("use: there is no preset `leeds` (did you mean `leads`?)",)


@pytest.mark.parametrize(
    "text",
    [
        f"to: crm\nfields:\n  a: &a {{value: '{'x' * 30_000}'}}\n" + "".join(f"  a{n}: *a\n" for n in range(20)),
        f"to: crm\nfields:\n  a: &a {{{KEYS}}}\n" + "".join(f"  a{n}: {{<<: *a}}\n" for n in range(20)),
    ],
)
def test_a_route_is_refused_that_is_large_once_its_aliases_are_written_out(text: str) -> None:
    (problem,) = tried(text).problems
    assert problem == f"longer than {EXPANDED_LIMIT:,} characters once its aliases are written out: use fewer"


def patterns(source: str) -> str:
    fields = (f"  a{n}: {{from: Email, transform: [{{regex_extract: ['{source}', 0]}}]}}\n" for n in range(300))
    return "to: crm\nfields:\n" + "".join(each.replace("$", str(n)) for n, each in enumerate(fields))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("to: crm\nfields:\n" + "".join(f"  a{n}: Email\n" for n in range(2_000)), "more than 4,000 keys and values"),
        ("to: crm\nfields:\n  a: &a []\n  b: [" + "*a, " * 4_000 + "]\n", "more than 4,000 keys and values"),
        (f"to: crm\nfields: {{a: '{'{{ Email }}' * 800}'}}", "a text of it is longer than 8,192 characters"),
        (patterns(r"(\pL{99})$"), "the route takes more than 500,000,000 steps to compile"),
        (patterns(r"(\pL{999})$"), "the route takes more than 500,000,000 steps to compile"),
    ],
    ids=["fields", "empty lists", "one template", "large patterns", "patterns that are too large"],
)
def test_a_route_is_refused_that_takes_much_work_to_compile(text: str, problem: str) -> None:
    """Nothing ends the thread that compiles it: without bounds the patterns alone take minutes, and gigabytes."""
    compile_pattern.cache_clear()
    assert tried(text).problems[0].startswith(problem)
    assert compile_pattern.cache_info().currsize == 0


def test_the_first_mistakes_are_shown_and_none_at_length() -> None:
    found = tried("to: crm\nfields:\n" + "".join(f"  a{n}: {'x' * 600}{n}\n" for n in range(90))).problems
    assert len(found) == PROBLEMS_LIMIT + 1
    assert found[-1] == f"{90 - PROBLEMS_LIMIT} more"
    assert max(map(len, found)) < 600


def test_a_request_has_so_much_room_and_time_for_all_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("bridge.operations.dry_run.PAGE_TEXT", 1_000)
    monkeypatch.setattr("bridge.operations.dry_run.time.thread_time", clock)
    allowance = PageBudget()
    made = allowance.facts({"a": "<" * 100, "b": "x" * 300, "c": "y"})
    assert made == {"a": "<" * 100, "2 more": "not shown: the page would be too large"}
    in_use = config([chatbot("acme", route("crm"))], [destination("crm", FakeConnector())])
    one = event()
    delivery = Delivery(1, one.id, "acme", one.payload, NOW, "crm", 0, 0, None, {})
    assert dry_run(delivery, "crm", in_use, allowance, reveal=True).request
    clock.now += 2
    late = dry_run(delivery, "crm", in_use, allowance, reveal=True)
    assert (late.fields, late.request) == (None, None)
    assert late.problem == "not shown: the records before it took too long"


def test_records_are_compared_field_by_field() -> None:
    before = TrialResult(result=DryRun({"name": "Ada", "mail": "ada@example.com", "gone": "1"}))
    after = TrialResult(result=DryRun({"mail": "ADA@example.com", "name": "Ada", "new": "2"}))
    found = [(each.name, each.change) for each in differences(before, after)]
    assert found == [("mail", "changed"), ("name", "same"), ("new", "added"), ("gone", "removed")]
    assert {each.change for each in differences(TrialResult(verdict="skipped"), after)} == {"added"}


AGENCY = b"""
server:
  admin_token: a-token-of-an-operator
  users: [{name: maria, token: the-token-of-maria-of-alpha, role: operator, chatbots: [alpha]}]
presets:
  routes:
    base: {fields: {mail: Email}}
    alpha-leads: {use: base, fields: {key: {value: "${ALPHA_TOKEN}"}}}
    zenith-leads: {to: alpha-crm, fields: {key: {value: "${ZENITH_TOKEN}"}, mounted: {value: "${file:/dev/null}"}}}
destinations:
  alpha-crm: {connector: http, url: "${ALPHA_URL}"}
  zenith-crm: {connector: http, url: "https://zenith.example.com/leads"}
chatbots:
  alpha:
    serial_number: 59001dd73709417321c58b11693183a2
    signing_keys: [a-signing-key-of-good-length]
    routes: [{use: alpha-leads, to: alpha-crm}]
  zenith:
    serial_number: 59001dd73709417321c58b11693183a3
    signing_keys: [a-signing-key-of-good-length]
    routes: [{use: zenith-leads, to: zenith-crm}]
"""
SECRETS = {
    "ALPHA_TOKEN": "the-value-of-the-alpha-token",
    "ZENITH_TOKEN": "the-value-of-the-zenith-token",
    "ALPHA_URL": "https://alpha.example.com/leads",
}


def agency(tmp_path: Path) -> tuple[Config, Files]:
    file = tmp_path / "config.yaml"
    (tmp_path / "mounted").write_text("the-value-of-the-mounted-file")
    file.write_bytes(AGENCY.replace(b"/dev/null", b"mounted"))
    return load_files(file, SECRETS)


@pytest.mark.parametrize("name", ["zenith-leads", "zenith-lead"])
def test_a_user_of_some_chatbots_learns_nothing_of_the_presets_of_others(tmp_path: Path, name: str) -> None:
    in_use, read = agency(tmp_path)
    seen = seen_by(in_use, Scope(frozenset({"alpha"})))
    text = f"use: {name}\nto: alpha-crm\n"
    (problem,) = run_trial(read, RoutePosition("alpha", 0), text, PAYLOAD, NOW, seen).problems
    assert f"there is no preset `{name}`" in problem
    assert "zenith" not in problem.replace(f"`{name}`", "")
    for own in ("alpha-leads", "base"):
        assert run_trial(read, RoutePosition("alpha", 0), f"use: {own}\nto: alpha-crm\n", PAYLOAD, NOW, seen).result
    (problem,) = run_trial(read, RoutePosition("alpha", 0), "use: base\nto: zenith-cr\n", PAYLOAD, NOW, seen).problems
    assert "zenith-crm" not in problem


def test_a_value_from_a_variable_or_a_file_is_shown_as_its_name_to_everybody(tmp_path: Path) -> None:
    _, read = agency(tmp_path)
    place = RoutePosition("alpha", 0)
    made = run_trial(read, place, "use: zenith-leads\n", PAYLOAD, NOW)
    assert made.result
    assert made.result.fields == {"key": "${ZENITH_TOKEN}", "mounted": "${file:mounted}"}
    assert made.result.request
    assert "the-value" not in made.result.request.body
    assert made.in_use
    for shown in (made.in_use, run_in_use(read, place, PAYLOAD, NOW, reveal=True)):
        assert shown.result
        assert shown.result.fields == {"mail": "ada@example.com", "key": "${ALPHA_TOKEN}"}
