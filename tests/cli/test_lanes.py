"""`leadbridge lanes`."""

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge.store.interface import Pause
from tests.building import lead
from tests.cli.conftest import CONFIGURATION

if TYPE_CHECKING:
    from bridge.store.sql import SqlStore
    from tests.cli.conftest import Place

OWN = Pause("lane", "unreachable", "no connection", 1_795_600_300.0)


def lanes(place: "Place", *options: object) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in place.rows("lanes", "list", *options)}


def test_every_configured_destination_is_shown(leadbridge: "Place") -> None:
    assert lanes(leadbridge)["mail"] == {
        "id": "mail",
        "state": "unowned",
        "chatbot": ["acme"],
        "destination": "mail",
        "configured": True,
        "pending": 0,
        "oldest_pending_at": None,
        "dead": 0,
        "owner": None,
        "paused_by": None,
        "reason": None,
        "detail": None,
        "paused_until": None,
        "paused_since": None,
    }
    assert list(lanes(leadbridge)) == ["crm", "mail"]


def test_what_waits_is_counted(filled: "Place") -> None:
    crm = lanes(filled)["crm"]

    assert (crm["pending"], crm["dead"]) == (2, 1)
    assert crm["oldest_pending_at"] == "2026-11-25T09:46:40.000Z"


def test_a_lane_that_is_worked_is_running_until_its_lease_is_over(leadbridge: "Place") -> None:
    async def claim(store: "SqlStore") -> None:
        await store.claim("host:1:abc", ["crm"], time.time(), 600.0)
        await store.claim("host:1:abc", ["mail"], time.time() - 20.0, 10.0)

    leadbridge.with_store(claim)

    found = lanes(leadbridge)
    assert (found["crm"]["state"], found["crm"]["owner"]) == ("running", "host:1:abc")
    assert (found["mail"]["state"], found["mail"]["owner"]) == ("unowned", None)
    assert list(lanes(leadbridge, "--state", "running")) == ["crm"]


def test_a_destination_that_is_configured_no_more_is_shown_while_something_is_left_of_it(filled: "Place") -> None:
    filled.pause("crm", OWN)
    filled.configure(CONFIGURATION.replace("to: crm", "to: mail").replace("  crm:", "  other:"))

    crm = lanes(filled, "--state", "removed")["crm"]

    waits = "no longer configured: 2 deliveries wait; move or discard them"
    assert (crm["configured"], crm["reason"], crm["chatbot"], crm["pending"]) == (False, waits, [], 2)
    assert (crm["paused_by"], crm["paused_until"]) == (None, None), "its pause ends at no time"
    checked = filled("check")
    assert checked.exit_code == 0
    assert re.search(rf"^config\.yaml:\d+:\d+: destinations\.crm: warning: {waits}$", checked.stdout, re.MULTILINE)
    assert f"crm: {waits}: `leadbridge deliveries move" in filled("doctor").stdout
    listed = filled("deliveries", "list", "--state", "pending").stdout
    assert listed.count("no longer configured") == 2
    assert all(not each["configured"] for each in filled.rows("deliveries", "list", "--destination", "crm"))
    assert (
        filled("deliveries", "discard", "--all", "--state", "pending", "--destination", "crm", "--yes").exit_code == 0
    )
    assert "no longer configured" not in filled("check").stdout


def test_filters(filled: "Place") -> None:
    assert list(lanes(filled, "--destination", "mail")) == ["mail"]
    assert list(lanes(filled, "--chatbot", "acme", "--limit", "1")) == ["crm"]
    assert lanes(filled, "--chatbot", "nobody") == {}


@pytest.mark.parametrize("served_before", [True, False])
def test_pause_holds_a_lane_until_resume(leadbridge: "Place", served_before: bool) -> None:
    if served_before:
        leadbridge.pause("crm", OWN)

    paused = leadbridge("lanes", "pause", "crm", "mail", "--reason", "moving house")

    assert paused.exit_code == 0
    assert paused.stdout.splitlines()[0] == "lane crm: paused until `leadbridge lanes resume crm`"
    crm = lanes(leadbridge)["crm"]
    assert (crm["state"], crm["paused_by"], crm["reason"], crm["paused_until"]) == (
        "paused",
        "operator",
        "moving house",
        None,
    )
    held = leadbridge.with_store(lambda store: store.pause_of("crm"))
    assert held is not None
    assert held == Pause("operator", "moving house", since=held.since)
    assert held.since is not None
    # The lane's own trouble does not end it.
    leadbridge.pause("crm", OWN)
    assert lanes(leadbridge)["crm"]["paused_by"] == "operator"

    assert leadbridge("lanes", "resume", "crm").stdout == "lane crm: resumed\n"
    assert lanes(leadbridge)["crm"]["state"] == "unowned"
    assert lanes(leadbridge)["mail"]["state"] == "paused"


def test_resume_ends_a_lanes_own_pause_too(leadbridge: "Place") -> None:
    leadbridge.pause("crm", OWN)
    crm = lanes(leadbridge)["crm"]
    assert (crm["paused_by"], crm["detail"], crm["paused_until"]) == (
        "lane",
        "no connection",
        "2026-11-25T09:51:40.000Z",
    )

    assert leadbridge("lanes", "resume", "crm").exit_code == 0
    assert leadbridge.with_store(lambda store: store.pause_of("crm")) is None
    assert leadbridge("lanes", "resume", "crm").stdout == "lane crm: was not paused\n"


def test_an_unknown_name_is_named_and_the_others_done(leadbridge: "Place") -> None:
    for verb in ("pause", "resume"):
        result = leadbridge("lanes", verb, "cmr", "mail")

        assert result.exit_code == 1
        assert result.stderr == "cmr: no destination has this name (did you mean `crm`?)\n"
        assert result.stdout.startswith("lane mail: ")


def test_a_pause_always_has_a_reason(leadbridge: "Place") -> None:
    leadbridge("lanes", "pause", "crm", "--reason", "")

    assert lanes(leadbridge)["crm"]["reason"] == "by an operator"


def test_a_paused_lane_gets_new_events_all_the_same(leadbridge: "Place") -> None:
    leadbridge("lanes", "pause", "crm")
    leadbridge.receive(lead())

    assert lanes(leadbridge)["crm"]["pending"] == 1
