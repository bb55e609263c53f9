import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from bridge.admin import configuration
from bridge.admin.health import Metrics
from bridge.admin.query_threads import QueryThreads
from tests.admin.conftest import CRM_TOKEN, OPERATOR, VIEWER, Desk
from tests.building import KEY


async def events(desk: Desk, **wanted: Any) -> list[Any]:
    status, found = await desk.ask("POST", "/api/events/search", json=wanted)
    assert status == 200, found
    return list(found["events"])


async def dead(desk: Desk, count: int) -> list[Any]:
    """Send leads for which the mapping fails, and wait until they are dead."""
    for _ in range(count):
        await desk.send(Email="", PhoneNumber="+1 202 555 0123")
    while len(found := (await desk.ask("GET", "/api/deliveries?state=dead"))[1]["deliveries"]) < count:
        pass
    return list(found)


async def test_asks_for_a_token(desk: Desk) -> None:
    for path in ("/api/events", "/api/openapi.json", "/api/overview"):
        assert (await desk.ask("GET", path, token=None))[0] == 401
        assert (await desk.ask("GET", path, token=VIEWER))[0] == 200


async def test_a_viewer_changes_nothing(desk: Desk) -> None:
    for path in ("/api/lanes/crm/pause", "/api/deliveries/1/replay", "/api/bulk"):
        assert (await desk.ask("POST", path, token=VIEWER, json={}))[0] == 403
    assert (await desk.ask("GET", "/api/events/006b056020fa?reveal=true", token=VIEWER))[0] in {403, 404}
    assert (await desk.ask("GET", "/api/lanes"))[1]["lanes"][0]["state"] != "paused"


async def test_guessing_is_bounded(desk: Desk) -> None:
    for _ in range(10):
        assert (await desk.ask("GET", "/api/events", token="wrong"))[0] == 401
    assert (await desk.ask("GET", "/api/events", token="wrong"))[0] == 429
    assert (await desk.ask("GET", "/api/events"))[0] == 200


async def test_finds_a_lead_by_person_id_state_and_time(desk: Desk) -> None:
    await desk.send(Email="Ada@Example.com", PhoneNumber="+1 (202) 555-0123")
    await desk.send(Email="", PhoneNumber="+44 20 7946 0018")
    await desk.send(Email="other@example.com")
    ada, phone, other = reversed((await desk.ask("GET", "/api/events"))[1]["events"])
    for wanted in ({"email": "ada@EXAMPLE.com"}, {"phone": "2025550123"}):
        assert [each["id"] for each in await events(desk, **wanted)] == [ada["id"]]
    assert [each["id"] for each in await events(desk, phone="+44 20 7946 0018")] == [phone["id"]]
    assert await events(desk, email="nobody@example.com") == []
    found = await desk.ask("GET", f"/api/events/{other['id'][:8]}")
    # The first digits are the time of creation, which these share.
    assert found[0] == 404
    assert (await desk.ask("GET", f"/api/events/{other['id']}"))[1]["event"]["id"] == other["id"]
    assert len(await events(desk, chatbot="acme", state="accepted")) == 3
    assert await events(desk, chatbot="nobody") == []
    assert len(await events(desk, since="2020-01-01T00:00:00+01:00")) == 3
    assert await events(desk, until="2020-01-01T00:00:00Z") == []


async def test_pages_are_continued_from_their_cursor(desk: Desk) -> None:
    for _ in range(5):
        await desk.send()
    seen: list[str] = []
    path = "/api/events?limit=2"
    while True:
        page = (await desk.ask("GET", path))[1]
        seen += [each["id"] for each in page["events"]]
        if page["next"] is None:
            break
        path = f"/api/events?limit=2&before={page['next']}"
    assert len(seen) == len(set(seen)) == 5


