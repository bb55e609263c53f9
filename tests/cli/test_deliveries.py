"""`leadbridge deliveries`."""

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge.store import commands
from bridge.store.interface import DeliveryState
from connectors.base import Delivered, Reason, Rejected
from tests.building import lead
from tests.cli.conftest import CONFIGURATION, OTHER_SERIAL, failed, states

if TYPE_CHECKING:
    from tests.cli.conftest import Place

FILLED = {1: "delivered", 2: "delivered", 3: "dead", 4: "pending", 5: "pending"}


def shown(place: "Place", delivery: int) -> dict[str, Any]:
    found = json.loads(place("deliveries", "show", delivery, "--json").stdout)
    assert isinstance(found, dict)
    return found


# -- list and show


def test_the_list_is_newest_first_and_holds_no_personal_data(filled: "Place") -> None:
    rows = filled.rows("deliveries", "list")

    assert [row["id"] for row in rows] == [5, 4, 3, 2, 1]
    assert states(rows) == FILLED
    assert {(row["chatbot"], row["destination"], row["route"]) for row in rows} == {("acme", "crm", "crm")}
    assert rows[2]["reason"] == "refused"
    assert "last name" not in filled("deliveries", "list").output
    assert "example.com" not in filled("deliveries", "list").output


def test_filters_and_pages(filled: "Place") -> None:
    filled.know_other()
    filled.receive(lead(Content="mail me"), lead(SerialNumber=OTHER_SERIAL))

    def ids(*options: object) -> list[int]:
        return [row["id"] for row in filled.rows("deliveries", "list", *options)]

    assert ids("--state", "dead") == [3]
    assert ids("--state", "pending") == [8, 7, 6, 5, 4]
    assert ids("--state", "pending", "--destination", "mail") == [7]
    assert ids("--destination", "mail") == [7]
    assert ids("--chatbot", "other") == [8]
    assert ids("--chatbot", "acme", "--state", "pending", "--limit", "2") == [7, 6]
    assert ids("--before", "4") == [3, 2, 1]
    assert ids("--before", "8", "--state", "pending", "--limit", "2") == [7, 6]
    assert ids("--state", "discarded") == []


def test_show_tells_the_story_of_each_attempt(filled: "Place") -> None:
    filled.settle("crm", {4: Rejected(Reason.REFUSED, "it wants a last name", status=422)})

    story = shown(filled, 4)
    text = filled("deliveries", "show", 4, 1)

    assert (story["state"], story["detail"], story["tries"]) == ("dead", "it wants a last name", 2)
    assert [(each["number"], each["outcome"], each["reason"], each["status"]) for each in story["attempts"]] == [
        (1, "retry", "conflict", 409),
        (2, "rejected", "refused", 422),
    ]
    assert story["attempts"][0]["seconds"] == 0.25
    assert "remote_url   https://crm.example.com/17" in text.stdout
    assert "another write is in progress" in text.stdout


def test_show_names_what_is_not_there_and_goes_on(filled: "Place") -> None:
    result = filled("deliveries", "show", 99, 1)

    assert result.exit_code == 1
    assert result.stderr == "99: no delivery has this id; see `leadbridge deliveries list`\n"
    assert "delivered" in result.stdout


# -- replay


@pytest.mark.parametrize("delivery", [1, 3, 4])
def test_a_replayed_delivery_is_due_now_with_all_its_patience(filled: "Place", delivery: int) -> None:
    before = time.time()

    result = filled("deliveries", "replay", delivery)

    assert result.exit_code == 0
    assert result.stdout == f"delivery {delivery}: was {FILLED[delivery]}, is pending and due now\n"
    story = shown(filled, delivery)
    assert (story["state"], story["settled_at"], len(story["attempts"])) == ("pending", None, 1)
    assert story["failures"] == (1 if delivery == 4 else 0)
    (due,) = (each for each in filled.with_store(lambda store: store.due("crm", 0, 100)) if each.id == delivery)
    assert before <= due.due_at <= time.time()


