"""The notify connector against real HTTP, through Apprise's own JSON service."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from aiohttp import web

from connectors.base import Delivered, Reason, Rejected, Retry, SettingError
from connectors.notify import NotifyConnector
from connectors.testing.contacts import Reply
from connectors.testing.declaration_clauses import DeclarationClauses
from connectors.testing.fake import FakeApi, json_object
from connectors.testing.faults import Fault
from connectors.testing.secrecy_clauses import SecrecyClauses
from connectors.testing.write_clauses import WriteClauses

pytestmark = pytest.mark.filterwarnings("ignore:'(imghdr|cgi)' is deprecated:DeprecationWarning")


class Receiver(FakeApi):
    """A service that takes messages at two addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[str, str, str]] = []
        self.down: set[str] = set()
        self.moved: set[str] = set()
        """Addresses that redirect to the boss."""
        self.route("/{name}", self._take)

    def _take(self, request: web.Request, body: bytes) -> Reply:
        name = request.match_info["name"]
        if name in self.down:
            return Reply(500, {})
        if name in self.moved:
            return Reply(307, {}, {"Location": f"{self.origin}/boss"})
        document = json_object(body)
        self.messages.append((name, document["title"], document["message"]))
        return Reply(200, {})

    def address(self, name: str) -> str:
        return f"{self.origin.replace('http://', 'json://')}/{name}"


class Kit(WriteClauses[Receiver], SecrecyClauses[Receiver], DeclarationClauses[Receiver]):
    """All clauses but those about the status of an answer, which Apprise keeps to itself."""

    connector = NotifyConnector

    def fake(self) -> Receiver:
        return Receiver()

    def settings(self, fake: Receiver) -> Mapping[str, Any]:
        return {"to": [fake.address("sales"), fake.address("boss")]}

    def fields(self, number: int) -> Mapping[str, Any]:
        return {"email": self.event(number)["Email"], "text": self.event(number)["Content"]}

    def route(self) -> Mapping[str, Any]:
        return {"subject": "New lead: {{ FirstName }}"}

    def held(self, fake: Receiver) -> Sequence[object]:
        # A message has no key: one whose confirmation was lost comes again. What counts is that everybody has it.
        return sorted(set(fake.messages))


class TestContract(Kit):
    async def test_a_401_among_many_is_nobodys_fault(self) -> None:
        pytest.skip("Apprise does not say which status a service answered with")

    async def test_a_preview_sends_nothing(self) -> None:
        async with self.running() as run:
            shown = run.connector.preview([self.record()])
            assert run.fake.origin not in repr(shown)
        assert shown.url == "json://…, json://…"
        assert not run.fake.ledger


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as made:
        yield made


async def test_everybody_gets_subject_and_fields(receiver: Receiver) -> None:
    kit = Kit()
    connector = kit.make(receiver)
    (outcome,) = await connector.deliver([kit.record(1)])
    assert isinstance(outcome, Delivered)
    text = f"email: lead1@example.com\ntext: {kit.event(1)['Content']}"
    assert receiver.messages == [("sales", "New lead: Dévi1", text), ("boss", "New lead: Dévi1", text)]


async def test_who_has_the_message_does_not_get_it_again(receiver: Receiver) -> None:
    kit = Kit()
    connector = kit.make(receiver)
    receiver.down = {"boss"}
    (first,) = await connector.deliver([kit.record(1)])
    assert isinstance(first, Retry)
    assert first.reason is Reason.SERVER_ERROR
    assert receiver.origin not in repr(first)
    receiver.down = set()
    (second,) = await connector.deliver([kit.record(1, memo=first.memo, is_repeat=True)])
    assert isinstance(second, Delivered)
    assert [name for name, *_ in receiver.messages] == ["sales", "boss"]


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    kit = Kit()
    receiver.moved = {"sales"}
    (outcome,) = await kit.make(receiver).deliver([kit.record(1)])
    assert isinstance(outcome, Retry)
    assert [name for name, *_ in receiver.messages] == ["boss"], "its own message"


async def test_a_template_that_fails_is_the_mappings_fault(receiver: Receiver) -> None:
    kit = Kit()
    route = NotifyConnector.route_settings.model_validate({"subject": "{{ FirstName }}", "text": "{{ 1 // 0 }}"})
    (outcome,) = await kit.make(receiver).deliver([kit.record(1, route=route)])
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.MAPPING
    assert receiver.messages == []


def test_an_address_that_apprise_does_not_know_is_named_without_showing_it() -> None:
    settings = NotifyConnector.destination_settings.model_validate({"to": ["json://127.0.0.1/a", "pigeon://secret"]})
    with pytest.raises(ExceptionGroup) as refused:
        NotifyConnector(settings, Kit().context())
    (fault,) = refused.value.exceptions
    assert isinstance(fault, SettingError)
    assert fault.path == ("to", 1)
    assert "secret" not in json.dumps(fault.message)


async def test_a_route_without_anything_to_say_is_refused(receiver: Receiver) -> None:
    connector = Kit().make(receiver)
    with pytest.raises(SettingError, match="no field is mapped"):
        connector.check_route(NotifyConnector.route_settings(), [])
    with pytest.raises(SettingError, match="unknown field"):
        connector.check_route(NotifyConnector.route_settings.model_validate({"text": "Emial"}), [])


async def test_a_fault_of_the_service_is_not_a_success(receiver: Receiver) -> None:
    receiver.faults.next(Fault.disconnects(written=False))
    (outcome,) = await Kit().make(receiver).deliver([Kit().record(1)])
    assert isinstance(outcome, Retry)
