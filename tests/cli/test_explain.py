"""`leadbridge explain`."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cli.explain import path_of
from bridge.operations import event_dry_run
from connectors.base import ExpressionError, Preview, Record
from tests.building import FakeConnector, chatbot, config, destination, field_traces, lead, mapping, route
from tests.cli.conftest import SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cli.conftest import Place

CREATED = {"Email": "Jo@Example.com", "SessionID": 7}


def explained(place: "Place", *documents: Any, status: int = 0) -> list[dict[str, Any]]:
    body = json.dumps(documents[0] if len(documents) == 1 else list(documents))
    result = place("explain", "-", "--json", stdin=body)
    assert result.exit_code == status, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, list)
    return found


def test_each_route_says_whether_it_takes_the_event_and_what_would_be_sent(place: "Place") -> None:
    crm, mail = explained(place, lead(**CREATED))

    assert (crm["state"], crm["destination"], crm["chatbot"]) == ("matches", "crm", "acme")
    assert crm["fields"] == {"email": "Jo@Example.com", "name": "David García"}
    assert crm["request"]["method"] == "POST"
    assert crm["request"]["url"] == "http://127.0.0.1:9/leads"
    assert json.loads(crm["request"]["body"]) == crm["fields"]
    assert (mail["state"], mail["why"], mail["request"]) == ("skipped", "its `when` does not hold", None)
    assert mail["id"] is None  # only a store knows what ids are made with


def test_an_event_of_another_type_is_skipped_by_name(place: "Place") -> None:
    crm, _ = explained(place, lead(Type="Appointment"))

    assert (crm["state"], crm["why"]) == ("skipped", "it takes only Lead")


def test_the_secret_is_masked(place: "Place") -> None:
    text = place("explain", "-", stdin=json.dumps(lead()))
    as_json = place("explain", "-", "--json", stdin=json.dumps(lead()))

    for result in (text, as_json):
        assert SECRET not in result.output
        assert "Bearer ***" in result.output


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/hook-8421", "http://127.0.0.1:9/hook-8421?token=a-b-c-d-e&x=1"])
def test_a_url_from_a_variable_is_masked(place: "Place", url: str) -> None:
    place.environ["HOOK"] = url
    place.configure(place.path.read_text().replace("http://127.0.0.1:9/leads", "${HOOK}"))

    result = place("explain", "-", stdin=json.dumps(lead()))

    assert "POST ***" in result.output
    assert "hook-8421" not in result.output


def test_a_dead_letter_is_foretold_and_is_a_finding(place: "Place") -> None:
    _, mail = explained(place, lead(Content="mail me", URI=""), status=1)

    assert mail["state"] == "fails"
    assert "required" in mail["why"]


def test_the_text_shows_the_way_of_each_field(place: "Place") -> None:
    event = place.folder / "event.json"
    event.write_text(json.dumps(lead(**CREATED, Content="mail me")))

    result = place("explain", "config.yaml", "event.json")

    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "route crm: matches" in lines
    assert 'email Email "Jo@Example.com" > lower jo@example.com' in lines
    assert "phone PhoneNumber (left out: empty)" in lines
    assert "POST http://127.0.0.1:9/mail" in lines
    assert '{"email":"jo@example.com","company":"www.example.com"}' in lines


def test_a_condition_is_shown_with_what_it_asks_for(place: "Place") -> None:
    event = lead(Content="mail us\x1b[2J")

    _, mail = explained(place, event)
    text = place("explain", "-", stdin=json.dumps(event)).stdout

    assert mail["when"] == {"source": 'Content == "mail me"', "values": {"Content": "mail us\x1b[2J"}}
    assert 'when  Content == "mail me"  (Content is "mail us\\u001b[2J")' in text


def test_each_route_says_which_events_it_takes(place: "Place") -> None:
    crm, mail = explained(place, lead())

    assert (crm["events"], crm["when"], mail["events"]) == (["Lead"], None, ["Lead", "Appointment"])


def test_json_has_every_step(place: "Place") -> None:
    _, mail = explained(place, lead(**CREATED, Content="mail me"))

    assert mail["trace"][0] == {
        "field": "email",
        "sources": ["Email"],
        "steps": [{"label": "Email", "value": "Jo@Example.com"}, {"label": "lower", "value": "jo@example.com"}],
        "value": "jo@example.com",
        "left_out": False,
        "error": None,
        "written": {"path": "chatbots.acme.routes[1].fields.email", "place": "config.yaml:21:18"},
    }


@pytest.mark.parametrize(
    ("form", "variables", "path"),
    [
        ("Email", {"Email": "a"}, "Email"),
        ({"from": ["Email", "URI"]}, {"Email": " ", "URI": "x"}, 'Email " " else URI'),
        ({"from": ["Email", "URI"], "default": "d"}, {"Email": "", "URI": ""}, 'Email "" else URI "" > default'),
        ({"from": "Email", "transform": ["trim", "lower"]}, {"Email": " A"}, 'Email " A" > trim "A" > lower'),
        ({"value": 7}, {}, "value"),
        ({"from": "Email", "required": True}, {"Email": ""}, 'Email ""'),
        ("{{ Email }}!", {"Email": "a"}, "{{ Email }}!"),
    ],
)
def test_the_way_to_a_value_is_told_step_by_step(form: Any, variables: dict[str, Any], path: str) -> None:
    (trace,) = field_traces(mapping({"field": form}), variables)

    assert path_of(trace) == path


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"not json", "it is not JSON"),
        (b'{"Type": "Lead"}', "it has no SerialNumber"),
        (b'{"Type": "Lead", "SerialNumber": "abc"}', "no chatbot has its SerialNumber abc"),
        (json.dumps(lead(Type="Call")).encode(), "its Type is none of Lead, Appointment"),
    ],
)
def test_an_unrecognised_event_says_so(place: "Place", body: bytes, why: str) -> None:
    text = place("explain", "-", stdin=body)
    rows = json.loads(place("explain", "-", "--json", stdin=body).stdout)

    assert text.exit_code == 1
    assert why in text.stderr
    assert rows[0]["state"] == "unrecognised"
    assert why in rows[0]["why"]


def test_a_test_event_is_no_finding(place: "Place") -> None:
    (row,) = explained(place, lead(Email="test@example.com"))

    assert (row["state"], row["destination"]) == ("test", None)


def test_an_array_is_explained_event_by_event(place: "Place") -> None:
    rows = explained(place, lead(), lead())

    assert len(rows) == 4


def test_a_file_that_is_not_there_is_an_error(place: "Place") -> None:
    result = place("explain", "nowhere.json")

    assert result.exit_code == 1
    assert result.stderr == "nowhere.json: No such file or directory; name a file that holds the event as JSON\n"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ExpressionError("the path is empty"), "the path is empty"),
        (RuntimeError("a-secret"), "the connector raised RuntimeError instead of showing its request"),
    ],
)
def test_a_connector_that_fails_is_a_dead_letter_without_its_words(error: Exception, why: str) -> None:
    class Failing(FakeConnector):
        def preview(self, records: "Sequence[Record]") -> Preview:
            raise error

    settings = config([chatbot("acme", route("crm"))], [destination("crm", Failing())])

    (fate,) = event_dry_run.dry_run_events(json.dumps(lead()).encode(), settings, 0.0)

    assert (fate.routes[0].state, fate.routes[0].why) == (event_dry_run.FAILS, why)


def test_each_field_says_where_it_is_written(place: "Place") -> None:
    text = place.path.read_text()
    preset = "presets:\n  routes: {leads: {fields: {email: Email, phone: PhoneNumber}}}\n"
    own = 'fields: {email: Email, name: "{{ FirstName }} {{ LastName }}", phone: PhoneNumber}'
    place.path.write_text(preset + text.replace(own, "use: leads\n        fields: {name: FirstName}"))

    crm, _mail = explained(place, lead(**CREATED, Content="mail me"))
    assert [(each["field"], each["written"]["path"]) for each in crm["trace"]] == [
        ("email", "presets.routes.leads.fields.email"),
        ("phone", "presets.routes.leads.fields.phone"),
        ("name", "chatbots.acme.routes[0].fields.name"),
    ]
    assert crm["trace"][0]["written"]["place"] == "config.yaml:2:29"

    shown = place("explain", "-", stdin=json.dumps(lead(**CREATED))).stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "email Email Jo@Example.com config.yaml:2" in lines
    assert "FIELD FROM VALUE WRITTEN" in lines