def test_a_second_replay_is_harmless(filled: "Place") -> None:
    filled("deliveries", "replay", 3)

    result = filled("deliveries", "replay", 3)

    assert (result.exit_code, result.stdout) == (0, "delivery 3: was pending, is pending and due now\n")
    filled.settle("crm", {3: Delivered()})
    assert [each["number"] for each in shown(filled, 3)["attempts"]] == [1, 2]


def test_unknown_ids_are_named_and_the_others_done(filled: "Place") -> None:
    result = filled("deliveries", "replay", 98, 3, "x1", "0" * 32)

    assert result.exit_code == 1
    assert result.stdout == "delivery 3: was dead, is pending and due now\n"
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["98", "x1", "0" * 32]


def test_the_id_of_an_event_replays_its_dead_deliveries(filled: "Place") -> None:
    (event,) = (row["event"] for row in filled.rows("deliveries", "list") if row["id"] == 3)

    assert filled("deliveries", "replay", event).stdout == "delivery 3: was dead, is pending and due now\n"
    again = filled("deliveries", "replay", event)
    assert again.exit_code == 1
    assert "no dead delivery to replay" in again.stderr


def test_all_asks_first_and_replays_what_the_options_choose(filled: "Place") -> None:
    unasked = filled("deliveries", "replay", "--all")
    assert unasked.exit_code == 2
    assert "Replay 1 dead delivery? Confirm with --yes" in unasked.stderr

    assert "nothing to replay" in filled("deliveries", "replay", "--all", "--destination", "mail", "--yes").stdout
    assert states(filled.rows("deliveries", "list")) == FILLED

    result = filled("deliveries", "replay", "--all", "--chatbot", "acme", "--destination", "crm", "--yes")
    assert (result.exit_code, result.stdout) == (0, "replayed 1 dead delivery\n")
    assert states(filled.rows("deliveries", "list"))[3] == "pending"

    assert filled("deliveries", "replay", "--all", "--state", "delivered", "-y").stdout == (
        "replayed 2 delivered deliveries\n"
    )


def test_all_goes_through_more_than_one_transaction(leadbridge: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "IDS_LIMIT", 3)
    leadbridge.receive([lead() for _ in range(8)])

    assert leadbridge("deliveries", "discard", "--all", "--state", "pending", "--yes").stdout == (
        "discarded 8 pending deliveries\n"
    )
    assert {row["state"] for row in leadbridge.rows("deliveries", "list")} == {"discarded"}


def test_the_number_of_a_try_is_never_given_twice(filled: "Place") -> None:
    """A call that ends after its delivery was discarded leaves its attempt, and the replay must count on from it."""

    async def outcome_comes_late(store: Any) -> None:
        from bridge.delivery import retry
        from tests.building import NOW, SCHEDULE

        lease = (await store.claim("lane", ["crm"], NOW, 10.0))["crm"]
        (delivery,) = await store.read("crm", [5])
        assert filled("deliveries", "discard", 5).exit_code == 0
        decided = retry.decide(delivery, failed(), retry.CallTiming(NOW, 0.1), SCHEDULE, 0.0, excused=False)
        await store.settle(lease, [decided])
        await store.release("lane")

    filled.with_store(outcome_comes_late)
    assert shown(filled, 5)["state"] == "discarded"

    filled("deliveries", "replay", 5)
    filled.settle("crm", {5: Delivered()})

    story = shown(filled, 5)
    assert story["state"] == "delivered"
    assert [each["number"] for each in story["attempts"]] == [1, 2]


# -- replay of unrecognised events


