"""Manners of any good site: Back works, links lead through the login, times are in the zone of the reader."""

import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from bridge.store.interface import DeliveryState
from tests.browser import scene
from tests.browser.agency import Agency, serving
from tests.browser.conftest import SECONDS
from tests.browser.person import OPERATOR, Person

pytestmark = pytest.mark.asyncio(loop_scope="session")
MILLISECONDS = SECONDS * 1000
TOKYO = ZoneInfo("Asia/Tokyo")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def agency(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agency]:
    async with serving(tmp_path_factory.mktemp("agency")) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, agency: Agency) -> AsyncIterator[Page]:
    """A browser in Tokyo that nobody has logged in with."""
    context = await chromium.new_context(base_url=agency.url, timezone_id="Asia/Tokyo", locale="en-GB")
    yield await context.new_page()
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def person(page: Page) -> AsyncIterator[Person]:
    """Somebody who has logged in with it; a fault of any page that was seen fails the test at its end."""
    somebody = Person(page)
    await somebody.log_in()
    yield somebody
    assert somebody.complaints == []


async def test_back_leads_to_what_was_found(agency: Agency, person: Person) -> None:
    lead = agency.sent.leads[-1]
    await person.find(lead.email[:12])
    await expect(person.results().first).to_be_visible()
    found, address = await person.results().all_inner_texts(), person.page.url
    assert lead.email[:8] not in address
    await person.results().first.click()
    await expect(person.page.locator("#answer")).to_be_visible()
    await person.page.go_back()
    assert person.page.url == address
    assert await person.results().all_inner_texts() == found
    await person.page.go_forward()
    await expect(person.page.locator("#answer")).to_be_visible()
    await person.page.go_back()
    await person.page.reload()
    assert await person.results().all_inner_texts() == found


async def test_a_link_leads_through_the_login_to_its_page(agency: Agency, page: Page) -> None:
    wanted = f"/leads?state=dead&chatbot={scene.TROUBLED}"
    await page.goto(wanted)
    await page.get_by_label("Token").fill("not the token")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Token").fill(OPERATOR)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", name="Leads", level=1)).to_be_visible()
    assert page.url == agency.url + wanted
    await expect(page.get_by_label("State")).to_have_value("dead")


async def test_a_page_whose_session_ended_says_so(person: Person) -> None:
    await person.page.goto("/destinations")
    other = await person.page.context.new_page()
    await other.goto("/")
    await other.get_by_role("button", name="Log out").click()
    await expect(other.get_by_role("heading", name="Log in")).to_be_visible()
    ended = person.page.locator("#ended")
    await expect(ended).to_be_visible(timeout=MILLISECONDS)
    await expect(ended).to_contain_text("ended")
    await expect(person.page.locator("tbody tr").first).to_be_visible()
    # Its requests were refused meanwhile, as they should be.
    person.complaints.clear()
    await ended.get_by_role("link").click()
    await person.page.get_by_label("Token").fill(OPERATOR)
    await person.page.get_by_role("button", name="Log in").click()
    await expect(person.heading("Destinations")).to_be_visible()
    await expect(ended).to_be_hidden()


async def test_a_removed_destination_is_named_wherever_leads_wait_for_it(agency: Agency, person: Person) -> None:
    lead = next(
        each
        for each in reversed(agency.sent.leads)
        if scene.REMOVED in each.deliveries and each.deliveries[scene.REMOVED].state is DeliveryState.PENDING
    )
    await person.page.goto(f"/leads/{lead.event_id}")
    await expect(person.page.locator("#answer")).to_contain_text("no longer configured")
    waiting = sum(count for (_, name), count in agency.counted(DeliveryState.PENDING).items() if name == scene.REMOVED)
    await person.page.goto(f"/destinations/{scene.REMOVED}")
    await expect(person.page.locator("main")).to_contain_text("no longer configured")
    await expect(person.page.locator(".numbers")).to_contain_text(f"Waiting\n{waiting}", use_inner_text=True)
    await person.page.goto(f"/leads?destination={scene.REMOVED}&state=pending")
    await expect(person.page.get_by_label("Destination")).to_have_value(scene.REMOVED)
    await expect(person.results()).to_have_count(min(waiting, 40))


