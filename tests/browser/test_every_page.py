"""Each page as people see it: on a phone and on a desktop, in light and dark, whatever a lead says."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import ViewportSize, expect

from tests.browser.conftest import Dashboard
from tests.browser.person import Person
from tests.building import lead

pytestmark = pytest.mark.thorough

WINDOWS: dict[str, ViewportSize] = {
    "phone": {"width": 390, "height": 844},
    "desktop": {"width": 1280, "height": 800},
}
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
LOOKS = list(itertools.product(WINDOWS, SCHEMES))
MARKUP = '"><img src=x onerror="window.ran = 1"><script>window.ran = 1</script>'
HEBREW = "שלום עולם"


async def full(dashboard: Dashboard) -> None:
    """Let the dashboard have something of everything to show."""
    await dashboard.delivered(Email="ada@example.com")
    await dashboard.dead(*(lead() for _ in range(3)))
    await dashboard.send(lead(Content="a test"), lead(Type="Something else"))
    await dashboard.send(lead(), key=b"another-key-of-good-length")


async def selecting(person: Person) -> AsyncIterator[str]:
    """Select leads, and go on until the question before a replay."""
    page = person.page
    await page.goto("/leads?state=dead&days=7")
    await page.get_by_label("Select all").check()
    yield "leads-selected"
    await page.get_by_role("button", name="Replay …").click()
    await expect(person.heading("Replay the selected leads?")).to_be_visible()
    yield "selection"


async def pages(person: Person, event: str) -> AsyncIterator[str]:
    """Go to each page, one after the other; gives a name for its picture."""
    page = person.page
    await page.goto("/login")
    yield "login"
    await person.log_in()
    yield "home"
    tools = ("tools", "tools/report", "tools/configuration")
    lists = ("leads", "chatbots", "destinations", "problems", "problems/quarantine")
    for name in (*lists, "chatbots/acme", "destinations/crm", *tools, f"leads/{event}"):
        await page.goto(f"/{name}")
        for each in await page.locator("main details").all():
            await each.locator("summary").click()
        yield "lead" if event in name else name.rpartition("/")[2]
    await page.get_by_role("button", name="Show personal data").click()
    await expect(page.get_by_text("Personal data is masked")).to_have_count(0)
    yield "lead-shown"
    async for name in selecting(person):
        yield name
    await page.goto("/tools/playground")
    await page.get_by_role("button", name="Load it").click()
    await page.get_by_label("An event, as JSON").fill('{"Email": "ada@example.com", "PhoneNumber": "+1 202 555 0123"}')
    await page.get_by_role("button", name="Try it").click()
    await expect(page.get_by_role("heading", name="Result")).to_be_visible()
    yield "playground"
    await page.goto("/problems")
    dead = page.locator("section", has=page.get_by_role("heading", name="crm: mapping"))
    refused = page.locator("section", has=page.get_by_role("heading", name="acme: requests in quarantine"))
    await refused.get_by_role("button", name="Release all …").click()
    yield "recovery"
    await page.goto("/problems")
    await dead.get_by_role("button", name="Discard all …").click()
    yield "bulk"
    await page.get_by_role("button", name="Yes, discard 3").click()
    await expect(page.locator("#run")).to_contain_text("3 of 3, done", timeout=15_000)
    yield "run"
    await page.goto("/destinations/crm")
    await page.get_by_role("button", name="Pause crm").click()
    await expect(page.get_by_role("button", name="Resume crm")).to_be_visible()
    yield "destinations-paused"
    await page.goto("/")
    await expect(page.locator("#now")).to_contain_text("An operator has paused this destination")
    yield "home-paused"
    await page.goto("/tools/audit")
    await expect(page.locator("tbody tr")).to_have_count(5)
    yield "audit"
    await page.get_by_label("Action").select_option("reveal")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    yield "audit-chosen"


async def in_each_look(person: Person, look: Callable[[str], Awaitable[None]]) -> None:
    for window, scheme in LOOKS:
        await person.page.set_viewport_size(WINDOWS[window])
        await person.page.emulate_media(color_scheme=scheme)
        await look(f"{window}-{scheme}")


async def test_every_page_is_whole_and_open_to_all(dashboard: Dashboard, person: Person, album: Path | None) -> None:
    await full(dashboard)
    event = (await dashboard.ask("/api/events?state=accepted"))["events"][-1]["id"]
    faults: list[str] = []
    async for name in pages(person, event):

        async def look(how: str, name: str = name) -> None:
            if overflow := await person.overflow():
                faults.append(f"{name} {how}: {overflow} px too wide")
            if album:
                await person.page.screenshot(path=album / f"{name}-{how}.png", full_page=True)
            faults.extend(f"{name} {how}: {each}" for each in await person.barriers())

        await in_each_look(person, look)
    assert faults == []


async def test_a_leads_words_do_no_harm(dashboard: Dashboard, person: Person, album: Path | None) -> None:
    whole = "ab <b>c</b> " * 8_533 + "the end"
    await dashboard.delivered(
        FirstName=MARKUP, LastName=HEBREW, Email="ada@example.com", Content=whole, URI="javascript:window.ran=1"
    )
    await person.log_in()
    await person.find("ada@example.com")
    await person.open_found()
    await person.page.get_by_role("button", name="Show personal data").click()
    said = person.page.locator("#content dl")
    await expect(said.get_by_text(MARKUP, exact=True)).to_be_visible()
    hebrew = said.get_by_text(HEBREW, exact=True)
    assert await hebrew.evaluate("each => getComputedStyle(each).direction") == "rtl"
    content = said.get_by_text("the end")
    assert await content.inner_text() == whole
    height = await content.evaluate("each => each.getBoundingClientRect().height")
    assert height < WINDOWS["desktop"]["height"], "100 KB have a box of their own"
    assert await person.page.locator("main img, main script:not([src]), main b, a[href^=javascript]").count() == 0

    async def look(how: str) -> None:
        assert await person.overflow() == 0, how
        if album:
            await person.page.screenshot(path=album / f"hostile-{how}.png", full_page=True)
        assert await person.barriers() == [], how

    await in_each_look(person, look)
    assert await person.page.evaluate("window.ran") is None
