"""Problems of a store: what is found, and what concerns one chatbot only."""

import time
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, insert

from bridge.config.model import ReportSettings, WeeklyTime
from bridge.operations import problems
from bridge.operations.masking import VIEWER
from bridge.operations.problems import Finding, ProblemKind, find_problems
from bridge.store import figures
from bridge.store.commands import pause_lane
from bridge.store.filter import Scope
from bridge.store.interface import Pause
from bridge.store.schema import deliveries, events, quarantine, reports, tally
from bridge.store.tally import day_of
from tests.building import FakeConnector, chatbot, config, destination, route

NOW = 1_800_000_000.0
CONFIG = config(
    [chatbot("acme", route("crm")), chatbot("hotel", route("crm"), route("mail"))],
    [destination("crm", FakeConnector()), destination("mail", FakeConnector())],
)


def add(connection: Connection, number: int, name: str | None, state: str = "accepted") -> None:
    body = b'{"FirstName": "Zebulon", "Email": "zebulon@example.com"}'
    row = {"seq": number, "id": number.to_bytes(16), "received_at": NOW - 1000 + number, "chatbot": name}
    connection.execute(insert(events).values(**row, state=state, type="Lead", form="raw", payload=body))


def settle(connection: Connection, number: int, to: str, reason: str | None, warning: str | None = None) -> None:
    row = {"event_seq": number, "route": to, "destination": to, "contact": 1, "settled_at": NOW - 500 + number}
    state = "dead" if warning is None else "delivered"
    connection.execute(insert(deliveries).values(**row, state=state, reason=reason, warning=warning))


def test_each_cause_is_one_problem_and_a_chatbot_has_its_own_part(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in ((1, "acme"), (2, "acme"), (3, "hotel"), (4, "hotel")):
        add(connection, number, name)
        settle(connection, number, "crm", "refused")
    settle(connection, 4, "mail", None, warning="phone was left out")
    add(connection, 5, None, state="unrecognised")
    row = {"received_at": NOW, "digest": bytes(32), "signature": "t=1", "body": b"{}"}
    connection.execute(insert(quarantine).values(chatbot="hotel", room="mismatch", **row))
    connection.execute(insert(quarantine).values(chatbot="hotel", room="junk", **row | {"digest": bytes(31) + b"1"}))
    pause_lane(connection, "mail", Pause("lane", "unreachable", None, NOW + 60, NOW - 60))
    finding = Finding("Warnings", "a warning", "Correct the file.", 2)

    found = find_problems(connection, CONFIG, NOW, [finding])

    assert [(each.kind.value, each.destination, each.count, dict(each.chatbots)) for each in found] == [
        ("configuration", None, 2, {}),
        ("paused", "mail", 0, {"hotel": 0}),
        ("unowned", "crm", 0, {"acme": 0, "hotel": 0}),
        ("dead", "crm", 4, {"acme": 2, "hotel": 2}),
        ("quarantine", None, 1, {"hotel": 1}),
        ("unrecognised", None, 1, {}),
        ("warned", "mail", 1, {"hotel": 1}),
    ]
    assert all(each.why and each.fix for each in found)
    monkeypatch.setattr(figures, "NEWEST", 1)
    (older,) = (each for each in find_problems(connection, CONFIG, NOW) if each.kind is ProblemKind.DEAD)
    assert (older.count, dict(older.chatbots)) == (4, {"hotel": 1})
    monkeypatch.undo()
    paused, dead = found[1], found[3]
    assert paused.first_at == NOW - 60
    assert (dead.first_at, dead.last_at, dead.lead) == (NOW - 499, NOW - 496, 4)
    own = find_problems(connection, CONFIG, NOW, [finding], Scope(frozenset({"acme"})))
    assert [(each.kind, each.count, each.lead) for each in own] == [
        (ProblemKind.UNOWNED, 0, None),
        (ProblemKind.DEAD, 2, 2),
    ]
    (sample,) = problems.sampled(connection, own, VIEWER).values()
    assert sample.event == (2).to_bytes(16).hex()
    assert "Zebulon" not in sample.person


def test_the_list_has_every_kind(connection: Connection) -> None:
    add(connection, 1, "acme")
    settle(connection, 1, "crm", "refused")
    add(connection, 2, "acme")
    settle(connection, 2, "crm", None, warning="phone was left out")
    add(connection, 3, "acme")
    row = {"event_seq": 3, "route": "old", "destination": "old", "contact": 1, "state": "pending", "due_at": NOW}
    connection.execute(insert(deliveries).values(**row))
    connection.execute(insert(deliveries).values(**row | {"route": "crm", "destination": "crm"}))
    add(connection, 4, "acme", state="unrecognised")
    for number, day in enumerate(range(30, 20, -1), 5):
        add(connection, number, "hotel")
        counted = {"chatbot": "hotel", "destination": "", "state": "accepted", "bucket": 0, "writer": "accept"}
        connection.execute(insert(tally).values(day=day_of(NOW) - day, count=1, **counted))
    request = {"received_at": NOW, "digest": bytes(32), "signature": "t=1", "body": b"{}", "room": "stale"}
    connection.execute(insert(quarantine).values(chatbot="acme", **request))
    pause_lane(connection, "mail", Pause("operator", "a new account", since=NOW - 60))
    connection.execute(insert(reports).values(name="weekly", due_at=NOW - 500, left='["reports.weekly.to[0] (json)"]'))
    weekly = ReportSettings("weekly", ("json://x",), None, WeeklyTime(0, 8, 0), ZoneInfo("UTC"))
    reporting = replace(CONFIG, reports={"weekly": weekly}, alerts=replace(CONFIG.alerts, oldest=100.0))
    found = find_problems(connection, reporting, NOW, [Finding("Warnings", "a warning", "Correct the file.", 1)])
    assert [each.kind for each in found] == list(ProblemKind), "one of each, the worst first"
    assert all(each.why and each.fix and each.count + (each.kind in {"paused", "unowned"}) for each in found)
    assert {each.key: dict(each.chatbots) for each in found if each.kind in {"removed", "silent"}} == {
        "removed-old": {"acme": 1},
        "silent-hotel": {"hotel": 1},
    }
    timeless = {ProblemKind.CONFIGURATION}
    assert all((each.latest_at is None) == (each.kind in timeless) for each in found)


def seconds_of(connection: Connection, count: int) -> float:
    """Return the processor time of the problems with as many chatbots and destinations."""
    chatbots = [chatbot(f"c{each}", route(f"d{each}"), serial_numbers=(f"{each}",)) for each in range(count)]
    many = config(chatbots, [destination(f"d{each}", FakeConnector()) for each in range(count)])
    began = time.process_time()
    find_problems(connection, many, NOW, scope=Scope(frozenset(each.name for each in chatbots)))
    return time.process_time() - began


def test_ten_times_the_chatbots_cost_about_ten_times_as_much(connection: Connection) -> None:
    """Pages are made beside the traffic, in the same process."""
    few, many = (min(seconds_of(connection, count) for _ in range(3)) for count in (150, 1_500))
    assert many < 25 * few
