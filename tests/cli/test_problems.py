"""`leadbridge problems`."""

import json
from typing import TYPE_CHECKING, Any

from bridge.operations.acknowledgement import acknowledge
from bridge.operations.audit import BY_COMMAND
from bridge.operations.problems import find_problems
from bridge.store.filter import EVERYTHING
from tests.building import NOW, lead
from tests.cli.test_quarantine import refused

if TYPE_CHECKING:
    from tests.cli.conftest import Place


def listed(leadbridge: "Place", *options: str, status: int = 1) -> dict[str, Any]:
    result = leadbridge("problems", *options, "--json")
    assert result.exit_code == status, result.output
    return {each["id"]: each for each in json.loads(result.stdout)}


def test_each_cause_is_listed_with_what_fixes_it(leadbridge: "Place") -> None:
    leadbridge.receive(lead(), lead(Type="Odd"))
    leadbridge.quarantine(refused(lead()))
    found = listed(leadbridge)
    assert {"quarantine-acme-mismatch", "unrecognised"} < set(found)
    cause = found["quarantine-acme-mismatch"]
    assert (cause["state"], cause["count"], cause["chatbot"]) == ("open", 1, ["acme"])
    assert cause["last_at"] == "2026-11-25T09:46:40.000Z"
    text = leadbridge("problems").stdout
    assert "acme: requests in quarantine" in text
    assert "Compare the signing key with the Sign Key at AI Agent." in text
    assert "example.com" not in text
    assert listed(leadbridge, "--chatbot", "nobody", status=0) == {}
    assert leadbridge("problems", "--chatbot", "nobody").stdout == "nothing needs a person\n"


def test_an_acknowledged_problem_is_listed_on_request(leadbridge: "Place") -> None:
    leadbridge.receive(lead(Type="Odd"))
    with leadbridge.driver.engine().begin() as connection:
        for each in find_problems(connection, leadbridge.config(), NOW):
            acknowledge(connection, BY_COMMAND, each, EVERYTHING, NOW)
    assert "unrecognised" not in listed(leadbridge, status=0)
    found = listed(leadbridge, "--all", status=0)
    assert (found["unrecognised"]["state"], found["unrecognised"]["acknowledged_by"]) == ("acknowledged", "operator")
    assert "acknowledged by operator" in leadbridge("problems", "--all").stdout
