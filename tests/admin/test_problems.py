"""Problems through the API and on the pages: acknowledged, and recovered from, with a preview and progress."""

import sqlite3
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bridge import app
from bridge.admin.problems import RECENT_SECONDS
from bridge.config.reload import load_files
from bridge.operations.problems import find_problems
from tests.admin.conftest import CONFIG, OPERATOR, VIEWER, Crm, Desk, browser
from tests.admin.test_api import dead
from tests.admin.test_pages import log_in
from tests.admin.test_wire import later
from tests.alerts.conftest import target
from tests.alerts.test_watch import Target
from tests.building import KEY, SERIAL

__all__ = ["target"]

STRANGER = b"a-key-that-is-not-the-right-one"


async def problems(desk: Desk, query: str = "", token: str = OPERATOR) -> dict[str, Any]:
    status, found = await desk.ask("GET", f"/api/problems{query}", token)
    assert status == 200
    return {each["cause"]: each for each in found["problems"]}


async def run_ended(desk: Desk, number: int) -> Any:
    while (run := (await desk.ask("GET", f"/api/bulk/{number}"))[1])["state"] == "running":
        pass
    return run


async def test_the_list_says_what_happened_and_what_fixes_it(desk: Desk) -> None:
    await dead(desk, 1)
    await desk.send(STRANGER)
    await desk.send(Type="Odd")
    found = await problems(desk)
    assert set(found) == {"dead-crm-mapping", "quarantine-acme-mismatch", "unrecognised"}
    cause = found["dead-crm-mapping"]
    assert (cause["kind"], cause["count"], cause["chatbots"]) == ("dead", 1, {"acme": 1})
    assert cause["first_at"] == cause["last_at"]
    assert "mapping could not make a record" in cause["why"]
    assert "replay them" in cause["fix"]
    assert cause["sample"]["person"].startswith("David G.")
    assert cause["acknowledged"] is None
    masked = (await problems(desk, token=VIEWER))["dead-crm-mapping"]
    assert "David" not in masked["sample"]["person"]
    assert set(await problems(desk, "?destination=crm")) == {"dead-crm-mapping"}
    assert await problems(desk, "?chatbot=nobody") == {}


async def test_an_acknowledged_problem_is_not_counted_until_its_next_case(desk: Desk) -> None:
    await dead(desk, 1)
    await log_in(desk, OPERATOR)
    assert "Problems (1)" in (await desk.see("/"))[1]
    page = (await desk.see("/problems"))[1]
    assert 'name="on:dead-crm-mapping"' in page
    status, page = await desk.post("/problems/acknowledge", **{"on:dead-crm-mapping": "yes"})
    assert status == 200
    assert "acknowledged until its next case" in page
    assert "Acknowledged: 1" in page
    assert "There are no problems." in page
    assert "Problems (1)" not in page
    given = (await problems(desk))["dead-crm-mapping"]["acknowledged"]
    assert (given["user"], given["until"]) == ("operator", None)
    await dead(desk, 2)
    await later(desk, RECENT_SECONDS)
    assert "Problems (1)" in (await desk.see("/problems"))[1]
    assert (await problems(desk))["dead-crm-mapping"]["acknowledged"] is None


async def test_a_problem_is_ignored_for_days_and_reopened(desk: Desk) -> None:
    await dead(desk, 1)
    asked = {"cause": "dead-crm-mapping", "days": 7}
    assert (await desk.ask("POST", "/api/problems/acknowledge", VIEWER, json=asked))[0] == 403
    status, said = await desk.ask("POST", "/api/problems/acknowledge", json=asked)
    assert (status, said["message"]) == (200, "crm: mapping: ignored for 7 days")
    await dead(desk, 2)
    assert (await problems(desk))["dead-crm-mapping"]["acknowledged"]["until"]
    await log_in(desk, OPERATOR)
    page = (await desk.post("/problems/reopen", cause="dead-crm-mapping"))[1]
    assert "The problem is open again." in page
    assert (await problems(desk))["dead-crm-mapping"]["acknowledged"] is None
    for path in ("acknowledge", "reopen"):
        assert (await desk.ask("POST", f"/api/problems/{path}", json={"cause": "dead-crm-none"}))[0] == 404
    assert (await desk.ask("POST", "/api/problems/reopen", json={"cause": "dead-crm-mapping"}))[0] == 409
    status, page = await desk.post("/problems/acknowledge")
    assert (status, "Select a problem first." in page) == (400, True)


