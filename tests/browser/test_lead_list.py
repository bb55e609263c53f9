"""The list of leads as somebody works with it: rows that stay, a selection, days and files."""

import asyncio
import csv
import io
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import SECONDS, Dashboard
from tests.browser.person import OPERATOR, Person
from tests.building import lead

pytestmark = pytest.mark.thorough

MILLISECONDS = SECONDS * 1000


async def test_rows_stay_under_updates_and_a_link_loads_the_new_ones(dashboard: Dashboard, person: Person) -> None:
    await dashboard.dead(lead(FirstName="Ada", LastName="Lovelace"))
    await person.log_in()
    page = person.page
    await page.goto("/leads")
    await expect(page.locator("main tbody tr")).to_have_count(1)
    ada = page.locator("main tbody tr", has_text="Ada L.")
    await ada.get_by_role("checkbox").check()
    await ada.get_by_role("link").focus()
    await dashboard.delivered(FirstName="Grace", LastName="Hopper")
    news = page.get_by_role("link", name="1 new lead")
    await expect(news).to_be_visible(timeout=MILLISECONDS)
    await expect(page.locator("main tbody tr")).to_have_count(1)
    (discarded,) = (await dashboard.ask("/api/deliveries?state=dead"))["deliveries"]
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    url = f"{dashboard.url}/api/deliveries/{discarded['id']}/discard"
    async with dashboard.session.post(url, headers=headers) as answer:
        assert answer.status == 200
    await expect(ada).to_contain_text("crm: discarded", timeout=MILLISECONDS)
    await expect(ada.get_by_role("checkbox")).to_be_checked()
    await expect(ada.get_by_role("link")).to_be_focused()
    assert await person.barriers() == []
    await news.click()
    await expect(page.locator("main tbody tr")).to_have_count(2)
    await expect(news).to_have_count(0)


async def test_leads_are_selected_and_replayed_by_keyboard(dashboard: Dashboard, person: Person) -> None:
    await dashboard.dead(*(lead() for _ in range(3)))
    await person.log_in()
    page = person.page
    await page.goto("/leads?state=dead")
    every = page.get_by_label("Select all 3 on this page")
    await every.focus()
    await person.tab_to("Select ")
    await page.keyboard.press("Space")
    await person.tab_to("Select ")
    await page.keyboard.press("Space")
    await expect(page.get_by_text("2 selected")).to_be_visible()
    await page.keyboard.press("Space")
    await expect(page.get_by_text("1 selected")).to_be_visible()
    assert await every.evaluate("each => each.indeterminate")
    await every.focus()
    await page.keyboard.press("Space")
    await expect(page.get_by_text("3 selected")).to_be_visible()
    await person.tab_to("Replay")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Replay 3 deliveries of 3 leads to crm.")).to_be_visible()
    assert await person.barriers() == []
    await dashboard.mend()
    await person.tab_to("Yes, replay 3")
    await page.keyboard.press("Enter")
    await expect(page.locator("#run")).to_contain_text("3 of 3, done", timeout=MILLISECONDS)
    await page.get_by_role("link", name="Back to the leads").click()
    assert page.url.endswith("/leads?state=dead")
    await dashboard.until(lambda found: not found["pending"] and not found["dead"])
    assert len(dashboard.crm.records) == 3


async def test_one_box_less_than_all_is_not_all(dashboard: Dashboard, person: Person) -> None:
    await dashboard.dead(*(lead() for _ in range(3)))
    await person.log_in()
    page = person.page
    await page.goto("/leads")
    every = page.get_by_label("Select all 3 on this page")
    await every.check()
    await page.locator("main tbody").get_by_role("checkbox").first.uncheck()
    await expect(every).not_to_be_checked()
    await page.get_by_role("button", name="Discard …").click()
    await expect(page.get_by_text("Discard 2 deliveries of 2 leads at crm.")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_text("2 selected")).to_be_visible()


async def test_all_of_it_works_without_a_script(dashboard: Dashboard, browser: Browser) -> None:
    await dashboard.dead(*(lead() for _ in range(2)))
    context = await browser.new_context(base_url=dashboard.url, java_script_enabled=False)
    page = await context.new_page()
    person = Person(page)
    await person.log_in()
    await page.goto("/leads")
    await page.get_by_label("State").select_option("dead")
    await page.get_by_label("Received").select_option("7")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("Days begin at midnight, UTC.")).to_be_visible()
    await expect(page.locator("main tbody tr")).to_have_count(2)
    await page.get_by_label("Select all 2 on this page").check()
    await page.get_by_role("button", name="Discard …").click()
    await page.get_by_role("button", name="Yes, discard 2").click()
    await dashboard.until(lambda found: not found["dead"])
    await page.get_by_role("link", name="Back to the leads").click()
    await expect(page.get_by_text("No lead matches.")).to_be_visible()
    await context.close()
    assert person.complaints == []


async def test_days_are_those_of_a_reader_in_tokyo(dashboard: Dashboard, browser: Browser) -> None:
    await dashboard.delivered()
    context = await browser.new_context(base_url=dashboard.url, timezone_id="Asia/Tokyo", locale="en-GB")
    page = await context.new_page()
    person = Person(page)
    await person.log_in()
    await page.goto("/leads")
    await expect(page.get_by_text("Days begin at midnight, Asia/Tokyo.")).to_be_visible()
    today = await page.evaluate("() => new Date().toLocaleDateString('sv-SE', { timeZone: 'Asia/Tokyo' })")
    await page.get_by_label("From").fill(today)
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("Days begin at midnight, Asia/Tokyo.")).to_be_visible()
    assert "zone=Asia%2FTokyo" in page.url
    await expect(page.locator("main tbody tr a")).to_have_count(1)
    await page.get_by_label("From").fill("")
    await page.get_by_label("To", exact=True).fill("2026-01-01")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("No lead matches.")).to_be_visible()
    await context.close()
    assert person.complaints == []


async def test_a_file_of_the_filter_is_downloaded(dashboard: Dashboard, person: Person) -> None:
    await dashboard.delivered(FirstName="Grace", LastName="Hopper", Email="grace@example.com")
    await dashboard.dead(lead(FirstName="Ada"))
    await person.log_in()
    page = person.page
    await page.goto("/leads?state=delivered")

    async def lines(press: Callable[[], Awaitable[None]]) -> list[list[str]]:
        async with page.expect_download() as saving:
            await press()
        saved = await saving.value
        assert saved.suggested_filename == "leads.csv"
        text = await asyncio.to_thread(Path(await saved.path()).read_text, encoding="utf-8-sig")
        return list(csv.reader(io.StringIO(text, newline="")))[1:]

    ((*masked,),) = await lines(page.get_by_role("link", name="Download as CSV").click)
    assert "H." in masked
    ((*whole,),) = await lines(page.get_by_role("button", name=re.compile("with personal data")).click)
    assert {"Hopper", "grace@example.com"} <= set(whole)
