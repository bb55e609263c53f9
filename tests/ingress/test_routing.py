import orjson
import pytest

from bridge.config.model import Condition
from bridge.event import EventState, Form, Verified
from bridge.ingress.routing import route
from bridge.mapping.mapping import EVENT_NAMES
from bridge.store.interface import NewDelivery
from tests.building import EXPRESSIONS, IDENTITY, NOW, chatbot, lead
from tests.building import route as to


def verified(document: object, name: str | None = "acme") -> Verified:
    return Verified(orjson.dumps(document), document, Form.RAW, name)


def condition(text: str) -> Condition:
    return EXPRESSIONS.expression(text, EVENT_NAMES)


BOT = chatbot("acme", to("crm"), to("mail", events=frozenset({"Appointment"})))


def test_an_event_gets_a_delivery_for_each_route_that_takes_its_type() -> None:
    assert route(verified(lead()), BOT, NOW, IDENTITY).deliveries == (NewDelivery("crm", "crm"),)
    appointment = route(verified(lead(Type="Appointment")), BOT, NOW, IDENTITY)
    assert [each.destination for each in appointment.deliveries] == ["crm", "mail"]
    assert appointment.event.type == "Appointment"


def test_a_condition_chooses() -> None:
    bot = chatbot("acme", to("crm", when=condition("Email or PhoneNumber")))
    assert route(verified(lead()), bot, NOW, IDENTITY).deliveries
    nobody = route(verified(lead(Email="")), bot, NOW, IDENTITY)
    assert nobody.deliveries == ()
    assert nobody.event.state is EventState.ACCEPTED


def test_a_condition_that_fails_makes_a_dead_letter_and_drops_nothing() -> None:
    bot = chatbot("acme", to("crm", when=condition("SessionID > 5")))
    (delivery,) = route(verified(lead(SessionID="")), bot, NOW, IDENTITY).deliveries
    assert delivery.problem is not None
    assert "then replay" in delivery.problem


@pytest.mark.parametrize("document", [{}, lead(Content="ping")])
def test_a_test_is_kept_and_not_delivered(document: object) -> None:
    bot = chatbot("acme", to("crm"), test_when=condition('Content == "ping"'))
    tested = route(verified(document), bot, NOW, IDENTITY)
    assert (tested.event.state, tested.deliveries) == (EventState.TEST, ())


def test_a_test_of_unknown_type_is_a_test() -> None:
    bot = chatbot("acme", to("crm"), test_when=condition('Type == "Test"'))
    assert route(verified({"Type": "Test"}), bot, NOW, IDENTITY).event.state is EventState.TEST


def test_a_test_condition_that_fails_does_not_turn_a_lead_into_a_test() -> None:
    bot = chatbot("acme", to("crm"), test_when=condition("SessionID > 5"))
    assert route(verified(lead(SessionID="")), bot, NOW, IDENTITY).event.state is EventState.ACCEPTED


@pytest.mark.parametrize(
    "document",
    [None, 5, [], lead(Type="Conversation"), lead(Type=""), lead(Email={}), lead(SerialNumber="other"), {"a": 1}],
)
def test_what_is_not_recognised_is_kept_for_a_person(document: object) -> None:
    kept = route(verified(document), BOT, NOW, IDENTITY)
    assert (kept.event.state, kept.deliveries, kept.event.type) == (EventState.UNRECOGNISED, (), None)
    assert kept.event.chatbot == "acme"


def test_an_event_of_no_configured_chatbot_is_kept_for_a_person() -> None:
    kept = route(verified(lead(SerialNumber="unknown"), None), None, NOW, IDENTITY)
    assert (kept.event.state, kept.event.chatbot) == (EventState.UNRECOGNISED, None)
