"""What the dashboard is for: find a lead, read why it failed, fix the cause, replay it, see it arrive."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from bridge.admin.query_threads import QueryThreads
from bridge.operations.bulk import Bulk
from bridge.store import commands
from connectors.testing import Fault
from tests.browser.conftest import SECONDS, VIEWER, Dashboard
from tests.browser.person import Person
from tests.building import lead

MILLISECONDS = SECONDS * 1000


@pytest.mark.parametrize("who", ["ada.lovelace@example.com", "Lovelace@"])
async def test_a_failed_lead_is_found_mended_and_seen_to_arrive(dashboard: Dashboard, person: Person, who: str) -> None:
    await dashboard.dead(lead(Email="ada.lovelace@example.com"), lead(Email="grace@example.com"))
    await person.log_in()
    await person.find(who)
    await person.open_found()
    await expect(person.page.locator(".why").first).to_contain_text("mapping: field `phone`: required, but empty")
    assert not dashboard.crm.ledger
    await dashboard.mend()
    # The answer is late, so that the page is there before it.
    dashboard.crm.faults.next(Fault.slow(1.0))
    await person.page.get_by_role("button", name="Replay to crm").click()
    await expect(person.page.get_by_role("status")).to_contain_text("is pending and due now")
    state = person.page.get_by_role("heading", name="crm")
    await expect(state).to_contain_text("pending")
    await person.page.evaluate("window.loaded = 'once'")
    await person.page.get_by_text("The record under the configuration in use").click()
    await person.page.get_by_role("heading", name="What the visitor sent").click()
    await expect(state).to_contain_text("delivered", timeout=MILLISECONDS)
    assert await person.page.evaluate("window.loaded") == "once"
    await expect(person.page.locator("main details")).to_have_attribute("open", "")
    assert [each.fields["email"] for each in dashboard.crm.records] == ["ada.lovelace@example.com"]


async def test_five_hundred_dead_letters_are_replayed_with_progress(
    dashboard: Dashboard, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Five steps, each when the page has shown the one before.
    monkeypatch.setattr(commands, "IDS_LIMIT", 100)
    steps, change = asyncio.Semaphore(0), QueryThreads.change

    async def one_by_one(query_threads: QueryThreads, work: Any, **options: Any) -> Any:
        if getattr(getattr(work, "func", None), "__func__", None) is Bulk.step:
            await steps.acquire()
        return await change(query_threads, work, **options)

    monkeypatch.setattr(QueryThreads, "change", one_by_one)
    await dashboard.dead(*(lead() for _ in range(500)))
    await dashboard.mend()
    await person.log_in()
    await person.page.get_by_role("link", name="Problems").click()
    await expect(person.page.get_by_role("link", name="500 deliveries")).to_be_visible()
    await person.page.get_by_role("button", name="Replay all …").click()
    await person.page.get_by_role("button", name="Yes, replay 500").click()
    await expect(person.heading("Run 1")).to_be_visible()
    await person.page.evaluate("window.loaded = 'once'")
    run = person.page.locator("#run")
    for done in (0, 100, 200, 300, 400):
        await expect(run).to_contain_text(f"Replay: {done} of 500, running", timeout=MILLISECONDS)
        await expect(person.page.get_by_role("progressbar")).to_have_attribute("value", str(done))
        steps.release()
    steps.release()
    await expect(run).to_contain_text("Replay: 500 of 500, done", timeout=MILLISECONDS)
    await expect(person.page.get_by_role("progressbar")).to_have_attribute("value", "500")
    assert await person.page.evaluate("window.loaded") == "once"
    await person.page.get_by_role("link", name="Home").click()
    numbers = person.page.locator(".numbers")
    await expect(numbers).to_contain_text("Not delivered\n0", use_inner_text=True, timeout=MILLISECONDS)
    await expect(numbers).to_contain_text("Delivered, 24 h\n500", use_inner_text=True, timeout=MILLISECONDS)
    assert len(dashboard.crm.records) == 500


async def test_a_lead_that_never_arrived_is_found_by_the_report(dashboard: Dashboard, person: Person) -> None:
    await dashboard.delivered()
    await dashboard.dead(lead(Email="ada@example.com"))
    await person.log_in()
    await person.page.get_by_role("link", name="Tools").click()
    await person.page.get_by_role("link", name="Report").click()
    await person.page.locator("select[name=chatbot]").select_option("acme")
    await person.page.get_by_role("button", name="Show").click()
    counted = person.page.get_by_role("region", name="By chatbot and destination")
    await expect(counted.locator("tbody tr td")).to_have_text(["acme", "crm", "2", "1", "0", "1", "0", "0"])
    await counted.get_by_role("link", name="1").click()
    await person.open_found()
    await expect(person.page.locator(".why").first).to_contain_text("mapping: field `phone`: required, but empty")


async def test_the_keyboard_is_enough(dashboard: Dashboard, person: Person) -> None:
    await dashboard.dead(lead(Email="ada@example.com"))
    await dashboard.mend()
    keyboard = person.page.keyboard
    await person.page.goto("/login")
    await keyboard.type("the-token-of-an-operator")
    await keyboard.press("Enter")
    await expect(person.heading("Home")).to_be_visible()
    assert await person.tab_to("Leads") == ["Skip to the content", "Home", "Leads"]
    await keyboard.press("Enter")
    await expect(person.heading("Leads")).to_be_visible()
    await person.tab_to("Skip")
    await keyboard.press("Enter")
    passed = await person.tab_to("State")
    assert passed == ["State"], "the skip link leads past the menu"
    # A date has a stop for each of its parts.
    passed = list(dict.fromkeys(await person.tab_to("Show")))
    assert passed == ["Chatbot", "Destination", "Received", "From", "To", "Show"]
    await person.page.goto("/leads")
    await person.tab_to("Find a lead")
    await keyboard.type("ada@")
    await keyboard.press("Enter")
    await expect(person.heading("Leads like “ada@”")).to_be_visible()
    await expect(person.results()).to_have_count(1)
    await person.tab_to(await person.results().inner_text())
    await keyboard.press("Enter")
    await expect(person.page.locator("#answer")).to_contain_text("Not in crm.")
    await person.tab_to("Replay to crm")
    await keyboard.press("Enter")
    await expect(person.page.get_by_role("status")).to_contain_text("is pending and due now")
    await expect(person.page.get_by_role("heading", name="crm")).to_contain_text("delivered", timeout=MILLISECONDS)


async def test_it_works_without_javascript(dashboard: Dashboard, browser: Browser) -> None:
    await dashboard.dead(lead(Email="ada@example.com"), *(lead() for _ in range(3)))
    await dashboard.mend()
    person = Person(await browser.new_page(base_url=dashboard.url, java_script_enabled=False))
    await person.log_in()
    await person.find("ada@example.com")
    await person.open_found()
    await person.page.get_by_role("button", name="Show personal data").click()
    await expect(person.page.get_by_text("ada@example.com").first).to_be_visible()
    await person.page.get_by_role("button", name="Replay to crm").click()
    await expect(person.page.get_by_role("status")).to_contain_text("is pending and due now")
    await dashboard.until(lambda found: dashboard.crm.records and not found["pending"])
    await person.page.reload()
    await expect(person.page.get_by_role("heading", name="crm")).to_contain_text("delivered")
    await person.page.goto("/problems")
    await person.page.get_by_role("button", name="Discard all …").click()
    await person.page.get_by_role("button", name="Yes, discard 3").click()
    await expect(person.heading("Run 1")).to_be_visible()
    await person.page.get_by_role("button", name="Log out").click()
    await expect(person.heading("Log in")).to_be_visible()
    assert person.complaints == []


async def test_a_viewer_looks_and_cannot_act(dashboard: Dashboard, person: Person) -> None:
    await dashboard.dead(lead(Email="ada@example.com", FirstName="Adalbert"))
    await person.log_in(VIEWER)
    event = (await dashboard.ask("/api/events"))["events"][0]["id"]
    for path in (
        "/",
        "/leads",
        f"/leads/{event}",
        "/problems",
        "/problems/quarantine",
        "/tools/report",
        "/tools/configuration",
    ):
        await person.page.goto(path)
        buttons = await person.page.get_by_role("button").all_inner_texts()
        assert set(buttons) <= {"Log out (viewer)", "Find", "Search", "Show", "Copy the id"}, path
        assert "Adalbert" not in await person.page.content()
        for name in ("Playground", "Audit"):
            await expect(person.page.get_by_role("link", name=name)).to_have_count(0)
    await person.find("ada@example.com")
    await expect(person.results()).to_have_count(1)
    assert person.complaints == []
    orders = (
        "/deliveries/1/replay",
        "/deliveries/1/discard",
        "/destinations/crm/pause",
        "/problems",
    )
    for path in (*orders, f"/leads/{event}"):
        # As the page's own forms would.
        status = await person.page.evaluate(
            """path => {
              const body = new URLSearchParams({action: "replay"});
              return fetch(path, {method: "POST", body})
                .then(answer => answer.text().then(() => answer.status));
            }""",
            path,
        )
        assert status == 403, path
    await person.find("ada@")
    await expect(person.page.get_by_role("alert")).to_contain_text("only operators")
    assert await person.barriers() == []
    overview = await dashboard.ask("/api/overview")
    assert (overview["dead"], overview["lanes"][0]["state"]) == (1, "running")
    assert all("403" in each for each in person.complaints)
    person.complaints.clear()
