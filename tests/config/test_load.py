"""Whole configurations: the good ones and what they become, the bad ones and what is told of them."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config import Ack, Config, ConfigError, ListenAddress, RateLimit, RetrySchedule, load, yaml_reader
from bridge.config.diagnostics import Findings
from bridge.event import EVENT_TYPES

HERE = Path(__file__).parent
TOP = HERE.parent.parent

Load = Callable[[str], Config]


def cases(folder: str) -> list[str]:
    return sorted(each.name for each in (HERE / folder).iterdir() if each.is_dir() or each.suffix == ".yaml")


def told(found: Config | ConfigError) -> list[str]:
    problems = found.problems if isinstance(found, ConfigError) else ()
    return [*map(str, problems), *(f"warning: {warning}" for warning in found.warnings)]


def expected(folder: str, case: str) -> list[str]:
    return (HERE / folder / f"{case.removesuffix('.yaml')}.expected").read_text().splitlines()


@pytest.mark.parametrize("case", cases("bad"))
def test_all_that_is_wrong_is_told(case: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / "bad")
    with pytest.raises(ConfigError) as caught:
        load(Path(case), environ)
    assert told(caught.value) == expected("bad", case)
    assert str(caught.value).splitlines() == list(map(str, caught.value.problems))


@pytest.mark.parametrize("case", cases("good"))
def test_what_is_good_is_taken(case: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / "good")
    assert told(load(Path(case), environ)) == expected("good", case)


def test_there_are_enough_of_both() -> None:
    assert len(cases("bad")) >= 150
    assert len(cases("good")) >= 15


LIBRARY = re.compile(
    r"value error|assertion|input should|validation error|pydantic|traceback|jinja|while (parsing|scanning)|expected <"
    r"|found character|found unexpected|did not find|[A-Z]\w+Error\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("case", cases("bad"))
def test_no_message_has_the_words_of_a_library(case: str) -> None:
    # Code of the operator's own is shown with its exception.
    for line in (each for each in expected("bad", case) if "cannot" not in each):
        assert not LIBRARY.search(line.partition(": ")[2]), line


def test_a_file_is_named_as_it_was_given(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    for given in (Path("bad/yaml_tab.yaml"), HERE / "bad" / "yaml_tab.yaml"):
        with pytest.raises(ConfigError) as caught:
            load(given, environ)
        assert caught.value.problems[0].file == str(given)


def test_ten_mistakes_in_three_files_are_ten_lines(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(HERE / "bad" / "ten_mistakes_in_three_files", environ)
    assert len(caught.value.problems) == 10
    assert len({problem.file for problem in caught.value.problems}) == 3


@pytest.fixture
def good(environ: dict[str, str]) -> Load:
    def read(case: str) -> Config:
        return load(HERE / "good" / case, environ)

    return read


def test_every_setting_arrives(good: Load) -> None:
    config = good("all_settings.yaml")
    assert config.server.listen == ListenAddress("::1", 8080)
    assert str(config.server.listen) == "[::1]:8080"
    assert config.server.admin == ListenAddress("localhost", 0)
    assert config.server.admin_token == "t0ken-from-the-environment"
    assert [str(each) for each in config.server.trusted_proxies] == ["127.0.0.1/32", "fd00::/8"]
    assert (config.server.max_body, config.server.read_timeout) == (256 * 1024, 0.5)
    assert config.store.url == "postgresql://leadbridge@db/leads"
    assert (config.store.retention_delivered, config.store.retention_dead) == (12 * 3600, 1.5 * 86400)
    crm = config.destinations["crm"]
    assert (crm.name, crm.connector_name, crm.concurrency, crm.timeout) == ("crm", "crm", 4, 300)
    assert (crm.batch_size, crm.batch_linger) == (50, 0.25)
    assert crm.rate_limit == RateLimit(100, 10)
    assert crm.retry == RetrySchedule(1, 120, 1.5, 0, 86400)
    acme = config.chatbots["acme"]
    assert acme.serial_numbers == ("59001737",)
    assert acme.signing_keys == (b"s1gning-key-from-the-environment", b"t0ken-from-the-environment")
    assert (acme.signature_tolerance, acme.ack, acme.ack_within) == (0, Ack.RELAYED, 5)
    assert acme.test_when is not None
    assert acme.test_when({"Email": "me@example.org"}) is True
    (test,) = acme.tests
    assert (test.event, test.expect) == ({"Type": "Lead"}, {"crm": {"email": "a@b.co"}})
    assert (test.name, test.place.line, test.exact) == ("", 45, False)
    assert config.chatbot_by_serial == {"59001737": acme}


def test_what_is_not_said_has_its_default(good: Load) -> None:
    config = good("smallest.yaml")
    assert (config.server.listen, config.server.admin) == (
        ListenAddress("0.0.0.0", 8080),
        ListenAddress("127.0.0.1", 8081),
    )
    assert (config.server.max_body, config.server.read_timeout) == (1024 * 1024, 10)
    assert config.server.admin_token is None
    assert config.store.url == "sqlite:///leadbridge.db"
    assert (config.store.retention_delivered, config.store.retention_dead) == (30 * 86400, 180 * 86400)
    crm = config.destinations["crm"]
    assert (crm.rate_limit, crm.concurrency, crm.batch_size, crm.batch_linger) == (None, 10, 100, 0)
    assert (crm.timeout, crm.retry) == (30, RetrySchedule(10, 3600, 2, 0.2, 3 * 86400))
    acme = config.chatbots["acme"]
    assert (acme.signature_tolerance, acme.ack, acme.ack_within) == (900, Ack.QUEUED, 10)
    assert (acme.test_when, acme.insecure_skip_verify, acme.tests) == (None, False, ())
    (route,) = acme.routes
    assert (route.name, route.destination, route.when) == ("crm", "crm", None)
    assert route.events == frozenset(EVENT_TYPES)
    assert route.mapping.apply({}) == {}


def test_a_second_route_to_a_destination_has_a_name_of_its_own(good: Load) -> None:
    routes = good("all_settings.yaml").chatbots["acme"].routes
    assert [route.name for route in routes] == ["crm", "crm#2", "single", "crm#3"]
    assert [route.destination for route in routes] == ["crm", "crm", "single", "crm"]
    assert [sorted(route.events) for route in routes[:2]] == [["Lead"], ["Appointment"]]
    assert routes[0].settings.model_dump() == {"object": "lead", "remark": "x"}
    assert routes[0].when is not None
    assert routes[0].when({"Type": "Lead", "Email": "", "PhoneNumber": "1"}) == "1"


def test_a_connector_that_does_not_batch_is_given_one_record(good: Load) -> None:
    assert good("all_settings.yaml").destinations["single"].batch_size == 1


def test_a_variable_cannot_change_the_structure(good: Load, environ: dict[str, str]) -> None:
    config = good("variables.yaml")
    crm: Any = config.destinations["crm"].connector
    assert crm.settings.token.get_secret_value() == environ["TRICKY"]
    assert crm.settings.url == "https://crm.example.com/a/b?x=${y}"
    assert config.server.admin_token == "a-token-from-a-mounted-file"
    assert config.chatbots["acme"].serial_numbers == ("59001",)
    assert config.chatbots["acme"].routes[0].mapping.apply({}) == {"note": environ["TRICKY"], "empty": ""}


def test_plain_words_stay_text(good: Load) -> None:
    mapping = good("plain_words_stay_text.yaml").chatbots["acme"].routes[0].mapping
    assert mapping.apply({"Email": "NO"}) == {
        "country": "NO",
        "time": "12:30",
        "phone": "0049123",
        "yes": "yes",
        "number": 42,
        "price": 1.5,
        "flag": True,
        "day": "2026-11-24",
        "answer": "Norway",
        "tags": ["a", "b"],
    }


def test_a_merge_takes_over_what_is_not_said_again(good: Load) -> None:
    first, second = good("anchors_and_merges.yaml").chatbots["acme"].routes
    variables = {"Email": "a@b.co", "FirstName": "A", "LastName": "B"}
    assert first.mapping.apply(variables) == {"email": "a@b.co", "name": "A"}
    assert second.mapping.apply(variables) == {"email": "a@b.co", "name": "B"}


@pytest.mark.parametrize("case", cases("good"))
def test_no_secret_is_shown(case: str, good: Load, environ: dict[str, str]) -> None:
    config = good(case)
    shown = f"{config!r} {list(config.destinations.values())!r} {list(config.chatbots.values())!r} {told(config)}"
    for secret in [*environ.values(), "5d41402abc4b", "a-token-from-a-mounted-file"]:
        assert not secret or secret not in shown


@pytest.mark.parametrize("case", cases("bad"))
def test_no_secret_is_in_an_error(case: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(HERE / "bad" / case, environ)
    shown = f"{caught.value} {caught.value!r} {told(caught.value)}".replace(str(HERE), "")
    for secret in environ.values():
        assert not secret or secret not in shown


LIMIT = 1024 * 1024 - 100
HOSTILE = {
    "aliases": "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
    "merges": "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60)),
    "alias of itself": "a: &a [*a]\n",
    "lists": "[" * LIMIT,
    "maps": "{" * LIMIT,
    "dashes": "- " * (LIMIT // 2),
    "pairs": "{a: " * (LIMIT // 4),
    "questions": "? " * (LIMIT // 2),
    "entries": "a: [" + "x," * (LIMIT // 2) + "]",
    "keys": "".join(f"k{i}: 1\n" for i in range(40_000)),
    "same keys": "a: 1\n" * (LIMIT // 5),
    "text": "a: " + "x" * LIMIT,
    "quoted": 'a: "' + "x" * LIMIT,
    "block": "a: |\n" + " x\n" * (LIMIT // 3),
    "comment": "#" * LIMIT,
    "lines": "\n" * LIMIT,
    "anchors": "&a " * (LIMIT // 3),
    "tags": "!a " * (LIMIT // 3),
    "code": "a: !!python/object/apply:os.system ['true']\n",
    "documents": "---\n" * (LIMIT // 4),
    "directives": "%a b\n" * (LIMIT // 5),
    "too large": "#" * (LIMIT + 200),
    "template": 'chatbots: {a: {test_when: "' + "(" * 60_000 + '"}}\n',
    "expression": 'chatbots: {a: {test_when: "' + "Email and " * 6_000 + 'Email"}}\n',
    "number": "chatbots: {a: {test_when: 1" + "0" * 60_000 + "}}\n",
    "reference": "chatbots: {a: {test_when: '" + "${" * 30_000 + "'}}\n",
}


HONEST = "".join(f"k{i}: 1\n" for i in range(1_000))
FULL = 30
"""Number of times that its 2,000 keys and values fit into the limit of a file."""


def _seconds(read: Callable[[str], object], text: str) -> float:
    """Of this thread's processor time: other tests run beside this one, and machines differ."""
    started = time.thread_time()
    read(text)
    return time.thread_time() - started


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_takes_no_longer_than_two_honest_ones(case: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"

    def read(text: str) -> None:
        file.write_text(text)
        try:
            load(file, {})
        except ConfigError as error:
            assert error.problems  # noqa: PT017 - what matters here is the time; some of these files are only odd

    full = FULL * _seconds(read, HONEST)
    assert _seconds(read, HOSTILE[case]) < 2 * full


@pytest.mark.thorough
@pytest.mark.parametrize("case", HOSTILE)
def test_without_libyaml_the_same_limits_hold(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_reader, "_LOADER", yaml.SafeLoader)

    def read(text: str) -> None:
        yaml_reader.read_yaml("config.yaml", text[: yaml_reader.FILE_LIMIT], Findings())

    full = FULL * _seconds(read, HONEST)
    assert _seconds(read, HOSTILE[case]) < 2 * full


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Path("no/such/file.yaml"), {})
    assert str(caught.value) == "no/such/file.yaml:1:1: (file): cannot be read: No such file or directory"


