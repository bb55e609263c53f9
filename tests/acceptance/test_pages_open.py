"""Every page is open to everybody: axe finds nothing, in light and dark, on a desktop and a phone, full and empty."""

from collections.abc import AsyncIterator
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ViewportSize

from tests.browser import scene
from tests.browser.agency import FORMS, NOBODY, STATES, USERS, Agency, prepare, serving
from tests.browser.person import Person

pytestmark = pytest.mark.asyncio(loop_scope="session")
LOOKS: tuple[tuple[ViewportSize, Literal["light", "dark"]], ...] = (
    ({"width": 1280, "height": 800}, "light"),
    ({"width": 390, "height": 844}, "dark"),
)
"""Windows and themes in which axe looks at each page: nothing that it finds depends on both."""
WIDTHS = (1920, 640, 320)
"""Further widths in which nothing may stick out: 640 is a window of 1,280 at 200 %, and 320 one at 400 %."""
REFUSALS = ("the server responded with a status of 4",)
"""Chromium's console message about a page that is a refusal."""


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=[scene.LEADS, 0], ids=["full", "empty"])
async def agency(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[Agency]:
    async with serving(tmp_path_factory.mktemp("agency"), leads=request.param) as served:
        yield served


async def faults(person: Person, name: str) -> list[str]:
    """Look at the page in every window; returns what is wrong with it."""
    found = []
    await person.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    for size, scheme in LOOKS:
        await person.page.set_viewport_size(size)
        await person.page.emulate_media(color_scheme=scheme)
        found += [f"{name}, {size['width']} px, {scheme}: {each}" for each in await person.barriers()]
        if overflow := await person.overflow():
            found.append(f"{name}: {overflow} px wider than {size['width']}")
    for width in WIDTHS:
        await person.page.set_viewport_size({"width": width, "height": 800})
        if overflow := await person.overflow():
            found.append(f"{name}: {overflow} px wider than {width}")
    return found


@pytest.mark.parametrize("user", USERS)
async def test_every_page_is_open_to_all(agency: Agency, chromium: Browser, user: str) -> None:
    known = await prepare(agency)
    context = await chromium.new_context(base_url=agency.url)
    person = Person(await context.new_page())
    await person.log_in(USERS[user])
    found = []
    for path in (*agency.addresses(known), *STATES):
        await person.page.goto(path)
        found += await faults(person, path)
    lead = known["/leads/{id}"][0]
    for path, form in (*FORMS, *(((f"/leads/{lead}", {}),) if lead != NOBODY else ())):
        await person.page.goto("/leads")
        await person.submit(path, form)
        found += await faults(person, f"{path} {form}")
    found += [each for each in person.complaints if not each.startswith("4") and not any(x in each for x in REFUSALS)]
    await context.close()
    assert not found, "\n".join(found)
