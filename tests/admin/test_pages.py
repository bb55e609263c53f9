import re
import threading
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url

from bridge.admin.responses import REFRESH
from bridge.store import search
from bridge.store.sqlite import SqliteDriver
from tests.admin.conftest import CRM_TOKEN, OPERATOR, VIEWER, Desk
from tests.admin.test_api import dead

PAGES = (
    "/",
    "/leads",
    "/chatbots",
    "/chatbots/acme",
    "/destinations",
    "/destinations/crm",
    "/problems",
    "/problems/quarantine",
    "/tools/report",
    "/tools/playground",
    "/tools/configuration",
    "/tools/audit",
)


async def log_in(desk: Desk, token: str = OPERATOR) -> None:
    """Log in by the form."""
    status, page = await desk.post("/login", token=token)
    assert status == 200
    assert 'action="/logout"' in page


async def test_nobody_sees_a_page_without_a_login(desk: Desk) -> None:
    for path in PAGES:
        status, page = await desk.see(path)
        assert status == 200
        assert "server.admin_token" in page
        assert "<h1>Log in</h1>" in page


async def test_the_cookie_is_for_this_listener_alone(desk: Desk) -> None:
    async with desk.session.post(
        f"http://{desk.bridge.admin}/login",
        data={"token": OPERATOR},
        headers={"X-Forwarded-Proto": "https"},
        allow_redirects=False,
    ) as answer:
        cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "Secure", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert OPERATOR not in cookie


async def test_every_page_has_strict_headers_and_no_inline_code(desk: Desk) -> None:
    await log_in(desk)
    await desk.send()
    for path in (*PAGES, "/static/style.css", "/static/live.js", "/nothing"):
        async with desk.session.get(f"http://{desk.bridge.admin}{path}") as answer:
            text = await answer.text()
            policy = answer.headers["Content-Security-Policy"]
            assert answer.status == (404 if path == "/nothing" else 200), path
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        if path in PAGES:
            assert not re.search(r"<script(?! src)|<style|\sstyle=|\son\w+=", text), path
            assert text.count("<h1>") == 1
            assert 'lang="en"' in text
            assert CRM_TOKEN not in text


async def test_a_lane_is_paused_and_resumed_by_forms(desk: Desk) -> None:
    await log_in(desk)
    held = "An operator has paused this destination"
    assert held not in (await desk.see("/"))[1]
    status, page = await desk.post("/destinations/crm/pause")
    assert status == 200
    assert "paused until it is resumed" in page
    assert "Resume crm" in page
    home = (await desk.see("/"))[1]
    assert "paused until" not in home
    assert held in home, "at once, although problems are remembered for some seconds"
    assert "resumed" in (await desk.post("/destinations/crm/resume"))[1]
    assert held not in (await desk.see("/"))[1]


async def test_what_is_said_after_a_form_is_not_taken_by_a_page_that_refreshes_itself(desk: Desk) -> None:
    await log_in(desk)
    at = f"http://{desk.bridge.admin}"
    async with desk.session.post(f"{at}/destinations/crm/pause", allow_redirects=False) as answer:
        assert answer.status == 303
    async with desk.session.get(f"{at}/", headers={REFRESH: "1"}) as answer:
        assert "paused until" not in await answer.text()
    assert "paused until it is resumed" in (await desk.see("/"))[1]
    assert REFRESH in (await desk.see("/static/live.js"))[1]


async def test_a_viewer_sees_no_forms_and_no_personal_data(desk: Desk) -> None:
    await desk.send(FirstName="Adalbert")
    await desk.settled()
    await log_in(desk, VIEWER)
    assert "Pause crm" not in (await desk.see("/"))[1]
    (event,) = (await desk.ask("GET", "/api/events"))[1]["events"]
    page = (await desk.see(f"/leads/{event['id']}"))[1]
    assert "Adalbert" not in page
    assert "Show personal data" not in page
    assert (await desk.post(f"/leads/{event['id']}"))[0] == 403
    assert (await desk.see("/tools/playground"))[0] == 403


