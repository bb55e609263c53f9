"""The page of one lead in a real browser: copying, the quarter of an hour of a reveal, and what is asked first."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import Dashboard
from tests.browser.person import Person
from tests.building import lead

pytestmark = pytest.mark.thorough

EMAIL = "ada@example.com"


async def open_lead(dashboard: Dashboard, person: Person) -> str:
    """Log in and go to the newest lead; return its id."""
    await person.log_in()
    event: str = (await dashboard.ask("/api/events"))["events"][0]["id"]
    await person.page.goto(f"/leads/{event}")
    return event


async def test_what_a_person_needs_elsewhere_is_copied(dashboard: Dashboard, person: Person) -> None:
    await dashboard.delivered(Email=EMAIL)
    await person.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    event = await open_lead(dashboard, person)
    page, said = person.page, person.page.locator("#copied")
    await expect(page.get_by_role("button", name="Copy the e-mail address")).to_have_count(0)
    await person.tab_to("Copy the id")
    await page.keyboard.press("Enter")
    await expect(said).to_have_text("Copied the id")
    assert await page.evaluate("navigator.clipboard.readText()") == event
    await page.get_by_role("button", name="Show personal data").click()
    for name, text in (("the e-mail address", EMAIL), ("the phone number", "+1 202 555 0123")):
        await page.get_by_role("button", name=f"Copy {name}").click()
        await expect(said).to_have_text(f"Copied {name}")
        assert await page.evaluate("navigator.clipboard.readText()") == text
    await page.get_by_role("button", name="Copy the JSON").click()
    await expect(said).to_have_text("Copied the JSON")
    assert await page.evaluate("navigator.clipboard.readText().then(text => JSON.parse(text).Email)") == EMAIL
    assert await said.get_attribute("aria-live") == "polite"


async def test_it_is_copied_where_a_page_has_no_clipboard_too(dashboard: Dashboard, person: Person) -> None:
    """As over plain HTTP from another machine."""
    await dashboard.delivered(Email=EMAIL)
    await person.page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    await open_lead(dashboard, person)
    await person.page.get_by_role("button", name="Copy the id").click()
    await expect(person.page.locator("#copied")).to_have_text("Copied the id")


async def test_a_reveal_outlives_a_reload_and_says_until_when(dashboard: Dashboard, person: Person) -> None:
    await dashboard.delivered(Email=EMAIL)
    await open_lead(dashboard, person)
    page = person.page
    await page.get_by_role("button", name="Show personal data").click()
    await expect(page.locator("#content")).to_contain_text("Personal data is shown until")
    await page.reload()
    await expect(page.locator("#content")).to_contain_text(EMAIL)
    await page.get_by_text("What was sent and answered at try 1").click()
    await expect(page.locator(".exchange pre").first).to_contain_text(EMAIL)
    entries = (await dashboard.ask("/api/audit?action=reveal"))["entries"]
    assert len(entries) == 1
    await page.get_by_role("button", name="Mask it now").click()
    await expect(page.locator("#content")).to_contain_text("Personal data is masked")
    await expect(page.locator("main")).not_to_contain_text(EMAIL)


async def test_discarding_and_sending_again_ask_first_without_javascript(
    dashboard: Dashboard, browser: Browser
) -> None:
    await dashboard.dead(lead(Email=EMAIL))
    person = Person(await browser.new_page(base_url=dashboard.url, java_script_enabled=False))
    page = person.page
    await open_lead(dashboard, person)
    await expect(page.get_by_role("button", name="Copy the id")).to_have_count(0)
    await page.get_by_role("button", name="Discard…").click()
    await expect(person.heading("Discard?")).to_be_visible()
    await page.get_by_role("link", name="No, back to the lead").click()
    await expect(page.locator("#answer")).to_contain_text("Not in crm.")
    await page.get_by_role("button", name="Discard…").click()
    await page.get_by_role("button", name="Discard it").click()
    await expect(page.get_by_role("status")).to_contain_text("is discarded")
    await expect(page.locator("#answer")).to_contain_text("somebody discarded it")
    await dashboard.delivered(Email="bob@example.com")
    before = len(dashboard.crm.ledger)
    await open_lead(dashboard, person)
    await page.get_by_role("button", name="Replay to crm…").click()
    await expect(person.heading("Send again?")).to_be_visible()
    assert len(dashboard.crm.ledger) == before
    await page.get_by_role("button", name="Send it again to crm").click()
    await expect(page.get_by_role("status")).to_contain_text("is pending and due now")
    await dashboard.until(lambda found: len(dashboard.crm.ledger) > before and not found["pending"])
    assert person.complaints == []


async def test_the_question_is_open_to_all(dashboard: Dashboard, person: Person) -> None:
    await dashboard.dead(lead(Email=EMAIL))
    await open_lead(dashboard, person)
    await person.page.get_by_role("button", name="Discard…").click()
    await expect(person.heading("Discard?")).to_be_visible()
    assert await person.barriers() == []
    assert await person.overflow() == 0
    await person.page.go_back()
    await person.page.get_by_role("link", name="Try it in the playground").click()
    await expect(person.page).to_have_url(re.compile(r"/tools/playground\?event=[0-9a-f]{32}$"))
    await expect(person.heading("Mapping playground")).to_be_visible()