def test_an_unrecognised_event_is_routed_again_with_the_configuration_on_disk(leadbridge: "Place") -> None:
    document = lead(SerialNumber=OTHER_SERIAL)
    (event,) = leadbridge.receive(document)
    still = leadbridge("deliveries", "replay", event)
    assert still.exit_code == 1
    assert f"stays unrecognised: no chatbot has its SerialNumber {OTHER_SERIAL}" in still.stderr

    leadbridge.know_other()
    result = leadbridge("deliveries", "replay", event)

    assert result.exit_code == 0, result.output
    (row,) = leadbridge.rows("events", "list")
    assert (row["state"], row["chatbot"], row["type"]) == ("accepted", "other", "Lead")
    assert row["received_at"] == "2026-11-25T09:46:40.000Z"
    assert result.stdout == f"event {event}: accepted as event {row['id']}, for crm\n"
    assert states(leadbridge.rows("deliveries", "list")) == {1: "pending"}
    # Its id is now that of a recognised event: sent again, it is a duplicate.
    assert leadbridge.receive(document) == [row["id"]]
    assert len(leadbridge.rows("events", "list")) == 1


def test_one_that_has_come_again_meanwhile_becomes_one_with_it(leadbridge: "Place") -> None:
    document = lead(SerialNumber=OTHER_SERIAL)
    (event,) = leadbridge.receive(document)
    leadbridge.know_other()
    (known,) = leadbridge.receive(document)

    result = leadbridge("deliveries", "replay", event)

    assert result.stdout == f"event {event}: is there already as event {known}\n"
    assert [row["id"] for row in leadbridge.rows("events", "list")] == [known]
    assert len(leadbridge.rows("deliveries", "list")) == 1
    assert leadbridge("deliveries", "replay", event).exit_code == 1


def test_one_that_is_a_test_now_is_marked_as_one(leadbridge: "Place") -> None:
    leadbridge.configure(CONFIGURATION.replace("Lead", "Appointment").replace("acme:", "acme:"))
    (event,) = leadbridge.receive(lead(Type="Call"))
    assert "its Type is none of" in leadbridge("deliveries", "replay", event).stderr
    (other,) = leadbridge.receive(lead(SerialNumber=OTHER_SERIAL, Email="test@example.com"))
    leadbridge.know_other()
    leadbridge.configure(
        leadbridge.path.read_text().replace("  other:\n", '  other:\n    test_when: Email == "test@example.com"\n')
    )

    result = leadbridge("deliveries", "replay", other)

    assert result.exit_code == 0, result.output
    assert "which is test" in result.stdout
    assert [row["state"] for row in leadbridge.rows("events", "list")] == ["test", "unrecognised"]


def test_a_recognised_event_that_no_route_takes_says_so(leadbridge: "Place") -> None:
    (event,) = leadbridge.receive(lead(SerialNumber=OTHER_SERIAL, Type="Appointment"))
    leadbridge.know_other()
    leadbridge.configure(leadbridge.path.read_text().replace("- {to: crm,", "- {to: crm, events: [Lead],"))

    assert "no route takes it" in leadbridge("deliveries", "replay", event).stdout


# -- discard


def test_pending_and_dead_ones_are_discarded(filled: "Place") -> None:
    result = filled("deliveries", "discard", 3, 4)

    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["delivery 3: was dead, is discarded", "delivery 4: was pending, is discarded"]
    assert states(filled.rows("deliveries", "list")) == {**FILLED, 3: "discarded", 4: "discarded"}
    assert filled("deliveries", "discard", 3).stdout == "delivery 3: was discarded, is discarded\n"
    assert filled("deliveries", "replay", 3).exit_code == 0


def test_a_delivered_one_stays_delivered(filled: "Place") -> None:
    result = filled("deliveries", "discard", 1, 99)

    assert result.exit_code == 1
    assert "delivered already" in result.stderr
    assert states(filled.rows("deliveries", "list")) == FILLED


