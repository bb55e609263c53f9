"""The starters of the connectors: each is checked, tested, and delivered into the connector's fake."""

import importlib
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import yaml

from bridge.cli.connectors import connectors
from bridge.config import Config, load
from bridge.mapping.record import build_record
from bridge.operations.event_dry_run import route_trial, trial_delivery
from connectors.base import Delivered, Record
from connectors.testing import Sandbox
from connectors.testing.subject import MemoryVault, Subject
from tests.building import NOW, SERIAL, lead

if TYPE_CHECKING:
    from tests.cli.conftest import Place

STARTERS = [name for name, kind in connectors().items() if kind.starter()]
TESTS = Path(__file__).parents[1] / "connectors"
EVENTS: Mapping[str, Mapping[str, Any]] = {
    "lead": {},
    "phone": {"Email": "", "FirstName": "Ada", "LastName": "", "PhoneNumber": "(415) 555-0100", "SessionID": 2},
    "appointment": {
        "Type": "Appointment",
        "Content": "Demo on November 25, 2026 at 10:00 AM UTC",
        "Email": "grace@example.com",
        "PhoneNumber": "+1 212 555 0199",
        "SessionID": 3,
    },
}

pytestmark = pytest.mark.filterwarnings("ignore:'(imghdr|cgi)' is deprecated:DeprecationWarning")


def subject_of(name: str) -> Subject[Any]:
    """Find the description with which the connector's contract is tested."""
    kind = connectors()[name]
    for path in sorted((TESTS / name).glob("test_*.py"), key=lambda path: path.stem != "test_contract"):
        module = importlib.import_module(f"tests.connectors.{name}.{path.stem}")
        for each in vars(module).values():
            if isinstance(each, type) and issubclass(each, Subject) and vars(each).get("connector") is kind:
                subject: Subject[Any] = each()
                return subject
    raise AssertionError(f"no test of {name} describes the connector")


def fake_of(name: str, subject: Subject[Any]) -> Any:
    if name == "http":  # the fake of its contract refuses a lead without an e-mail
        return Sandbox(authorization="Bearer bearer-token-of-the-sandbox")
    if name == "google_sheets":
        fake = subject.fake()
        fake.sheets["Leads"] = [["Delivery", "Received", "Name", "Email", "Phone", "Type", "Message"]]
        return fake
    return subject.fake()


def records(config: Config) -> dict[str, Record]:
    chatbot = config.chatbots["website"]
    made = {}
    for name, fields in EVENTS.items():
        document = lead(**fields)
        routed, _ = route_trial(orjson.dumps(document), document, chatbot, NOW)
        made[name] = build_record(trial_delivery(routed.event, chatbot.routes[0]), config.chatbots.get)
    return made


def test_every_connector_of_this_package_has_one() -> None:
    assert set(STARTERS) == {each.name for each in entry_points(group="leadbridge.connectors")}


@pytest.mark.parametrize("name", STARTERS)
async def test_a_starter_is_good_and_delivers(place: "Place", name: str) -> None:
    place.path.unlink()
    made = place("init", "--connector", name, "--serial-number", SERIAL, "--url", "https://crm.example.com/leads")
    assert made.exit_code == 0, made.output
    document = yaml.safe_load(place.path.read_text())
    settings = set(re.findall(r"^([A-Z_]+)=$", (place.folder / ".env.example").read_text(), re.MULTILINE))

    checked, tested = place("check"), place("test")

    assert checked.exit_code == 0, checked.output
    assert (tested.exit_code, "1 test, none failed" in tested.stdout) == (0, True), tested.output
    assert set(re.findall(r"set ([A-Z_]+)$", checked.stdout, re.MULTILINE)) <= settings
    assert set(re.findall(r"\$\{([A-Z_]+)", place.path.read_text())) - {"NAME"} == settings
    for field in document["chatbots"]["website"]["routes"][0]["fields"].values():
        constant = isinstance(field, dict) and (field.get("value") or field.get("default"))
        if constant and connectors()[name].conditional_writes:
            assert field["write"] in {"create", "if_empty"}

    subject = subject_of(name)
    async with fake_of(name, subject) as fake:
        document["destinations"]["crm"] = {"connector": name, **subject.settings(fake)}
        place.path.write_text(yaml.safe_dump(document))
        config = load(place.path, {})
        target = config.destinations["crm"].connector
        target.open(MemoryVault())
        for event, record in records(config).items():
            before = len(fake.ledger)
            (outcome,) = await target.deliver([record])
            assert isinstance(outcome, Delivered), (event, outcome)
            assert not outcome.warning, (event, outcome)
            assert len(fake.ledger) > before, event
        await target.close()