def test_a_file_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("server: {admin_token: '${file:/dev/zero}'}\n")
    with pytest.raises(ConfigError, match="there is no file /dev/zero"):
        load(tmp_path / "config.yaml", {})


def test_the_example_needs_no_environment() -> None:
    config = load(TOP / "config.example.yaml", {})
    assert {warning.path for warning in config.warnings} == {
        "destinations.hubspot.access_token",
        "destinations.salesforce.client_secret",
        "chatbots.acme-website.signing_keys[0]",
    }


def test_the_example_warns_of_nothing_once_it_is_set() -> None:
    secrets = ("HUBSPOT_ACCESS_TOKEN", "SALESFORCE_CLIENT_SECRET", "ACME_SIGN_KEY")
    environ = {name: f"s3cret-from-the-environment-{name}" for name in secrets}
    assert load(TOP / "config.example.yaml", environ).warnings == ()


def test_a_constant_that_overwrites_a_known_person_is_a_warning(tmp_path: Path) -> None:
    fields = {
        "email": "Email",
        "lastname": {"from": "LastName", "default": "Unknown"},
        "lifecyclestage": {"value": "lead"},
        "company": {"value": "Acme", "write": "always"},
        "hs_lead_status": {"value": "NEW", "write": "create"},
        "website": {"from": "URI", "default": "none", "write": "if_empty"},
    }
    document = {
        "destinations": {"crm": {"connector": "hubspot", "access_token": "${TOKEN}"}},
        "chatbots": {
            "a": {"serial_number": "1", "signing_keys": ["${KEY}"], "routes": [{"to": "crm", "fields": fields}]}
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    config = load(tmp_path / "config.yaml", {"TOKEN": "pat-1", "KEY": "a-signing-key-of-good-length"})
    assert [each.path.rpartition(".")[2] for each in config.warnings] == ["lastname", "lifecyclestage"]
    mapping = config.chatbots["a"].routes[0].mapping
    assert (mapping.create_only, mapping.if_empty) == (frozenset({"hs_lead_status"}), frozenset({"website"}))


def test_a_destination_keeps_to_the_limit_of_its_api_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "destinations:\n"
        "  small: {connector: hubspot, access_token: pat-1}\n"
        "  large: {connector: hubspot, access_token: pat-2, rate_limit: {requests: 190, per: 10s}}\n"
    )
    made = load(tmp_path / "config.yaml", {}).destinations
    assert (made["small"].rate_limit, made["large"].rate_limit) == (RateLimit(100, 10.0), RateLimit(190, 10.0))
    assert made["small"].pace is not None
