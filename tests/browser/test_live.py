"""Pages under a person's hands: they go on by themselves, leave alone what is held, and say when they cannot go on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from bridge import app
from bridge.config.reload import load_files
from connectors.testing import Sandbox
from tests.browser.conftest import CONFIG, SECONDS, VIEWER, Dashboard
from tests.browser.person import OPERATOR, Person
from tests.building import KEY, SERIAL, lead

pytestmark = pytest.mark.thorough

MILLISECONDS = SECONDS * 1000
SELECTED = "() => getSelection().toString()"
SELECT = """selector => {
  const range = document.createRange();
  range.selectNodeContents(document.querySelector(selector));
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}"""


async def rows(page: Page, count: int) -> None:
    await expect(page.locator("main tbody tr")).to_have_count(count, timeout=MILLISECONDS)


async def test_selection_and_focus_survive_and_the_page_goes_on_around_them(
    dashboard: Dashboard, person: Person
) -> None:
    await dashboard.delivered(FirstName="Ada", LastName="Lovelace", Email="ada@example.com")
    await dashboard.delivered(FirstName="Grace", LastName="Hopper", Email="grace@example.com")
    await person.log_in()
    page = person.page
    await page.goto("/chatbots/acme")
    await rows(page, 2)
    first = page.locator("main tbody tr", has_text="Grace")
    await first.get_by_role("link").focus()
    await page.evaluate(SELECT, "main tbody tr:nth-child(2) td a")
    await dashboard.delivered(FirstName="Mary", Email="mary@example.com")
    await rows(page, 3)
    assert (await page.evaluate(SELECTED)).startswith("Ada L.")
    await expect(first.get_by_role("link")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(person.heading("Grace H. · g…@example.com")).to_be_visible()


async def test_a_selected_text_changes_once_it_is_let_go(dashboard: Dashboard, person: Person) -> None:
    await person.log_in()
    page = person.page
    number = ".numbers dd"
    await expect(page.locator(number).first).to_have_text("0")
    await page.evaluate(SELECT, number)
    await dashboard.delivered()
    await expect(page.locator(number).nth(1)).to_have_text("1", timeout=MILLISECONDS)
    assert await page.evaluate(SELECTED) == "0"
    await page.evaluate("() => getSelection().removeAllRanges()")
    await expect(page.locator(number).first).to_have_text("1", timeout=MILLISECONDS)


async def test_an_open_page_asks_for_little(dashboard: Dashboard, person: Person) -> None:
    await dashboard.delivered()
    await person.log_in()
    statuses: asyncio.Queue[int] = asyncio.Queue()
    person.page.on("response", lambda each: statuses.put_nowait(each.status))
    for _ in range(2):
        async with asyncio.timeout(SECONDS):
            assert await statuses.get() == 304


async def test_ages_grow_though_nothing_is_sent(dashboard: Dashboard, person: Person) -> None:
    await dashboard.delivered()
    await person.log_in()
    await person.page.goto("/chatbots/acme")
    age = person.page.locator("main tbody time[data-age]")
    before = await age.inner_text()
    await expect(age).not_to_have_text(before, timeout=MILLISECONDS)


async def test_a_session_that_ended_says_so_and_leads_back_to_the_page(dashboard: Dashboard, person: Person) -> None:
    await person.log_in()
    page = person.page
    await page.goto("/leads?state=dead")
    await page.context.clear_cookies()
    ended = page.get_by_text("Your session has ended")
    await expect(ended).to_be_visible(timeout=MILLISECONDS)
    await expect(page.get_by_text("The bridge does not answer")).to_be_hidden()
    assert await person.barriers() == []
    await page.get_by_role("link", name="Log in again").click()
    await page.get_by_label("Token").fill(OPERATOR)
    await page.get_by_role("button", name="Log in").click()
    await expect(person.heading("Leads")).to_be_visible()
    assert page.url.endswith("/leads?state=dead")


async def test_a_page_goes_on_after_a_login_in_another_tab(dashboard: Dashboard, browser: Browser) -> None:
    context = await browser.new_context(base_url=dashboard.url)
    person = Person(page := await context.new_page())
    await person.log_in()
    await page.goto("/destinations/crm")
    await context.clear_cookies()
    ended = page.get_by_text("Your session has ended")
    await expect(ended).to_be_visible(timeout=MILLISECONDS)
    await Person(await context.new_page()).log_in()
    await page.bring_to_front()
    await expect(ended).to_be_hidden(timeout=MILLISECONDS)
    # Its forms have the token of the new session.
    await page.get_by_role("button", name="Pause crm").click()
    await expect(page.get_by_role("button", name="Resume crm")).to_be_visible()


@contextlib.asynccontextmanager
async def served(file: Path) -> AsyncIterator[app.Running]:
    config, files = load_files(file, {"ADMIN": OPERATOR, "VIEWER": VIEWER, "KEY": KEY.decode()})
    async with app.running(config, files) as running:
        yield running


async def test_a_bridge_that_is_gone_is_said_to_be_and_the_page_goes_on_when_it_is_back(
    tmp_path: Path, browser: Browser
) -> None:
    (tmp_path / "store").mkdir()
    async with Sandbox(key="email") as crm, aiohttp.ClientSession() as session:
        file = tmp_path / "config.yaml"
        file.write_text(CONFIG.format(folder=tmp_path, url=crm.url, serial=SERIAL, required=""))
        async with served(file) as running:
            file.write_text(file.read_text().replace('admin: "127.0.0.1:0"', f'admin: "{running.admin}"'))
            person = Person(await browser.new_page(base_url=f"http://{running.admin}"))
            await person.log_in()
        gone = person.page.get_by_text("The bridge does not answer")
        await expect(gone).to_be_visible(timeout=MILLISECONDS)
        await expect(person.page.get_by_text("Your session has ended")).to_be_hidden()
        assert await person.barriers() == []
        async with served(file) as running:
            await expect(gone).to_be_hidden(timeout=MILLISECONDS)
            await Dashboard(running, crm, file, session).send(lead(PhoneNumber="+1 202 555 0123"))
            await expect(person.page.locator(".numbers dd").first).to_have_text("1", timeout=MILLISECONDS)


@pytest.mark.parametrize("width", [320, *(pytest.param(each, marks=pytest.mark.thorough) for each in (390, 640))])
async def test_a_phone_has_a_bar_of_four_entries(dashboard: Dashboard, person: Person, width: int) -> None:
    """A window of 1280 pixels at 200 % zoom is one of 640."""
    await dashboard.delivered()
    await dashboard.dead(lead(), lead(Email="ada@example.com"))
    page = person.page
    await person.log_in()
    await page.set_viewport_size({"width": width, "height": 640})
    bar = page.get_by_role("navigation", name="Main")
    entries = bar.locator("> a:visible, > details > summary")
    await expect(entries).to_have_text(["Home", "Leads", "Problems (1)", "More"])
    boxes = [await each.bounding_box() for each in await entries.all()]
    assert all(box and box["y"] + box["height"] >= 639 and box["height"] >= 44 for box in boxes)
    event = (await dashboard.ask("/api/events"))["events"][0]["id"]
    for path in ("/", "/leads", f"/leads/{event}", "/chatbots", "/chatbots/acme", "/destinations", "/destinations/crm",
                 "/problems", "/problems/quarantine", "/tools", "/tools/report",
                 "/tools/playground", "/tools/configuration", "/tools/audit"):  # fmt: skip
        await page.goto(path)
        assert await person.overflow() <= 0, path
    await bar.get_by_text("More").click()
    assert await person.overflow() <= 0
    assert await person.barriers() == []
    await bar.get_by_role("link", name="Destinations").click()
    await expect(person.heading("Destinations")).to_be_visible()
    await bar.get_by_text("More").click()
    await bar.get_by_role("button", name="Log out").click()
    await expect(person.heading("Log in")).to_be_visible()


async def test_the_playground_begins_with_the_last_event_and_shows_the_difference(
    dashboard: Dashboard, person: Person
) -> None:
    await dashboard.delivered(FirstName="Ada", LastName="Lovelace", Email="ada@example.com")
    await person.log_in()
    page = person.page
    await page.get_by_role("link", name="Tools").click()
    await page.get_by_role("link", name="Playground").click()
    await expect(page.get_by_role("link", name="Ada L. · a…@example.com")).to_be_visible()
    route = page.get_by_label("The route, as YAML")
    await route.fill((await route.input_value()).replace("message: Content", "note: Content"))
    await page.get_by_role("button", name="Try it").click()
    table = page.get_by_role("region", name="Difference to the route in use")
    await expect(table.get_by_role("row", name="note added")).to_be_visible()
    await expect(table.get_by_role("row", name="message removed")).to_be_visible()
    await expect(table.get_by_role("row", name="email same")).to_contain_text("ada@example.com")
    assert await person.barriers() == []
    await page.set_viewport_size({"width": 320, "height": 640})
    assert await person.overflow() <= 0
