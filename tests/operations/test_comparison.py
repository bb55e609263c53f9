"""What one configuration would change compared with another one."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Config
from bridge.config.model import Route
from bridge.mapping.mapping import EVENT_NAMES
from bridge.operations.comparison import EXAMPLES, NOTHING, ChangeKind, changes, counted, group_changes
from bridge.operations.event_dry_run import EventDryRun, changed_texts, dry_run_events, value_text
from connectors.base import Preview, Record
from tests.building import EXPRESSIONS, NOW, FakeConnector, chatbot, config, destination, lead, route


class Previewing(FakeConnector):
    """Shows the request that it is made with."""

    def __init__(self, request: Preview) -> None:
        super().__init__()
        self.request = request

    def preview(self, records: "list[Record] | Any") -> Preview:
        return self.request


REQUEST = Preview("POST", "https://crm.example.com", {"Authorization": "Bearer ***"}, "{}")


def side(*routes: Route, request: Preview = REQUEST, name: str = "acme", **changes: Any) -> Config:
    return config([chatbot(name, *routes, **changes)], [destination("crm", Previewing(request))])


def fate(settings: Config, **fields: Any) -> EventDryRun:
    (found,) = dry_run_events(json.dumps(lead(**{"Email": "a@b.co", "SessionID": 7, **fields})).encode(), settings, NOW)
    return found


def compared(one: Config | None, other: Config, **fields: Any) -> list[tuple[Any, ...]]:
    before = fate(one, **fields) if one else None
    return [(each.kind, each.part, each.before, each.after) for each in changes(before, fate(other, **fields))]


def crm(fields: dict[str, Any] | None = None, **changed: Any) -> Route:
    return route("crm", fields or {"email": "Email"}, **changed)


NEVER = EXPRESSIONS.expression("Content == 'never'", EVENT_NAMES)
REQUIRED = {"email": {"from": "URI", "required": True}}
RECORD = {"email": "a@b.co"}


def test_the_same_configuration_changes_nothing() -> None:
    assert compared(side(crm()), side(crm())) == []
    assert compared(side(crm(when=NEVER)), side(crm(when=NEVER))) == []
    assert compared(side(crm(REQUIRED)), side(crm(REQUIRED)), URI="") == []


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({"email": "Email"}, {"email": "FirstName"}, (ChangeKind.CHANGED, "email", "a@b.co", "David")),
        ({"email": "Email"}, {"email": "Email", "n": "SessionID"}, (ChangeKind.ADDED, "n", NOTHING, 7)),
        ({"email": "Email", "n": "SessionID"}, {"email": "Email"}, (ChangeKind.LEFT_OUT, "n", 7, NOTHING)),
        ({"n": {"value": 1}}, {"n": {"value": True}}, (ChangeKind.CHANGED, "n", 1, True)),
        ({"n": {"value": 7}}, {"n": {"value": "7"}}, (ChangeKind.CHANGED, "n", 7, "7")),
    ],
)
def test_a_field_that_changes_is_one_change(
    before: dict[str, Any], after: dict[str, Any], change: tuple[Any, ...]
) -> None:
    assert compared(side(crm(before)), side(crm(after))) == [change]


def test_an_event_that_starts_or_stops_is_told_with_the_reason() -> None:
    assert compared(None, side(crm())) == [(ChangeKind.STARTS, "", NOTHING, RECORD)]
    assert compared(side(), side(crm())) == [(ChangeKind.STARTS, "", NOTHING, RECORD)]
    assert compared(side(crm(when=NEVER)), side(crm())) == [(ChangeKind.STARTS, "", NOTHING, RECORD)]
    for after, why in (
        (side(crm(when=NEVER)), "its `when` does not hold"),
        (side(crm(events=frozenset({"Appointment"}))), "it takes only Appointment"),
        (side(), "no route takes it: it would be stored, and not delivered"),
        (side(crm(), test_when=EXPRESSIONS.expression("Email", EVENT_NAMES)), "it is a test"),
        (side(crm(), serial_numbers=("another",)), "no chatbot has its SerialNumber"),
    ):
        (change,) = changes(fate(side(crm())), fate(after))
        assert change.kind is ChangeKind.STOPS
        assert change.why is not None
        assert change.why.startswith(why)


def test_a_dead_letter_comes_and_goes() -> None:
    (dies,) = changes(fate(side(crm()), URI=""), fate(side(crm(REQUIRED)), URI=""))
    (fixed,) = changes(fate(side(crm(REQUIRED)), URI=""), fate(side(crm()), URI=""))
    (stops,) = changes(fate(side(crm(REQUIRED)), URI=""), fate(side(crm(when=NEVER)), URI=""))
    (born_dead,) = changes(None, fate(side(crm(REQUIRED)), URI=""))

    assert [each.kind for each in (dies, fixed, stops, born_dead)] == [
        ChangeKind.DEAD,
        ChangeKind.FIXED,
        ChangeKind.STOPS,
        ChangeKind.DEAD,
    ]
    assert dies.why == fixed.why == born_dead.why
    assert "required" in str(dies.why)
    assert stops.why == "its `when` does not hold"


def test_another_request_for_the_same_record_is_told() -> None:
    elsewhere = Preview("POST", "https://new.example.com", {"Authorization": "Bearer ***", "X-Source": "a"}, "{}")

    assert compared(side(crm()), side(crm(), request=elsewhere)) == [
        (ChangeKind.REQUEST, "URL", "https://crm.example.com", "https://new.example.com"),
        (ChangeKind.REQUEST, "header X-Source", NOTHING, "a"),
    ]


def test_what_a_record_changes_in_its_request_is_not_told_twice() -> None:
    other = Preview("POST", "https://crm.example.com", {}, '{"email":"David"}')

    assert compared(side(crm()), side(crm({"email": "FirstName"}), request=other)) == [
        (ChangeKind.CHANGED, "email", "a@b.co", "David")
    ]


def test_the_time_in_a_signature_is_no_change() -> None:
    first, second = (Preview("POST", "https://crm", {"Webhook-Timestamp": moment}, "") for moment in ("1", "2"))

    assert compared(side(crm(), request=first), side(crm(), request=second)) == []


def test_alike_changes_are_one_group_with_a_few_examples() -> None:
    one, other = side(crm({"phone": "PhoneNumber"})), side(crm({"phone": "SessionID"}))
    fields: list[dict[str, Any]] = [{"PhoneNumber": f"+1{at % 5}", "Type": "Lead"} for at in range(38)]
    fields.append({"PhoneNumber": "+10", "Type": "Appointment"})

    (found,) = group_changes((fate(one, **each), fate(other, **each)) for each in fields)

    assert (found.chatbot, found.route, found.kind, found.part) == ("acme", "crm", ChangeKind.CHANGED, "phone")
    assert (found.count, found.types) == (39, Counter(Lead=38, Appointment=1))
    assert [(each.change.before, each.change.after) for each in found.examples] == [("+10", 7), ("+11", 7), ("+12", 7)]
    assert found.examples[0].event == fate(one, **fields[0]).event.id


def test_what_is_worst_is_told_first() -> None:
    one = side(crm({"a": "Email", "b": "Email"}))
    other = side(crm({"a": "FirstName", "b": {"from": "PhoneNumber", "required": True}}))

    found = group_changes((fate(one, PhoneNumber=each), fate(other, PhoneNumber=each)) for each in ("1", "", "2"))

    assert [(each.kind, each.part, each.count) for each in found] == [
        (ChangeKind.DEAD, "", 1),
        (ChangeKind.CHANGED, "a", 2),
        (ChangeKind.CHANGED, "b", 2),
    ]


@given(st.lists(st.tuples(st.sampled_from(["", "x", "y", "z", "w"]), st.sampled_from(["Lead", "Appointment"]))))
def test_groups_count_every_change_once(events: list[tuple[str, str]]) -> None:
    one = side(crm({"phone": "PhoneNumber", "who": "Email"}))
    other = side(crm({"phone": {"from": "PhoneNumber", "transform": ["upper"]}}, events=frozenset({"Lead"})))
    pairs = [
        (fate(one, PhoneNumber=phone, Type=kind), fate(other, PhoneNumber=phone, Type=kind)) for phone, kind in events
    ]

    groups = group_changes(pairs)

    assert sum(each.count for each in groups) == sum(len(changes(*each)) for each in pairs)
    assert len({(each.route, each.kind, each.part) for each in groups}) == len(groups)
    assert all(1 <= len(each.examples) <= EXAMPLES for each in groups)


@pytest.mark.parametrize(
    ("types", "text"),
    [
        ({"Lead": 38}, "38 leads"),
        ({"Lead": 1}, "1 lead"),
        ({"Appointment": 2}, "2 appointments"),
        ({"Lead": 1, "Appointment": 1}, "2 events"),
    ],
)
def test_events_are_counted_in_words(types: dict[str, int], text: str) -> None:
    assert counted(types) == text


def test_a_value_is_shown_as_json_and_cut() -> None:
    assert [value_text(value, 6) for value in ("7", 7, None, "a long text")] == ['"7"', "7", "null", '"a lo…']


@given(st.text(max_size=90), st.text(max_size=5), st.text(max_size=5), st.text(max_size=90))
def test_what_differs_is_not_cut_off(start: str, one: str, other: str, end: str) -> None:
    before, after = start + one + end, start + other + end

    texts = changed_texts(before, after, 20)

    assert (texts[0] == texts[1]) == (before == after)
    assert all(len(text) <= 22 for text in texts)
