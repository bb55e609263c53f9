"""What people do on the admin listener is in the audit log, and nothing that a lead says."""

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge import app
from bridge.config.model import Config
from bridge.errors import StoreUnavailableError
from bridge.store.sql import SqlStore
from tests.admin.conftest import OPERATOR, VIEWER, Desk
from tests.admin.test_api import dead
from tests.admin.test_pages import log_in
from tests.building import Clock

ADA = "ada.lovelace@example.com"


async def told(desk: Desk, *, logins: bool = False) -> list[Any]:
    """Give the entries, oldest first."""
    status, found = await desk.ask("GET", "/api/audit")
    assert status == 200
    return [each for each in reversed(found["entries"]) if logins or each["action"] not in {"login", "logout"}]


def short(entries: list[Any]) -> list[tuple[Any, ...]]:
    return [(each["action"], each["subject"], each["subject_id"], each["count"], each["facts"]) for each in entries]


async def test_each_order_is_told_with_who_and_from_where(desk: Desk) -> None:
    first, second = await dead(desk, 2)
    await desk.send(key=b"a-key-that-is-not-the-right-one")
    for path in (
        f"deliveries/{second['id']}/discard",
        f"events/{first['event']}/replay",
        f"deliveries/{second['id']}/replay",
        "lanes/crm/pause",
        "lanes/crm/resume",
    ):
        options: dict[str, Any] = {"json": {"reason": f"{ADA} wants it"}} if path.endswith("pause") else {}
        assert (await desk.ask("POST", f"/api/{path}", **options))[0] == 200, path
    entries = await told(desk)
    assert short(entries) == [
        ("discard", "delivery", str(second["id"]), None, {"was": "dead"}),
        ("replay", "event", first["event"], 1, {"was": "dead"}),
        ("replay", "delivery", str(second["id"]), None, {"was": "discarded"}),
        ("pause", "lane", "crm", None, {}),
        ("resume", "lane", "crm", None, {}),
    ]
    for each in entries:
        assert (each["role"], each["means"], each["session"]) == ("operator", "token", None)
        assert each["address"] == "127.0.0.1"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", each["at"])


async def test_what_cannot_be_done_is_not_told(desk: Desk) -> None:
    await desk.send()
    await desk.settled()
    await desk.send(key=b"a-key-that-is-not-the-right-one")
    (event,) = (await desk.ask("GET", "/api/events"))[1]["events"]
    for path, status in (
        ("deliveries/1/discard", 409),
        ("deliveries/99/replay", 404),
        (f"events/{event['id']}/replay", 409),
        ("quarantine/1/release", 409),
        ("lanes/nobody/resume", 404),
    ):
        assert (await desk.ask("POST", f"/api/{path}"))[0] == status
    assert await told(desk) == []


async def test_what_a_viewer_is_refused_is_told(desk: Desk) -> None:
    await desk.send()
    await desk.settled()
    (event,) = (await desk.ask("GET", "/api/events"))[1]["events"]
    assert (await desk.ask("GET", f"/api/events/{event['id']}?reveal=true", token=VIEWER))[0] == 403
    assert (await desk.ask("POST", "/api/lanes/crm/pause", token=VIEWER, json={"reason": ADA}))[0] == 403
    await log_in(desk, VIEWER)
    assert (await desk.post("/deliveries/1/discard"))[0] == 403
    # Somebody who shows nothing is asked for a token, and that is no refusal.
    assert (await desk.ask("GET", "/api/events", token=None))[0] == 200, "the session is a viewer's"
    entries = await told(desk)
    assert short(entries) == [
        ("refused_action", None, None, None, {"method": "GET", "where": "api.events.id"}),
        ("refused_action", None, None, None, {"method": "POST", "where": "api.lanes.name.pause"}),
        ("refused_action", None, None, None, {"method": "POST", "where": "deliveries.id.discard"}),
    ]
    assert [(each["role"], each["means"], each["address"]) for each in entries] == [
        ("viewer", "token", "127.0.0.1"),
        ("viewer", "token", "127.0.0.1"),
        ("viewer", "session", "127.0.0.1"),
    ]