async def test_a_leads_page_tells_all_of_it(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await log_in(desk)
    await desk.send(FirstName="<b>Adalbert", Email="ada@example.com")
    await desk.settled()
    (event,) = (await desk.ask("GET", "/api/events"))[1]["events"]
    masked = (await desk.see(f"/leads/{event['id']}"))[1]
    assert "Adalbert G. · a…@example.com" in masked
    assert "García" not in masked
    assert "ada@example.com" not in masked
    assert "the body as sent" in masked
    shown = (await desk.post(f"/leads/{event['id']}"))[1]
    assert "&lt;b&gt;Adalbert García" in shown
    assert "<b>Adalbert" not in shown
    assert "HTTP 200" in shown
    assert desk.crm.url in shown
    assert CRM_TOKEN not in shown
    logged = capsys.readouterr().out
    assert "reveal" in logged
    assert "Adalbert" not in logged


async def test_a_search_finds_a_person_and_an_id(desk: Desk) -> None:
    await log_in(desk)
    await desk.send(Email="ada@example.com")
    await desk.send()
    _, page = await desk.post("/leads", who="ADA@example.com")
    (found,) = re.findall(r'href="/leads/([0-9a-f]+)"', page)
    assert f"<code>{found}</code>" in (await desk.post("/leads", who=found))[1]
    assert "Nobody matches" in (await desk.post("/leads", who="nobody@example.com"))[1]
    for unheard in ("ab", "王", "12345"):
        status, page = await desk.post("/leads", who=unheard)
        assert status == 400
        assert "Write a part of the name" in page


async def test_a_search_by_a_part_of_the_name_has_an_address_that_names_nobody(desk: Desk) -> None:
    await log_in(desk)
    await desk.send(FirstName="Grace", LastName="Hopper", Email="ada@example.com")
    await desk.send(FirstName="芳", LastName="王小", Email="wang@example.com")
    await desk.settled()
    at = f"http://{desk.bridge.admin}"
    for wanted, person in (("ce hop", "Grace H."), ("王小", "芳 王."), ("g@example", "芳 王.")):
        form = {"who": wanted}
        async with desk.session.post(f"{at}/leads", data=form, allow_redirects=False) as answer:
            assert answer.status == 303
            where = answer.headers["Location"]
        assert re.fullmatch(r"/leads\?search=[\w-]{16}", where)
        for _ in range(2):
            # Back and reload show the same.
            page = (await desk.see(where))[1]
            assert person in page
            assert len(re.findall(r'href="/leads/[0-9a-f]+"', page)) == 1
    assert (await desk.see("/leads?search=of-another-session"))[0] == 410


async def test_a_list_of_leads_shows_persons_and_what_became_of_them(desk: Desk) -> None:
    await log_in(desk)
    await desk.send(FirstName="Grace", LastName="Hopper", Email="grace@example.com")
    await dead(desk, 1)
    await desk.settled()
    page = (await desk.see("/leads"))[1]
    assert "Grace H. · g…@example.com" in page
    assert "crm: delivered" in page
    assert "crm: not delivered" in page
    for query, count in (("state=dead", 1), ("state=delivered", 1), ("destination=crm", 2), ("days=7&chatbot=acme", 2)):
        page = (await desk.see(f"/leads?{query}"))[1]
        assert len(re.findall(r'href="/leads/[0-9a-f]+"', page)) == count, query
    for query in ("state=sleeping", "days=8"):
        assert (await desk.see(f"/leads?{query}"))[0] == 400


async def test_a_search_that_has_not_read_all_events_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await log_in(desk)
    await desk.send(Email="ada@example.com")
    await desk.send()
    monkeypatch.setattr(search, "READ_SPAN", 1)
    assert "has read only the newest leads" in (await desk.post("/leads", who="ada@ex"))[1]
    monkeypatch.setattr(search, "READ_SPAN", 5_000)
    assert "has read only the newest leads" not in (await desk.post("/leads", who="ada@ex"))[1]


async def test_dead_letters_are_replayed_in_bulk_once_that_is_confirmed(desk: Desk) -> None:
    await log_in(desk)
    await dead(desk, 2)
    page = (await desk.see("/problems"))[1]
    assert "crm: mapping" in page
    wanted = {"action": "discard", "state": "dead", "destination": "crm", "reason": "mapping"}
    page = (await desk.post("/problems", **wanted))[1]
    assert "Discard 2 deliveries?" in page
    assert (await desk.ask("GET", "/api/overview"))[1]["dead"] == 2
    status, page = await desk.post("/problems", **wanted, sure="yes")
    assert status == 200
    assert "has begun" in page
    while (await desk.ask("GET", "/api/overview"))[1]["dead"]:
        pass
    assert "There are no problems" in (await desk.see("/problems"))[1]


async def test_an_edited_route_is_tried_without_being_used(desk: Desk) -> None:
    await log_in(desk)
    assert "required: true" in (await desk.see("/tools/playground?route=acme:0"))[1]
    edited = 'to: crm\nfields: {mail: Email, secret: {value: "${CRM_TOKEN}"}, hidden: {value: "\\x24{CRM_TOKEN}"}}'
    wanted = {"route": "acme:0", "event": '{"Email": "ada@example.com"}'}
    _, page = await desk.post("/tools/playground", **wanted, yaml=edited)
    assert "ada@example.com" in page
    assert page.count("${CRM_TOKEN}") >= 2
    assert CRM_TOKEN not in page
    _, page = await desk.post("/tools/playground", **wanted, yaml="to: crm\nfields: {mail: Emial}")
    assert "did you mean `Email`?" in page.replace("&#96;", "`")
    await desk.send()
    await desk.settled()
    assert "mail" not in desk.crm.records[0]


async def test_no_page_asks_the_store_twice(desk: Desk) -> None:
    asked = Counter[tuple[str, str]]()

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        asked[statement, repr(parameters)] += threading.current_thread().name.startswith("query")

    await log_in(desk)
    event.listen(Engine, "before_cursor_execute", note)
    try:
        for path in PAGES:
            asked.clear()
            await desk.see(path)
            assert set(asked.values()) <= {0, 1}, f"{path}: {asked.most_common(1)}"
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_logging_out_ends_the_session(desk: Desk) -> None:
    await log_in(desk)
    kept = {each.key: each.value for each in desk.session.cookie_jar}
    await desk.post("/logout")
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items())}
    assert (await desk.ask("GET", "/", token=None, headers=headers))[0] == 303


