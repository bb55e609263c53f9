"""Pictures of the dashboard for the documentation: `python -m tests.browser.pictures`. They show an agency's month."""

import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from playwright.async_api import ViewportSize, async_playwright

from bridge.store.interface import DeliveryState
from tests.browser import scene
from tests.browser.agency import Agency, serving
from tests.browser.person import Person

FOLDER: Final = Path(__file__).parent.parent.parent / "docs" / "pictures"
WINDOW: Final[ViewportSize] = {"width": 1280, "height": 600}
BEHIND: Final = (time.time() - 17 * 3_600) % 86_400
"""Seconds since the last 17:00 UTC."""


def clock() -> float:
    """Return the time, as if it were an afternoon: a picture of a day that has just begun shows nothing."""
    return time.time() - BEHIND


async def main() -> None:
    """Start a bridge with the scene, and write the pictures."""
    with tempfile.TemporaryDirectory() as name:
        async with serving(Path(name), clock=clock) as agency, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = await browser.new_page(base_url=agency.url, viewport=WINDOW)
            await Person(page).log_in()
            for picture, path in addresses(agency).items():
                await page.goto(path)
                await page.screenshot(path=FOLDER / f"{picture}.png")
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
        "destinations": "/destinations",
        "problems": "/problems",
    }


if __name__ == "__main__":
    logging.disable()
    sys.exit(asyncio.run(main()))