async def test_wrong_tokens_are_told_and_bounded_and_are_not_in_it(tmp_path: Path, guarded: Config) -> None:
    wrong = "a-token-that-somebody-tries"
    clock = Clock()
    async with app.running(guarded, clock=clock) as bridge, aiohttp.ClientSession() as session:
        base = f"http://{bridge.admin}"
        for number in range(40):
            options: Any = (
                {"headers": {"Authorization": f"Bearer {wrong}"}} if number % 2 else {"data": {"token": wrong}}
            )
            path = "/api/events" if number % 2 else "/login"
            async with session.request("GET" if number % 2 else "POST", base + path, **options) as answer:
                assert answer.status == (401 if number < 10 else 429)
        clock.now += 61
        async with session.get(f"{base}/api/events", headers={"Authorization": "Bearer again"}) as answer:
            assert answer.status == 401
        async with session.get(f"{base}/api/audit", headers={"Authorization": f"Bearer {OPERATOR}"}) as answer:
            entries = list(reversed((await answer.json())["entries"]))
    assert [(each["action"], each["role"], each["count"]) for each in entries] == [
        *[("refused_token", "unknown", None)] * 10,
        ("refused_token", "unknown", 30),
        ("refused_token", "unknown", None),
    ]
    assert {each["address"] for each in entries} == {"127.0.0.1"}
    assert [each["facts"]["where"] for each in entries[:2]] == ["login", "api.events"]
    assert wrong.encode() not in (tmp_path / "leadbridge.db").read_bytes()


async def test_counts_of_refusals_are_kept_at_the_end(tmp_path: Path, guarded: Config) -> None:
    async with app.running(guarded, clock=Clock()) as bridge, aiohttp.ClientSession() as session:
        for _ in range(25):
            headers = {"Authorization": "Bearer wrong"}
            async with session.get(f"http://{bridge.admin}/api/events", headers=headers) as answer:
                assert answer.status in {401, 429}
    with contextlib.closing(sqlite3.connect(tmp_path / "leadbridge.db")) as connection:
        counts = connection.execute("SELECT count FROM audit ORDER BY id").fetchall()
    assert counts == [*[(None,)] * 10, (15,)]


async def test_many_at_once_are_one_entry_that_counts(desk: Desk) -> None:
    await dead(desk, 3)
    asked = {"action": "discard", "state": "dead", "destination": "crm", "reason": "mapping"}
    _, run = await desk.ask("POST", "/api/bulk", json=asked)
    while (await desk.ask("GET", f"/api/bulk/{run['id']}"))[1]["state"] == "running":
        pass
    (entry,) = await told(desk)
    chosen = {"state": "dead", "destination": "crm", "reason": "mapping"}
    assert short([entry]) == [("discard_all", "run", "1", 3, {"of": 3, "through": 3, **chosen})]


async def test_looking_at_a_person_is_told_and_not_at_whom(desk: Desk, tmp_path: Path) -> None:
    await desk.send(FirstName="Adalbert", Email=ADA)
    await desk.settled()
    await log_in(desk)
    (event,) = (await desk.ask("GET", "/api/events"))[1]["events"]
    await desk.ask("POST", "/api/events/search", json={"email": ADA}, token=VIEWER)
    await desk.ask("POST", "/api/events/search", json={"phone": "+1 202 555 0123"})
    await desk.post("/leads", who="lovelace@")
    await desk.ask("GET", f"/api/events/{event['id']}?reveal=true")
    await desk.ask("GET", "/api/deliveries/1?reveal=true")
    await desk.post(f"/leads/{event['id']}")
    await desk.post(f"/leads/{event['id']}/mask")
    form = {"route": "acme:0", "yaml": "to: crm\nfields: {mail: Email}", "id": event["id"]}
    assert ADA in (await desk.post("/tools/playground", **form))[1]
    entries = await told(desk)
    assert short(entries) == [
        ("search", None, None, None, {"by": "email"}),
        ("search", None, None, None, {"by": "phone"}),
        ("search", None, None, None, {"by": "person_part"}),
        ("reveal", "event", event["id"], None, {}),
        ("reveal", "delivery", "1", None, {}),
        ("reveal", "event", event["id"], None, {}),
        ("playground", "chatbot", "acme", None, {"route": "crm"}),
        ("reveal", "event", event["id"], None, {"where": "playground"}),
    ]
    assert [each["role"] for each in entries] == ["viewer", *["operator"] * 7]
    assert [each["means"] for each in entries[-2:]] == ["session", "session"]
    assert len({each["session"] for each in entries[-2:]}) == 1
    # Only the lead itself holds the address; without it nothing in the store does.
    content = b"".join((tmp_path / f"leadbridge.db{end}").read_bytes() for end in ("", "-wal"))
    assert OPERATOR.encode() not in content
    assert b"lovelace@" not in content.replace(ADA.encode(), b"")