def test_the_id_of_an_event_discards_its_open_deliveries(leadbridge: "Place") -> None:
    (event,) = leadbridge.receive(lead(Content="mail me"))

    assert leadbridge("deliveries", "discard", event).exit_code == 0
    assert states(leadbridge.rows("deliveries", "list")) == {1: "discarded", 2: "discarded"}
    assert leadbridge("deliveries", "discard", event).exit_code == 1


def test_too_many_ids_in_one_transaction_are_a_fault(filled: "Place") -> None:
    with filled.driver.engine().begin() as connection, pytest.raises(ValueError, match="at most"):
        commands.replay(connection, list(range(commands.IDS_LIMIT + 1)), 0.0)
    assert commands.IDS_LIMIT < 32_000
    assert DeliveryState("dead") is DeliveryState.DEAD


# -- move


def test_moves_what_waits_to_another_route_and_leaves_what_is_there_already(filled: "Place") -> None:
    filled.receive(lead(Content="mail me"))
    moved = filled("deliveries", "move", "4", "--to", "mail")
    assert (moved.exit_code, moved.output) == (0, "delivery 4: goes to mail now, and is due\n")
    found = shown(filled, 4)
    assert (found["state"], found["route"], found["destination"]) == ("pending", "mail", "mail")

    twice = filled("deliveries", "move", "6", "--to", "mail")
    assert twice.exit_code == 1
    assert "goes to mail already" in twice.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("1", "--to", "mail"), "only pending and dead ones are moved"),
        (("4", "--to", "nowhere"), "has no route nowhere"),
        (("99", "--to", "mail"), "99"),
    ],
)
def test_says_what_cannot_be_moved(filled: "Place", arguments: tuple[str, ...], said: str) -> None:
    result = filled("deliveries", "move", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr


def test_moves_all_that_wait_for_a_destination(filled: "Place") -> None:
    result = filled("deliveries", "move", "--all", "--destination", "crm", "--to", "mail", "--yes")
    assert result.exit_code == 0
    rows = filled.rows("deliveries", "list", "--state", "pending")
    assert rows
    assert {row["destination"] for row in rows} == {"mail"}


def test_a_move_of_all_goes_on_after_a_delivery_that_cannot_be_moved(
    leadbridge: "Place", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "IDS_LIMIT", 2)
    leadbridge.receive(lead(), lead(Content="mail me"), lead(), lead())

    result = leadbridge("deliveries", "move", "--all", "--destination", "crm", "--to", "mail", "--yes")

    assert result.exit_code == 1
    assert result.stderr == "delivery 2: its event goes to mail already; discard this one instead\n"
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["delivery 1", "delivery 4", "delivery 5"]
    assert [row["count"] for row in leadbridge.rows("audit", "list")] == [None] * 3


def test_filters_by_reason_and_time(filled: "Place") -> None:
    def ids(*options: str) -> list[int]:
        return [row["id"] for row in filled.rows("deliveries", "list", *options)]

    assert ids("--reason", "refused") == [3]
    assert ids("--reason", "timeout") == []
    assert ids("--since", "2026-11-25") == [5, 4, 3, 2, 1]
    assert ids("--until", "2026-11-25") == []


def test_changes_as_one_document(filled: "Place") -> None:
    changed = filled("deliveries", "replay", "3", "99", "--json")

    assert changed.exit_code == 1
    assert json.loads(changed.stdout) == [
        {"id": 3, "state": "pending", "message": "delivery 3: was dead, is pending and due now", "error": None},
        {"id": 99, "state": None, "message": None, "error": "99: no delivery has this id"},
    ]
    assert json.loads(filled("deliveries", "discard", "--all", "--state", "pending", "--yes", "--json").stdout) == {
        "action": "discard",
        "was": "pending",
        "count": 3,
    }
    shown = json.loads(filled("deliveries", "show", "1", "2", "--json").stdout)
    assert [each["id"] for each in shown] == [1, 2]
    (lane,) = json.loads(filled("lanes", "pause", "crm", "--json").stdout)
    assert (lane["id"], lane["state"]) == ("crm", "paused")
