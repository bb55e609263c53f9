"""Pictures of the dashboard for the documentation: `python -m tests.browser.pictures`. They show an agency's month."""

import asyncio
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.async_api import Page, ViewportSize, async_playwright

from bridge import app
from bridge.config.reload import load_files
from connectors.testing import Sandbox
from tests.browser import scene
from tests.browser.person import OPERATOR, Person

FOLDER = Path(__file__).parent.parent.parent / "docs" / "pictures"
WINDOW: ViewportSize = {"width": 1280, "height": 600}
BEHIND = (time.time() - 17 * 3_600) % 86_400
"""Seconds since the last 17:00 UTC."""
PAGES = ("home", "leads", "problems", "destinations")


def clock() -> float:
    """Return the time, as if it were an afternoon: a picture of a day that has just begun shows nothing."""
    return time.time() - BEHIND


async def main() -> None:
    """Start a bridge with the scene, and write one picture of each page."""
    with tempfile.TemporaryDirectory() as name:
        async with Sandbox(key="email") as crm:
            built = await asyncio.to_thread(scene.build, Path(name), crm.url, clock())
            config, files = load_files(built.config, built.environ)
            async with app.running(config, files, clock) as running, async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                )
                page = await browser.new_page(base_url=f"http://{running.admin}", viewport=WINDOW)
                await Person(page).log_in(OPERATOR)
                await take(page)
                await browser.close()


async def take(page: Page) -> None:
    """Write the pictures, the last one of a lead's own page."""
    for name in PAGES:
        await page.goto("/" if name == "home" else f"/{name}")
        await page.screenshot(path=FOLDER / f"{name}.png")
    await page.goto("/leads")
    await page.locator("tbody a").first.click()
    await page.wait_for_load_state()
    await page.screenshot(path=FOLDER / "lead.png")


if __name__ == "__main__":
    logging.disable()
    sys.exit(asyncio.run(main()))
