"""`leadbridge audit`, and that each command that acts is in it."""

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from bridge.store.interface import QuarantinedRequest
from connectors.base import Reason, Rejected
from tests.building import NOW, lead
from tests.cli.test_quarantine import refused

if TYPE_CHECKING:
    from tests.cli.conftest import Place

ANN = "ann@example.com"


def told(place: "Place", *options: str) -> list[tuple[Any, ...]]:
    """Give the entries, oldest first."""
    rows = place.rows("audit", "list", *options)[::-1]
    assert all((row["role"], row["means"], row["session"]) == ("operator", "command", None) for row in rows)
    return [(row["action"], row["subject"], row["subject_id"], row["count"], row["facts"]) for row in rows]


def test_what_is_done_one_by_one(filled: "Place") -> None:
    event = filled.rows("events", "list")[2]["id"]
    for arguments in (["replay", 3], ["discard", 4], ["replay", 4], ["discard", 5]):
        assert filled("deliveries", *arguments).exit_code == 0
    assert filled("lanes", "pause", "crm", "--reason", f"{ANN} asked for it").exit_code == 0
    assert filled("lanes", "resume", "crm").exit_code == 0
    filled.settle("crm", {3: Rejected(Reason.REFUSED, "no")})
    assert filled("deliveries", "replay", event).exit_code == 0
    assert told(filled) == [
        ("replay", "delivery", "3", None, {"was": "dead"}),
        ("discard", "delivery", "4", None, {"was": "pending"}),
        ("replay", "delivery", "4", None, {"was": "discarded"}),
        ("discard", "delivery", "5", None, {"was": "pending"}),
        ("pause", "lane", "crm", None, {}),
        ("resume", "lane", "crm", None, {}),
        ("replay", "delivery", "3", None, {"was": "dead"}),
    ]


def test_an_entry_has_the_keys_that_every_list_has(filled: "Place") -> None:
    assert filled("deliveries", "discard", "--all", "--state", "pending", "--chatbot", "acme", "--yes").exit_code == 0
    assert filled("lanes", "pause", "crm").exit_code == 0

    entries = filled.rows("audit", "list")

    assert [list(each)[:3] for each in entries] == [["id", "state", "chatbot"]] * len(entries)
    assert [(each["state"], each["chatbot"]) for each in entries] == [("done", None), ("done", "acme")]


def test_what_is_not_done_is_not_told(filled: "Place") -> None:
    for arguments in (
        ["deliveries", "replay", "99"],
        ["deliveries", "discard", "1"],
        ["deliveries", "move", "4", "--to", "nowhere"],
        ["deliveries", "move", "3", "--to", "crm"],
        ["deliveries", "discard", "--all"],
        ["deliveries", "replay", "--all", "--chatbot", "nobody"],
        ["lanes", "pause", "nobody"],
        ["quarantine", "release", "99"],
        ["erase", "--email", "person1@example.com"],
        ["db", "backup", "leadbridge.db"],
    ):
        filled(*arguments)
    assert told(filled) == []