async def test_personal_data_is_masked_until_an_operator_asks(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.send(FirstName="Adalbert", Email="ada@example.com")
    await desk.settled()
    (event,) = (await desk.ask("GET", "/api/events"))[1]["events"]
    _, masked = await desk.ask("GET", f"/api/events/{event['id']}")
    assert masked["masked"]
    assert "Adalbert" not in str(masked)
    assert "ada@example.com" not in str(masked)
    assert (await desk.ask("GET", f"/api/events/{event['id']}?reveal=true", token=VIEWER))[0] == 403
    assert "action=reveal" not in capsys.readouterr().out
    _, shown = await desk.ask("GET", f"/api/events/{event['id']}?reveal=true")
    assert shown["payload"]["FirstName"] == "Adalbert"
    logged = capsys.readouterr().out
    assert "reveal" in logged
    assert event["id"] in logged
    assert "Adalbert" not in logged


async def test_a_delivery_is_shown_with_its_attempts(desk: Desk) -> None:
    await desk.send(Email="ada@example.com")
    await desk.settled()
    (row,) = (await desk.ask("GET", "/api/deliveries?state=delivered&destination=crm"))[1]["deliveries"]
    _, story = await desk.ask("GET", f"/api/deliveries/{row['id']}")
    assert [(each["outcome"], each["status"]) for each in story["attempts"]] == [("delivered", 200)]


async def test_no_secret_is_shown(desk: Desk) -> None:
    for path in ("/api/configuration", "/api/destinations", "/api/chatbots"):
        status, found = await desk.ask("GET", path)
        assert status == 200
        for secret in (CRM_TOKEN, KEY.decode(), OPERATOR, VIEWER):
            assert secret not in str(found)


async def test_lanes_are_paused_and_resumed(desk: Desk) -> None:
    assert (await desk.ask("POST", "/api/lanes/crm/pause", json={"reason": "moving"}))[0] == 200
    (shown,) = (await desk.ask("GET", "/api/lanes"))[1]["lanes"]
    assert (shown["state"], shown["reason"]) == ("paused", "moving")
    while (lane := desk.bridge.lanes.running.get("crm")) is None or (paused := lane.pause) is None:
        await asyncio.sleep(0.01)
    assert paused.by == "operator"
    assert (await desk.ask("POST", "/api/lanes/crm/resume"))[0] == 200
    assert (await desk.ask("POST", "/api/lanes/cmr/resume")) == (
        404,
        {"status": "error", "error": "cmr: no destination has this name (did you mean `crm`?)"},
    )


async def test_dead_letters_are_replayed_and_discarded_one_by_one(desk: Desk) -> None:
    first, second = await dead(desk, 2)
    assert (await desk.ask("POST", f"/api/deliveries/{first['id']}/discard"))[0] == 200
    assert (await desk.ask("POST", f"/api/deliveries/{second['id']}/replay"))[0] == 200
    await desk.settled()
    _, found = await desk.ask("GET", "/api/deliveries")
    assert {each["id"]: each["state"] for each in found["deliveries"]} == {
        first["id"]: "discarded",
        second["id"]: "dead",
    }
    assert (await desk.ask("POST", "/api/deliveries/99999/replay"))[0] == 404


async def test_what_was_counted_is_done_for_all(desk: Desk) -> None:
    await dead(desk, 3)
    asked = {"action": "discard", "state": "dead", "destination": "crm", "reason": "mapping"}
    _, preview = await desk.ask("POST", "/api/bulk/preview", json=asked)
    assert preview["count"] == 3
    await desk.send(Email="")
    while (await desk.ask("GET", "/api/overview"))[1]["dead"] < 4:
        pass
    status, run = await desk.ask("POST", "/api/bulk", json={**asked, "through": preview["through"]})
    assert (status, run["total"]) == (200, 3)
    while (run := (await desk.ask("GET", f"/api/bulk/{run['id']}"))[1])["state"] == "running":
        pass
    assert (run["state"], run["done"]) == ("done", 3)
    assert [each["count"] for each in (await desk.ask("GET", "/api/overview"))[1]["causes"]] == [1]


async def test_a_run_is_cancelled_and_does_not_run_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await dead(desk, 2)
    asked = {"action": "discard", "state": "dead"}
    # Held up before its first step, so that it is surely under way.
    go, change = asyncio.Event(), QueryThreads.change

    async def held(changes: QueryThreads, action: Any) -> Any:
        if isinstance(action, partial):
            await go.wait()
        return await change(changes, action)

    monkeypatch.setattr(QueryThreads, "change", held)
    status, run = await desk.ask("POST", "/api/bulk", json=asked)
    assert (status, run["state"]) == (200, "running")
    assert (await desk.ask("POST", "/api/bulk", json=asked))[0] == 409
    assert (await desk.ask("POST", f"/api/bulk/{run['id']}/cancel"))[1]["state"] == "cancelled"
    go.set()
    while (await desk.ask("POST", "/api/bulk", json=asked))[0] == 409:
        pass
    while (await desk.ask("GET", "/api/overview"))[1]["dead"]:
        pass
    found = (await desk.ask("GET", "/api/bulk"))[1]["runs"]
    assert [each["state"] for each in found][1] == "cancelled"
    assert (await desk.ask("POST", "/api/bulk/99/cancel"))[0] == 404


async def test_a_request_in_quarantine_is_released_once_its_key_is_good(desk: Desk) -> None:
    await desk.send(key=b"a-key-that-is-not-the-right-one")
    (kept,) = (await desk.ask("GET", "/api/quarantine"))[1]["requests"]
    status, answer = await desk.ask("POST", f"/api/quarantine/{kept['id']}/release")
    assert status == 409
    assert "stays in quarantine" in answer["error"]
    assert (await desk.ask("POST", "/api/quarantine/99/release"))[0] == 404


async def test_a_refused_request_is_counted_and_discarded(desk: Desk) -> None:
    await desk.send(key=b"another-signing-key")
    (kept,) = (await desk.ask("GET", "/api/quarantine"))[1]["requests"]
    assert kept["room"] == "mismatch"
    assert (await desk.ask("GET", "/api/overview"))[1]["quarantined"] == {"mismatch": 1}
    assert (await desk.ask("GET", "/api/reconcile"))[1]["quarantined"] == 1
    release, discard = f"/api/quarantine/{kept['id']}/release", f"/api/quarantine/{kept['id']}/discard"
    assert (await desk.ask("POST", release, json={"any_age": True}))[0] == 409
    assert (await desk.ask("POST", discard, token=VIEWER))[0] == 403
    assert (await desk.ask("POST", discard))[1]["message"] == f"request {kept['id']}: discarded"
    assert (await desk.ask("POST", discard))[0] == 404
    (entry,) = (await desk.ask("GET", "/api/audit?action=discard"))[1]["entries"]
    assert (entry["subject"], entry["subject_id"]) == ("request", str(kept["id"]))
    assert (await desk.ask("GET", "/api/overview"))[1]["quarantined"] == {}


async def test_an_unrecognised_event_is_discarded_for_good(desk: Desk) -> None:
    await desk.send(Type="Survey", Email="ada@example.com")
    await desk.send(Email="other@example.com")
    await desk.settled()
    (unknown,) = await events(desk, state="unrecognised")
    (known,) = await events(desk, state="accepted")
    path = f"/api/events/{unknown['id']}/discard"

    assert (await desk.ask("POST", path, token=None))[0] == 401
    assert (await desk.ask("POST", path, token=VIEWER))[0] == 403
    assert [each["id"] for each in await events(desk, state="unrecognised")] == [unknown["id"]]
    assert (await desk.ask("POST", f"/api/events/{known['id']}/discard"))[0] == 409

    status, answer = await desk.ask("POST", path)
    assert status == 200, answer
    assert answer["message"] == f"event {unknown['id']}: was unrecognised, is deleted"
    assert (await desk.ask("POST", path))[0] == 404
    assert (await desk.ask("GET", f"/api/events/{unknown['id']}"))[0] == 404
    assert await events(desk, state="unrecognised") == []
    assert [each["id"] for each in await events(desk)] == [known["id"]]
    (entry,) = (await desk.ask("GET", "/api/audit?action=discard"))[1]["entries"]
    assert (entry["subject"], entry["subject_id"], entry["role"]) == ("event", unknown["id"], "operator")


async def test_the_overview_counts(desk: Desk) -> None:
    await desk.send()
    await dead(desk, 1)
    await desk.settled()
    _, found = await desk.ask("GET", "/api/overview")
    assert sum(found["accepted_by_hour"]) == 2
    assert found["deliveries"] == {"delivered": 1, "dead": 1}
    assert (found["pending"], found["dead"]) == (0, 1)
    assert found["causes"] == [{"destination": "crm", "reason": "mapping", "count": 1}]
    _, text = await desk.ask("GET", "/metrics")
    assert 'leadbridge_dead{destination="crm"} 1.0' in text
    assert 'leadbridge_lane_state{destination="crm",state="running"} 1.0' in text
    assert 'leadbridge_oldest_pending_seconds{destination="crm"} 0.0' in text


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/api/events?limit=0", {}, 400),
        ("GET", "/api/events?limit=1&limit=2", {}, 400),
        ("GET", "/api/events?nothing=1", {}, 400),
        ("GET", "/api/events?since=5", {}, 400),
        ("GET", "/api/deliveries/none", {}, 400),
        ("POST", "/api/bulk/preview", {"data": b"{"}, 415),
        ("POST", "/api/bulk/preview", {"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", "/api/bulk/preview", {"json": {"action": "replay", "state": "delivered"}}, 400),
        ("DELETE", "/api/events", {}, 405),
        ("GET", "/api/nothing", {}, 404),
    ],
)
async def test_what_is_not_taken_is_answered_in_json(
    desk: Desk, method: str, path: str, options: Any, status: int
) -> None:
    found, answer = await desk.ask(method, path, **options)
    assert found == status
    assert answer["status"] == "error"


async def test_what_takes_long_with_many_destinations_is_made_off_the_loop(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand of them took the loop, and so every sender, a seventh of a second at each scrape."""
    made: list[tuple[str, bool]] = []

    def watched(owner: Any, name: str) -> None:
        own = getattr(owner, name)

        def watching(*given: Any) -> Any:
            made.append((name, threading.current_thread() is threading.main_thread()))
            return own(*given)

        monkeypatch.setattr(owner, name, watching)

    watched(Metrics, "text")
    watched(configuration, "chatbot_schema")
    watched(configuration, "destination_schema")
    for path in ("/api/chatbots", "/api/destinations", "/api/configuration", "/metrics"):
        assert (await desk.ask("GET", path))[0] == 200
    assert {name for name, _ in made} == {"text", "chatbot_schema", "destination_schema"}
    assert not any(in_loop for _, in_loop in made)
