"""`leadbridge reconcile`."""

import asyncio
import time
from typing import Any

import pytest

from connectors.base import Delivered, Outcome, Reason, Rejected
from connectors.testing.hubspot import ACCESS_TOKEN, HubSpotSandbox
from tests.building import lead
from tests.cli.conftest import CONFIGURATION, Place, failed

HOUR = 3600.0
NUMBERS = ("received", "delivered", "waiting", "dead", "discarded")


def reconciled(place: Place, *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    import json

    result = place("reconcile", *arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def numbers(row: dict[str, Any]) -> list[int]:
    return [row[name] for name in NUMBERS]


def test_all_has_arrived_or_waits(leadbridge: Place) -> None:
    leadbridge.receive(*(lead() for _ in range(3)), lead(Content="mail me"), now=time.time() - HOUR)
    leadbridge.settle("crm", {1: Delivered("17"), 2: Delivered("18"), 3: failed()}, time.time())
    status, (crm, mail) = reconciled(leadbridge)
    assert status == 0
    assert (crm["chatbot"], crm["destination"], numbers(crm)) == ("acme", "crm", [4, 2, 2, 0, 0])
    assert (mail["destination"], numbers(mail)) == ("mail", [1, 0, 1, 0, 0])


def test_a_dead_letter_is_missing_until_it_is_discarded(leadbridge: Place) -> None:
    leadbridge.receive(lead(), now=time.time())
    leadbridge.settle("crm", {1: Rejected(Reason.REFUSED, "no")}, time.time())
    result = leadbridge("reconcile")
    assert result.exit_code == 1
    assert "1 dead: see `leadbridge deliveries list --state dead`" in result.stderr
    leadbridge("deliveries", "discard", 1)
    status, (row,) = reconciled(leadbridge)
    assert (status, numbers(row)) == (0, [1, 0, 0, 0, 1])


def test_what_is_not_recognised_is_missing(leadbridge: Place) -> None:
    leadbridge.receive({"strange": 1, "SerialNumber": lead()["SerialNumber"]}, now=time.time())
    status, (row,) = reconciled(leadbridge)
    assert (status, row["chatbot"], numbers(row)) == (1, None, [1, 0, 0, 1, 0])


def test_tests_count_for_nothing_and_what_no_route_takes_is_received(leadbridge: Place) -> None:
    leadbridge.receive(lead(Email="test@example.com"), lead(Type="Appointment"), now=time.time())
    status, (row,) = reconciled(leadbridge)
    assert (status, row["destination"], numbers(row)) == (0, None, [1, 0, 0, 0, 0])


def test_only_the_time_that_is_asked_for(leadbridge: Place) -> None:
    leadbridge.receive(lead(), now=time.time() - 3 * HOUR)
    leadbridge.settle("crm", {1: Rejected(Reason.REFUSED, "no")}, time.time())
    assert reconciled(leadbridge, "--since", "2h") == (0, [])
    assert reconciled(leadbridge, "--since", "4h")[0] == 1


def test_a_span_that_is_none_is_wrong_usage(leadbridge: Place) -> None:
    assert leadbridge("reconcile", "--since", "yesterday").exit_code == 2


def test_a_connector_that_cannot_ask(leadbridge: Place) -> None:
    leadbridge.receive(lead(), lead(), now=time.time())
    leadbridge.settle("crm", {1: Delivered("17"), 2: Delivered()}, time.time())
    status, (row,) = reconciled(leadbridge, "--online")
    assert (status, row["held"], row["gone"], row["unknown"]) == (0, 0, 0, 2)


@pytest.mark.parametrize("token", [ACCESS_TOKEN, "pat-na1-another-token"])
async def test_the_crm_is_asked(leadbridge: Place, token: str) -> None:
    async with HubSpotSandbox() as crm:
        start, end = CONFIGURATION.index("  crm: {"), CONFIGURATION.index("  mail: {")
        hubspot = (
            f'  crm: {{connector: hubspot, base_url: "{crm.origin}", allow_private: true, access_token: {token}}}\n'
        )
        leadbridge.configure(CONFIGURATION[:start] + hubspot + CONFIGURATION[end:])

        def work() -> tuple[Any, Any]:
            leadbridge.receive(*(lead() for _ in range(105)), now=time.time())
            outcomes: dict[int, Outcome] = {number: Delivered(known) for number in range(1, 106)}
            outcomes[102] = Delivered("999999")
            leadbridge.settle("crm", outcomes, time.time())
            return leadbridge("reconcile", "--online"), reconciled(leadbridge, "--online")[1][0]

        known = await _a_contact(crm)
        result, row = await asyncio.to_thread(work)
    if token == ACCESS_TOKEN:
        assert result.exit_code == 1
        assert (row["held"], row["gone"], row["unknown"]) == (104, 1, 0)
        assert "crm: holds 1 of its records no more" in result.stderr
        assert "deliveries 102;" in result.stderr
    else:
        assert result.exit_code == 0
        assert (row["held"], row["gone"], row["unknown"]) == (0, 0, 105)


async def _a_contact(crm: HubSpotSandbox) -> str:
    from tests.connectors.hubspot.building import deliver, ids
    from tests.connectors.hubspot.building import lead as record

    (made,) = ids(await deliver(crm, record()))
    return made or ""
