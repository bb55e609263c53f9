"""`leadbridge quarantine`."""

import json
import time
from typing import TYPE_CHECKING, Any

from bridge.event import Room
from bridge.ingress.signature import sign
from bridge.store.interface import QuarantinedRequest
from tests.building import NOW, lead
from tests.cli.conftest import KEY, states

if TYPE_CHECKING:
    from tests.cli.conftest import Place

MISMATCH, STALE = Room.MISMATCH, Room.STALE
REAL_KEY = "the-key-that-the-vendor-has"


def refused(document: Any, key: str = REAL_KEY, chatbot: str = "acme", signed_at: float = NOW) -> QuarantinedRequest:
    body = json.dumps(document).encode()
    return QuarantinedRequest(NOW, chatbot, sign(key.encode(), str(int(signed_at)), body), body)


def test_the_list_is_newest_first_without_what_the_requests_hold(leadbridge: "Place") -> None:
    leadbridge.quarantine(refused(lead()), refused(lead(), chatbot="other"))

    rows = leadbridge.rows("quarantine", "list")

    assert [(row["id"], row["state"], row["chatbot"]) for row in rows] == [
        (2, "quarantined", "other"),
        (1, "quarantined", "acme"),
    ]
    assert rows[0]["bytes"] > 100
    assert rows[0]["received_at"] == "2026-11-25T09:46:40.000Z"
    assert [row["id"] for row in leadbridge.rows("quarantine", "list", "--chatbot", "acme")] == [1]
    assert [row["id"] for row in leadbridge.rows("quarantine", "list", "--before", "2", "--limit", "1")] == [1]
    assert "example.com" not in leadbridge("quarantine", "list").output


def test_a_request_is_released_once_the_key_is_right(leadbridge: "Place") -> None:
    leadbridge.quarantine(refused(lead()), refused([lead(Content="mail me"), lead()]))
    stays = leadbridge("quarantine", "release", 1)
    assert stays.exit_code == 1
    assert "stays in quarantine" in stays.stderr
    assert REAL_KEY not in stays.output
    assert leadbridge.rows("events", "list") == []

    leadbridge.environ["ACME_KEY"] = REAL_KEY
    result = leadbridge("quarantine", "release", "--all")

    assert result.exit_code == 0, result.output
    assert leadbridge.rows("quarantine", "list") == []
    rows = leadbridge.rows("events", "list")
    assert [row["state"] for row in rows] == ["accepted"] * 3
    assert result.stdout.splitlines()[0] == f"request 1: accepted as event {rows[2]['id']}, for crm"
    assert states(leadbridge.rows("deliveries", "list")) == dict.fromkeys(range(1, 5), "pending")
    assert leadbridge("quarantine", "release", "--all").stdout == "the quarantine is empty\n"


def test_those_that_do_not_hold_stay_and_are_named(leadbridge: "Place") -> None:
    leadbridge.quarantine(
        refused(lead(), key=KEY), refused(lead(), key="anybody"), refused(lead(), KEY, signed_at=NOW - 1e5)
    )

    result = leadbridge("quarantine", "release", "--all")

    assert result.exit_code == 1
    assert result.stdout.startswith("request 1: accepted as event ")
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["request 2", "request 3"]
    assert "too old" in result.stderr.splitlines()[1]
    assert [row["id"] for row in leadbridge.rows("quarantine", "list")] == [3, 2]


def test_a_clock_that_was_wrong_is_forgiven_and_a_wrong_key_is_not(leadbridge: "Place") -> None:
    leadbridge.quarantine(refused(lead(), KEY, signed_at=NOW - 1e5), refused(lead(), signed_at=NOW - 1e5))
    assert "release it with --any-age" in leadbridge("quarantine", "release", 1).stderr

    result = leadbridge("quarantine", "release", "--all", "--any-age")

    assert result.exit_code == 1
    assert result.stdout.startswith("request 1: accepted as event ")
    assert result.stderr.startswith("request 2: stays in quarantine: the signature does not fit this body")
    (told,) = leadbridge.rows("audit", "list")
    assert (told["action"], told["facts"]) == ("release", {"age": "any"})


def test_what_is_no_lead_is_discarded_for_good(leadbridge: "Place") -> None:
    leadbridge.quarantine(*(refused(lead()) for _ in range(4)))

    result = leadbridge("quarantine", "discard", 1, 9, 3)

    assert (result.exit_code, result.stdout) == (1, "request 1: discarded\nrequest 3: discarded\n")
    assert result.stderr.startswith("9: no request in quarantine has this id")
    assert [row["id"] for row in leadbridge.rows("quarantine", "list")] == [4, 2]
    told = leadbridge.rows("audit", "list")
    assert [(row["action"], row["subject"], row["subject_id"]) for row in told] == [
        ("discard", "request", "3"),
        ("discard", "request", "1"),
    ]
    assert leadbridge("quarantine", "discard", "--all").exit_code == 0
    assert leadbridge.rows("quarantine", "list") == []
    assert leadbridge("quarantine", "discard").exit_code == 2


def test_doctor_and_reconcile_count_what_may_be_a_lead(leadbridge: "Place") -> None:
    now = time.time()
    lead_, stale = (
        QuarantinedRequest(now, "acme", "t=1,v1=0", b"%d" % n, room) for n, room in enumerate((MISMATCH, STALE))
    )
    junk = QuarantinedRequest(now, "acme", "t=1,v1=0", b"junk", Room.JUNK)
    old = QuarantinedRequest(now - 90_000, "acme", "t=1,v1=0", b"old", MISMATCH)
    assert "quarantine    empty" in leadbridge("doctor").stdout
    leadbridge.quarantine(junk)
    assert leadbridge("reconcile").exit_code == 0
    leadbridge.quarantine(lead_, stale, old)

    reconciled = leadbridge("reconcile", "--json")
    looked_at = leadbridge("doctor")

    assert reconciled.exit_code == 1
    (row,) = json.loads(reconciled.stdout)
    assert (row["chatbot"], row["destination"], row["received"], row["quarantined"]) == ("acme", None, 0, 2)
    assert "2 in quarantine may be leads" in reconciled.stderr
    assert "4 requests (2 mismatch, 1 stale, 1 junk)" in looked_at.stdout
    assert "acme: its signing key may be mistyped: 2 in quarantine" in looked_at.stdout
    assert looked_at.exit_code == 1


def test_an_event_that_is_there_already_is_not_there_twice(leadbridge: "Place") -> None:
    document = lead()
    (event,) = leadbridge.receive(document)
    leadbridge.quarantine(refused(document, key=KEY))

    result = leadbridge("quarantine", "release", 1)

    assert (result.exit_code, result.stdout) == (0, f"request 1: is there already as event {event}\n")
    assert len(leadbridge.rows("deliveries", "list")) == 1
    assert leadbridge.rows("quarantine", "list") == []


def test_an_unknown_id_is_named(leadbridge: "Place") -> None:
    result = leadbridge("quarantine", "release", 9)

    assert result.exit_code == 1
    assert result.stderr == "9: no request in quarantine has this id; see `leadbridge quarantine list`\n"


def test_all_goes_through_more_than_a_page(leadbridge: "Place") -> None:
    leadbridge.quarantine(*(refused(lead(), key=KEY) for _ in range(101)))

    assert leadbridge("quarantine", "release", "--all").exit_code == 0
    assert leadbridge.rows("quarantine", "list") == []
    assert len(leadbridge.rows("events", "list", "--limit", "1000")) == 101
