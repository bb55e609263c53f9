"""The page of one lead: for how long it is shown, what was sent and answered, and what it asks first."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy.engine import make_url

from bridge.admin.dashboard import reveals
from bridge.store.sqlite import SqliteDriver
from tests.admin.conftest import CRM_TOKEN, OPERATOR, VIEWER, Desk
from tests.admin.test_pages import log_in

BUTTON = "Show personal data for 15 minutes"


async def received(desk: Desk, **fields: Any) -> str:
    """Send a lead, wait until it is delivered, and return its id."""
    await desk.send(**fields)
    await desk.settled()
    event: str = (await desk.ask("GET", "/api/events"))[1]["events"][0]["id"]
    return event


async def reveal_entries(desk: Desk) -> list[str]:
    entries = (await desk.ask("GET", "/api/audit?action=reveal"))[1]["entries"]
    return [each["subject_id"] for each in entries]


async def test_a_lead_is_shown_for_a_quarter_of_an_hour_after_one_entry(desk: Desk) -> None:
    event, other = await received(desk, Email="ada@example.com"), await received(desk, Email="bob@example.com")
    await log_in(desk)
    shown = (await desk.post(f"/leads/{event}"))[1]
    assert "ada@example.com" in shown
    assert "Personal data is shown until" in shown
    for _ in range(3):
        assert "ada@example.com" in (await desk.see(f"/leads/{event}"))[1]
    await desk.post(f"/leads/{event}")
    assert await reveal_entries(desk) == [event]
    assert "bob@example.com" not in (await desk.see(f"/leads/{other}"))[1]
    masked = (await desk.post(f"/leads/{event}/mask"))[1]
    assert BUTTON in masked
    assert "ada@example.com" not in masked
    await desk.post(f"/leads/{event}")
    desk.session.cookie_jar.clear()
    await log_in(desk)
    assert "ada@example.com" not in (await desk.see(f"/leads/{event}"))[1], "another session"


async def test_after_its_time_a_lead_is_masked_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    event = await received(desk, Email="ada@example.com")
    await log_in(desk)
    monkeypatch.setattr(reveals, "REVEAL_SECONDS", 0.0)
    masked = (await desk.post(f"/leads/{event}"))[1]
    assert "ada@example.com" not in masked
    assert BUTTON in masked


async def test_the_leads_that_are_shown_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await received(desk, Email="ada@example.com"), await received(desk, Email="bob@example.com")
    await log_in(desk)
    monkeypatch.setattr(reveals, "REVEALS_LIMIT", 1)
    for event in (first, second):
        await desk.post(f"/leads/{event}")
    assert "ada@example.com" not in (await desk.see(f"/leads/{first}"))[1]
    assert "bob@example.com" in (await desk.see(f"/leads/{second}"))[1]


async def test_an_operator_sees_what_was_sent_and_answered(desk: Desk) -> None:
    event = await received(desk, Email="ada@example.com", FirstName="Adalbert")
    await log_in(desk)
    masked = (await desk.see(f"/leads/{event}"))[1]
    assert "What was sent and answered" not in masked
    assert "Requests and answers are kept for 7 days;" in masked
    shown = (await desk.post(f"/leads/{event}"))[1]
    sent, answer = re.findall(r'<pre tabindex="0" dir="auto">(.*?)</pre>', shown, re.DOTALL)
    assert orjson.loads(sent.replace("&#34;", '"')) == desk.crm.records[0]
    assert orjson.loads(answer.replace("&#34;", '"')) == {"id": 1}
    assert CRM_TOKEN not in shown


async def test_the_api_shows_them_to_operators_once_revealed(desk: Desk) -> None:
    await received(desk, Email="ada@example.com")
    (delivery,) = (await desk.ask("GET", "/api/deliveries"))[1]["deliveries"]
    path = f"/api/deliveries/{delivery['id']}"
    for token in (OPERATOR, VIEWER):
        found = (await desk.ask("GET", path, token))[1]["attempts"]
        assert [each["exchanges"] for each in found] == [[]]
    assert (await desk.ask("GET", f"{path}?reveal=true", VIEWER))[0] == 403
    (attempt,) = (await desk.ask("GET", f"{path}?reveal=true"))[1]["attempts"]
    (exchange,) = attempt["exchanges"]
    assert (exchange["method"], exchange["url"], exchange["status"]) == ("POST", desk.crm.url, 200)
    assert orjson.loads(exchange["sent"]) == desk.crm.records[0]
    assert orjson.loads(exchange["received"]) == {"id": 1}
    assert exchange["shared"] is False


async def test_each_field_says_where_it_comes_from(desk: Desk) -> None:
    event = await received(desk, Email="ada@example.com", FirstName="Adalbert", LastName="García", Content="Hello")
    await log_in(desk)
    masked = (await desk.see(f"/leads/{event}"))[1]
    assert "<code>Email</code>" in masked
    assert "a•••@•••" in masked
    assert "Garc" not in masked
    shown = (await desk.post(f"/leads/{event}"))[1]
    assert "<code>Email</code> &#34;ada@example.com&#34;</td><th" in shown
    assert "<code>{{ FirstName }} {{ LastName }}</code> &#34;Adalbert García&#34;" in shown
    assert re.search(r"No field is made from .*Content", shown)


async def test_discarding_asks_first(desk: Desk) -> None:
    await desk.send(Email="")
    await desk.settled()
    (delivery,) = (await desk.ask("GET", "/api/deliveries?state=dead"))[1]["deliveries"]
    await log_in(desk)
    path, said = f"/deliveries/{delivery['id']}/discard", {"event": delivery["event"]}
    asked = (await desk.post(path, **said))[1]
    assert "<h1>Discard?</h1>" in asked
    assert f'href="/leads/{delivery["event"]}"' in asked
    assert (await desk.ask("GET", "/api/deliveries?state=discarded"))[1]["deliveries"] == []
    done = (await desk.post(path, **said, sure="yes"))[1]
    assert "was dead, is discarded" in done
    assert "Not in crm: somebody discarded it." in done


async def test_sending_a_delivered_lead_again_asks_first(desk: Desk) -> None:
    event = await received(desk)
    (delivery,) = (await desk.ask("GET", "/api/deliveries"))[1]["deliveries"]
    await log_in(desk)
    path, said = f"/deliveries/{delivery['id']}/replay", {"event": event}
    asked = (await desk.post(path, **said))[1]
    assert "<h1>Send again?</h1>" in asked
    assert len(desk.crm.records) == 1
    assert "is pending and due now" in (await desk.post(path, **said, sure="yes"))[1]
    await desk.settled()
    assert len(desk.crm.records) == 2
    assert "In crm, at try 2." in (await desk.see(f"/leads/{event}"))[1]


async def test_a_lead_that_waits_says_since_when(desk: Desk, tmp_path: Path) -> None:
    event = await received(desk)
    await log_in(desk)
    await desk.post("/destinations/crm/pause")
    with SqliteDriver(make_url(f"sqlite:///{tmp_path}/leadbridge.db")).engine().begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET state = 'pending', due_at = 9e9, settled_at = NULL")
    shown = (await desk.see(f"/leads/{event}"))[1]
    assert re.search(r"Leads wait until somebody resumes it\. Paused since <time datetime=\S+Z", shown)


async def test_a_lead_links_to_the_playground(desk: Desk) -> None:
    event = await received(desk)
    await log_in(desk)
    link = f'href="/tools/playground?event={event}"'
    assert link in (await desk.see(f"/leads/{event}"))[1]
    desk.session.cookie_jar.clear()
    await log_in(desk, VIEWER)
    assert link not in (await desk.see(f"/leads/{event}"))[1]


async def test_a_constant_from_a_variable_is_shown_as_its_name(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    text = file.read_text()
    file.write_text(
        text.replace("          name: ", '          planted_constant: {value: "${CRM_TOKEN}"}\n          name: ')
    )
    desk.bridge.configuration.ask()
    await log_in(desk)
    event = await received(desk)
    while "planted_constant" not in (page := (await desk.post(f"/leads/{event}"))[1]):
        pass
    assert "${CRM_TOKEN}" in page
    assert CRM_TOKEN not in page
    assert "Ada Lovelace" in page or "García" in page