async def test_selected_problems_are_read_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand of them, each looked for among a thousand, would hold up all other pages."""
    await dead(desk, 1)
    await desk.send(STRANGER)
    await desk.send(Type="Odd")
    await log_in(desk, OPERATOR)
    chosen = {f"on:{each}": "yes" for each in await problems(desk)}
    form = {**chosen}
    read = Mock(wraps=find_problems)
    monkeypatch.setattr("bridge.admin.problems.find_problems", read)
    url = f"http://{desk.bridge.admin}/problems/acknowledge"
    async with desk.session.post(url, data={**form, "on:unknown": "yes"}, allow_redirects=False) as answer:
        assert answer.status == 404
    assert not any(each["acknowledged"] for each in (await problems(desk)).values()), "all or none"
    read.reset_mock()
    async with desk.session.post(url, data=form, allow_redirects=False) as answer:
        assert answer.status == 303
    read.assert_called_once()
    assert all(each["acknowledged"] for each in (await problems(desk)).values())


async def test_requests_are_released_by_selection_after_a_preview(desk: Desk) -> None:
    for _ in range(3):
        await desk.send(STRANGER)
    await log_in(desk, OPERATOR)
    page = (await desk.see("/problems/quarantine"))[1]
    numbers = [each.split('"')[0] for each in page.split('name="on:')[1:]]
    assert len(numbers) == 3
    form = {"kept": "requests", "action": "release", "selected": "yes"}
    status, page = await desk.post("/problems/recovery", **form)
    assert (status, "Select a request first." in page) == (400, True)
    chosen = {f"on:{each}": "yes" for each in numbers[:2]}
    page = (await desk.post("/problems/recovery", **form, **chosen))[1]
    assert "<h1>Release 2 requests?</h1>" in page
    assert (
        "They are verified with today&#39;s keys first" in page or "They are verified with today's keys first" in page
    )
    page = (await desk.post("/problems/recovery", **form, **chosen, sure="yes", through=numbers[0]))[1]
    assert "Run 1 has begun." in page
    run = await run_ended(desk, 1)
    assert (run["total"], run["done"], run["refused"], run["state"]) == (2, 0, 2, "done")
    assert "2 stay as they were: the signature still does not hold" in (await desk.see("/problems/runs/1"))[1]
    page = (await desk.post("/problems/recovery", **{**form, "action": "discard"}, **chosen))[1]
    assert "They are deleted for good." in page
    await desk.post("/problems/recovery", **{**form, "action": "discard"}, **chosen, sure="yes", through=numbers[0])
    assert (await run_ended(desk, 2))["done"] == 2
    _, left = await desk.ask("GET", "/api/quarantine")
    assert [str(each["id"]) for each in left["requests"]] == numbers[2:]
    _, log = await desk.ask("GET", "/api/audit")
    done = {each["action"]: each for each in log["entries"] if each["subject"] == "run"}
    assert done["discard_all"]["facts"] == {"of": 2, "kept": "requests", "selected": "2"}
    assert (done["discard_all"]["count"], done["release_all"]["count"]) == (2, 0)


async def test_all_of_a_chatbot_are_recovered_with_a_preview(desk: Desk) -> None:
    await desk.send(STRANGER)
    for _ in range(2):
        await desk.send(Type="Odd")
    asked: dict[str, Any] = {"action": "release", "kept": "requests", "chatbot": "acme"}
    _, preview = await desk.ask("POST", "/api/recovery/preview", json=asked)
    assert preview["count"] == 1
    assert (await desk.ask("POST", "/api/recovery/preview", json={**asked, "chatbot": "nobody"}))[1]["count"] == 0
    events = {"action": "discard", "kept": "events"}
    for nothing in ({"ids": [1, 2]}, {"room": "mismatch"}, {"chatbot": "nobody"}):
        assert (await desk.ask("POST", "/api/recovery/preview", json={**events, **nothing}))[1]["count"] == 0
    _, preview = await desk.ask("POST", "/api/recovery/preview", json=events)
    assert preview["count"] == 2
    await desk.send(Type="Odd")
    status, run = await desk.ask("POST", "/api/recovery", json={**events, "through": preview["through"]})
    assert status == 200
    assert (await run_ended(desk, run["id"]))["done"] == 2
    assert (await problems(desk))["unrecognised"]["count"] == 1, "it came after the preview"
    assert (await desk.ask("POST", "/api/recovery", VIEWER, json=events))[0] == 403
    await log_in(desk, OPERATOR)
    page = (await desk.see("/problems"))[1]
    assert "Route all again" in page
    page = (await desk.post("/problems/recovery", kept="requests", action="release", chatbot="acme"))[1]
    assert "<h1>Release 1 request of acme?</h1>" in page


@pytest.mark.filterwarnings("ignore:'(imghdr|cgi)' is deprecated:DeprecationWarning")
async def test_a_report_that_was_not_sent_is_sent_from_the_page(tmp_path: Path, target: Target) -> None:
    file, environ = (
        tmp_path / "config.yaml",
        {"ADMIN": OPERATOR, "VIEWER": VIEWER, "CRM_TOKEN": "x", "KEY": KEY.decode()},
    )
    file.write_text(
        CONFIG.format(folder=tmp_path, url="http://127.0.0.1:9/x", serial=SERIAL)
        + f"reports: {{weekly: {{to: '{target.url}'}}}}\n"
    )
    config, files = load_files(file, environ)
    async with app.running(config, files) as bridge, browser(bridge) as session:
        desk = Desk(bridge, session, Crm())
        with sqlite3.connect(tmp_path / "leadbridge.db") as connection:
            row = ("weekly", time.time() + 60, '["reports.weekly.to[0] (json)"]')
            connection.execute('insert or replace into reports (name, due_at, "left") values (?, ?, ?)', row)
        assert (await problems(desk))["report-weekly"]["count"] == 1
        await log_in(desk, OPERATOR)
        assert 'action="/problems/reports/weekly"' in (await desk.see("/problems"))[1]
        assert (await desk.ask("POST", "/api/reports/weekly/send", VIEWER))[0] == 403
        page = (await desk.post("/problems/reports/weekly"))[1]
        assert "weekly: sent to 1 receiver" in page
        assert len(target.taken) == 1
        assert "report-weekly" not in await problems(desk)
        assert (await desk.ask("POST", "/api/reports/weekly/send"))[0] == 409
        assert (await desk.ask("POST", "/api/reports/monthly/send"))[0] == 404