async def test_what_is_selected_stays_so_under_live_updates(person: Person) -> None:
    """The selected words are in a live part, and something else changes there meanwhile."""
    await person.page.goto(f"/destinations/{scene.SHEET}")
    live = person.page.locator("#now")
    await live.get_by_text("Waiting", exact=True).evaluate("each => getSelection().selectAllChildren(each)")
    await person.page.request.post(
        f"/api/lanes/{scene.SHEET}/pause",
        headers={"Authorization": f"Bearer {OPERATOR}"},
        data={"reason": "while somebody reads"},
    )
    for _ in range(2):
        async with person.page.expect_response(lambda each: each.request.resource_type == "fetch"):
            pass
    assert await person.page.evaluate("getSelection().toString()") == "Waiting"
    await person.page.evaluate("getSelection().removeAllRanges()")
    await expect(live).to_contain_text("while somebody reads", timeout=MILLISECONDS)


def outcomes(agency: Agency, days: int) -> dict[tuple[str, str], list[int]]:
    """Count from what was sent: received, delivered, waiting and dead of the last days, by chatbot and destination."""
    first = (time.time() // scene.DAY + 1 - days) * scene.DAY
    found: dict[tuple[str, str], list[int]] = {}
    for lead in agency.sent.leads:
        for name, each in lead.deliveries.items() if lead.received_at >= first else ():
            counts = found.setdefault((lead.chatbot, name), [0, 0, 0, 0])
            counts[0] += 1
            counts[1 + (DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.DEAD).index(each.state)] += 1
    return found


async def test_the_report_has_what_became_of_what_was_sent(agency: Agency, person: Person) -> None:
    before = outcomes(agency, 7)
    await person.page.goto("/tools/report?days=7")
    rows = await person.rows()
    # A day may begin while the page is read.
    after = outcomes(agency, 7)
    shown = {(row[0], row[1]): [int(each) for each in row[2:6]] for row in rows if tuple(row[:2]) in before}
    assert shown in (before, after)
    assert sum(counts[0] for counts in shown.values()) > 500


async def test_times_are_those_of_tokyo_with_utc_beside_them(agency: Agency, person: Person) -> None:
    await person.page.goto("/leads")
    newest = agency.sent.leads[-1]
    shown = person.page.locator("tbody tr").first.locator("time:not([data-age])")
    utc = datetime.fromtimestamp(newest.received_at, ZoneInfo("UTC"))
    local = utc.astimezone(TOKYO)
    await expect(shown).to_have_text(f"{local.day} {local:%b} {local.year}, {local:%H:%M:%S}")
    assert await shown.get_attribute("title") == f"{utc:%d %b %Y %H:%M:%S} UTC"


@pytest.mark.parametrize("back", [3, 11])
async def test_days_are_those_of_tokyo(agency: Agency, person: Person, back: int) -> None:
    """The day that is chosen begins and ends at midnight in Tokyo, also where UTC has another day."""
    day = (datetime.fromtimestamp(time.time(), TOKYO) - timedelta(days=back)).date()
    await person.page.goto("/leads")
    await person.page.get_by_label("From").fill(f"{day}")
    await person.page.get_by_label("To", exact=True).fill(f"{day}")
    await person.page.get_by_role("button", name="Show").click()
    sent = [each for each in agency.sent.leads if datetime.fromtimestamp(each.received_at, TOKYO).date() == day]
    assert sent
    await expect(person.results()).to_have_count(min(len(sent), 40))
    links = await person.results().evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert links == [f"/leads/{each.event_id}" for each in reversed(sent[-40:])]


async def test_each_step_of_a_leads_way_has_a_line_of_its_own(agency: Agency, person: Person) -> None:
    await person.page.goto(f"/leads/{agency.typical()['delivered']}")
    steps = person.page.locator("#way li")
    assert await steps.count() > 2
    tops = await steps.evaluate_all("steps => steps.map(step => step.getBoundingClientRect().top)")
    assert tops == sorted(set(tops))
    assert set(await steps.evaluate_all("steps => steps.map(step => getComputedStyle(step).display)")) == {"list-item"}


async def test_forced_colours_hide_nothing(person: Person) -> None:
    await person.page.emulate_media(forced_colors="active")
    for path in ("/", "/leads", "/destinations", "/problems"):
        await person.page.goto(path)
        assert await person.barriers() == [], path
        await person.tab_to("Leads")