async def test_coming_and_going_is_told(desk: Desk) -> None:
    await log_in(desk, VIEWER)
    await desk.post("/logout")
    entries = await told(desk, logins=True)
    assert [(each["action"], each["role"], each["means"]) for each in entries] == [
        ("login", "viewer", "session"),
        ("logout", "viewer", "session"),
    ]
    assert entries[0]["session"] == entries[1]["session"]


async def test_what_cannot_be_told_is_neither_done_nor_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await dead(desk, 1)
    (event,) = (await desk.ask("GET", "/api/events"))[1]["events"]
    await log_in(desk)

    async def full(*_: Any) -> int:
        raise StoreUnavailableError("the disk is full")

    monkeypatch.setattr(SqlStore, "note", full)
    assert (await desk.ask("GET", f"/api/events/{event['id']}?reveal=true"))[0] == 503
    assert (await desk.ask("POST", "/api/events/search", json={"email": ADA}))[0] == 503
    assert (await desk.ask("POST", "/api/bulk", json={"action": "discard"}))[0] == 503
    status, page = await desk.post(f"/leads/{event['id']}")
    assert (status, "García" in page) == (503, False)
    assert (await desk.ask("GET", "/api/overview"))[1]["dead"] == 1
    # Who comes to see what is wrong is not kept out.
    await log_in(desk)


async def test_a_store_in_trouble_has_the_login_in_the_log(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def full(*_: Any) -> int:
        raise StoreUnavailableError("the disk is full")

    monkeypatch.setattr(SqlStore, "note", full)
    await log_in(desk)
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "audit_not_kept" in each]
    assert "action=login" in line
    assert OPERATOR not in line


async def test_it_is_for_operators_and_read_page_by_page(desk: Desk) -> None:
    for name in ("pause", "resume", "pause", "resume", "pause"):
        options: dict[str, Any] = {"json": {}} if name == "pause" else {}
        await desk.ask("POST", f"/api/lanes/crm/{name}", **options)
    assert (await desk.ask("GET", "/api/audit", token=VIEWER))[0] == 403
    assert (await desk.ask("GET", "/api/audit", token=None))[0] == 401
    seen: list[int] = []
    path = "/api/audit?action=pause&limit=2"
    while path:
        found = (await desk.ask("GET", path))[1]
        seen += [each["id"] for each in found["entries"]]
        path = f"/api/audit?action=pause&limit=2&before={found['next']}" if found["next"] else ""
    assert seen == [5, 3, 1]
    assert (await desk.ask("GET", "/api/audit?action=nonsense"))[0] == 400


async def test_its_page_shows_and_chooses(desk: Desk) -> None:
    await desk.send()
    await desk.settled()
    (event,) = (await desk.ask("GET", "/api/events"))[1]["events"]
    await desk.ask("GET", f"/api/events/{event['id']}?reveal=true")
    await desk.ask("POST", "/api/lanes/crm/resume")
    await log_in(desk)
    page = (await desk.see("/tools/audit"))[1]
    assert f'href="/leads/{event["id"]}"' in page
    assert "lane crm" in page
    assert "operator, session" in page
    chosen = (await desk.see("/tools/audit?action=reveal"))[1]
    assert "lane crm" not in chosen
    assert "<option selected>reveal" in chosen
    assert "Older" in (await desk.see("/tools/audit?limit=1"))[1]
    assert (await desk.see("/tools/audit?action=nonsense"))[0] == 400
    await desk.post("/logout")
    await log_in(desk, VIEWER)
    status, page = await desk.see("/tools/audit")
    assert (status, "Log out (viewer)" in page) == (403, True)
    assert 'href="/tools/audit"' not in page
