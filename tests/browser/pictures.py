"""Pictures of the dashboard for the documentation: `python -m tests.browser.pictures`. They show an agency's month.

Five stand in the documentation. The folder `before-and-after` has every page: `NAME-after.webp`, and `NAME-before.webp`
of the same scene at commit 78dc3c3, the last one before the pages were about people, chatbots and speed.
"""

import asyncio
import base64
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from playwright.async_api import Page, ViewportSize, async_playwright

from bridge.store.interface import DeliveryState
from tests.browser import scene
from tests.browser.agency import Agency, serving
from tests.browser.person import Person

FOLDER: Final = Path(__file__).parent.parent.parent / "docs" / "pictures"
PAIRS: Final = FOLDER / "before-and-after"
WINDOW: Final[ViewportSize] = {"width": 1280, "height": 600}
TALL: Final[ViewportSize] = {"width": 1280, "height": 800}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
QUALITY: Final = 70
BEHIND: Final = (time.time() - 17 * 3_600) % 86_400
"""Seconds since the last 17:00 UTC."""
DOCUMENTED: Final = ("home", "leads", "lead", "problems", "destinations")
"""Pages whose picture stands in the documentation too."""


def clock() -> float:
    """Return the time, as if it were an afternoon: a picture of a day that has just begun shows nothing."""
    return time.time() - BEHIND


async def main() -> None:
    """Start a bridge with the scene, and write the pictures."""
    PAIRS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        async with serving(Path(name), clock=clock) as agency, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = await browser.new_page(base_url=agency.url, viewport=TALL)
            await page.goto("/login")
            await write(page, PAIRS / "login-after.webp")
            await Person(page).log_in()
            pages = addresses(agency)
            await take(page, pages)
            await page.set_viewport_size(PHONE)
            for each in ("home", "lead"):
                await page.goto(pages[each])
                await write(page, PAIRS / f"phone-{each}-after.webp")
            await browser.close()


def addresses(agency: Agency) -> Mapping[str, str]:
    """Return the pages by the names of their pictures. The lead waits for a destination that cannot be reached."""
    lead = next(
        each
        for each in reversed(agency.sent.leads)
        if (to := each.deliveries.get(scene.UNREACHABLE)) and to.state is DeliveryState.PENDING
    )
    return {
        "home": "/",
        "leads": "/leads",
        "lead": f"/leads/{lead.event_id}",
        "deliveries": "/deliveries",
        "chatbots": "/chatbots",
        "chatbot": f"/chatbots/{scene.TROUBLED}",
        "destinations": "/destinations",
        "destination": f"/destinations/{scene.UNREACHABLE}",
        "problems": "/problems",
        "quarantine": "/problems/quarantine",
        "flow": "/tools/flow",
        "report": "/tools/report?days=7",
        "completeness": "/tools/completeness?span=30d",
        "configuration": "/tools/configuration",
        "playground": "/tools/playground",
        "audit": "/tools/audit",
        "error": "/nowhere",
    }


async def take(page: Page, pages: Mapping[str, str]) -> None:
    """Write the pictures of a desktop."""
    for name, path in pages.items():
        await page.set_viewport_size(TALL)
        await page.goto(path)
        await write(page, PAIRS / f"{name}-after.webp")
        if name in DOCUMENTED:
            await page.set_viewport_size(WINDOW)
            await page.screenshot(path=FOLDER / f"{name}.png")


async def write(page: Page, file: Path) -> None:
    """Write what the window shows as WebP, which takes a third of a PNG."""
    debugger = await page.context.new_cdp_session(page)
    taken = await debugger.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    await asyncio.to_thread(file.write_bytes, base64.b64decode(taken["data"]))
    await debugger.detach()


if __name__ == "__main__":
    logging.disable()
    sys.exit(asyncio.run(main()))