def test_many_at_once_are_one_entry(filled: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.store.commands.IDS_LIMIT", 1)
    assert (
        filled("deliveries", "discard", "--all", "--state", "pending", "--destination", "crm", "--yes").exit_code == 0
    )
    assert filled("deliveries", "replay", "--all", "--yes").exit_code == 0
    assert told(filled) == [
        ("discard_all", None, None, 2, {"of": 2, "state": "pending", "destination": "crm"}),
        ("replay_all", None, None, 1, {"of": 1, "state": "dead"}),
    ]


def test_many_that_are_cut_off_are_counted_as_far_as_they_came(
    filled: "Place", monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge.store import commands

    monkeypatch.setattr(commands, "IDS_LIMIT", 1)
    discard = commands.discard
    calls: list[int] = []

    def fail_later(connection: Any, ids: Any, now: float) -> Any:
        calls.append(ids[0])
        if len(calls) == 2:
            raise RuntimeError("killed")
        return discard(connection, ids, now)

    monkeypatch.setattr(commands, "discard", fail_later)
    with pytest.raises(RuntimeError, match="killed"):
        filled("deliveries", "discard", "--all", "--state", "pending", "--yes")
    assert told(filled) == [("discard_all", None, None, 1, {"of": 2, "state": "pending"})]


def test_a_move_a_release_and_an_event_that_is_routed_again(leadbridge: "Place") -> None:
    leadbridge.receive(lead())
    (strange,) = leadbridge.receive(lead(SerialNumber="0123456789abcdef0123456789abcdef"))
    leadbridge.quarantine(refused(lead()), QuarantinedRequest(NOW, "acme", "t=1,v1=0", b"{}"))
    leadbridge.know_other()
    assert leadbridge("deliveries", "move", "1", "--to", "mail").exit_code == 0
    assert leadbridge("deliveries", "replay", strange).exit_code == 0
    leadbridge.environ["ACME_KEY"] = "the-key-that-the-vendor-has"
    assert leadbridge("quarantine", "release", "--all").exit_code == 1
    assert told(leadbridge) == [
        ("move", "delivery", "1", None, {"was": "crm", "to": "mail"}),
        ("replay", "event", strange, None, {"was": "unrecognised"}),
        ("release", "request", "1", None, {}),
    ]


def test_an_erasure_says_how_many_and_not_whose(leadbridge: "Place") -> None:
    leadbridge.receive(lead(Email=ANN), lead(Email=ANN), lead())
    leadbridge.settle("crm", {3: Rejected(Reason.REFUSED, f"{ANN} is not valid")})
    leadbridge.quarantine(QuarantinedRequest(NOW, "acme", "t=1,v1=0", b'{"Email": "ann@example.com"}'))
    assert leadbridge("erase", "--email", ANN, "--yes").exit_code == 0
    facts = {"of": 2, "deliveries": 2, "requests": 1, "texts": 2}
    assert told(leadbridge) == [("erase", None, None, 2, facts)]
    assert ANN.encode() not in leadbridge.driver.path.read_bytes()


def test_a_backup_is_told_and_does_not_depend_on_it(filled: "Place") -> None:
    assert filled("db", "backup", "one.db").exit_code == 0
    assert told(filled) == [("backup", None, None, None, {})]
    other = sqlite3.connect(filled.driver.path, isolation_level=None)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    other.close()
    result = filled("db", "backup", "two.db")
    assert (result.exit_code, (filled.folder / "two.db").exists()) == (0, True)
    assert "the audit log has no entry for this backup" in result.stderr


def test_what_cannot_be_told_is_not_done(filled: "Place") -> None:
    other = sqlite3.connect(filled.driver.path, isolation_level=None)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    before = filled.rows("deliveries", "list")
    for arguments in (
        ["deliveries", "discard", "3"],
        ["deliveries", "discard", "--all", "--yes"],
        ["lanes", "pause", "crm"],
        ["erase", "--email", "person1@example.com", "--yes"],
    ):
        assert filled(*arguments).exit_code == 1
    assert filled.rows("deliveries", "list") == before
    assert [each["state"] for each in filled.rows("lanes", "list")] == ["unowned", "unowned"]
    other.close()


def test_the_list_is_paged_and_chosen(filled: "Place") -> None:
    for name in ("crm", "mail", "crm"):
        filled("lanes", "pause", name)
    filled("lanes", "resume", "crm")
    assert [row["id"] for row in filled.rows("audit", "list", "--limit", "2")] == [4, 3]
    assert [row["id"] for row in filled.rows("audit", "list", "--before", "3")] == [2, 1]
    assert [row["subject_id"] for row in filled.rows("audit", "list", "--action", "pause")] == ["crm", "mail", "crm"]
    assert filled("audit", "list", "--action", "nonsense").exit_code == 2
    shown = filled("audit", "list", "--limit", "1")
    assert "resume" in shown.stdout
    assert "For older ones: --before 4" in shown.stderr