async def test_guessing_is_bounded_at_the_login(desk: Desk) -> None:
    for _ in range(10):
        assert (await desk.post("/login", token="wrong"))[0] == 401
    assert (await desk.post("/login", token="wrong"))[0] == 429
    assert (await desk.post("/login", token=OPERATOR))[0] == 200


async def test_a_removed_destination_and_a_warning_are_shown(desk: Desk, tmp_path: Path) -> None:
    for _ in range(2):
        await desk.send()
    await desk.settled()
    gone, warned = sorted(each["id"] for each in (await desk.ask("GET", "/api/deliveries"))[1]["deliveries"])
    with SqliteDriver(make_url(f"sqlite:///{tmp_path}/leadbridge.db")).engine().begin() as connection:
        connection.exec_driver_sql(
            "UPDATE deliveries SET destination = 'gone', route = 'gone', state = 'pending', due_at = 1.0, "
            f"settled_at = NULL WHERE id = {gone}"
        )
        connection.exec_driver_sql(f"UPDATE deliveries SET warning = 'Ada is no city' WHERE id = {warned}")
        connection.exec_driver_sql(
            "INSERT INTO lanes (name, paused_by, pause_reason, paused_until) "
            "VALUES ('gone', 'lane', 'unreachable', 1.0)"
        )
    lanes = {each["name"]: each for each in (await desk.ask("GET", "/api/lanes"))[1]["lanes"]}
    waits = "no longer configured: 1 delivery waits; move or discard it"
    assert (lanes["gone"]["state"], lanes["gone"]["reason"]) == ("removed", waits)
    assert (lanes["gone"]["configured"], lanes["gone"]["paused_until"]) == (False, None)

    async def found(query: str) -> list[int]:
        status, page = await desk.ask("GET", f"/api/deliveries?{query}", token=VIEWER)
        assert status == 200
        assert "Ada" not in str(page)
        return [each["id"] for each in page["deliveries"]]

    assert (await found("warning=true"), await found("warning=false")) == ([warned], [gone])
    assert (await desk.ask("GET", "/api/deliveries?warning=perhaps"))[0] == 400
    await log_in(desk, VIEWER)
    for path in ("/", "/destinations"):
        assert "no longer configured" in (await desk.see(path))[1], path
    _, listed = await desk.see("/leads?state=pending&destination=gone")
    assert '<span class="state removed">gone: waiting</span>' in listed
    _, listed = await desk.see("/leads?state=warning")
    assert '<span class="state warned">crm: delivered with a warning' in listed
    assert "Ada" not in listed
