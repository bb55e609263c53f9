"""An agency with 40 accounts: all of them on one screen, those in trouble first."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from bridge import app
from bridge.config.reload import load_files
from tests.browser.person import OPERATOR, Person

pytestmark = pytest.mark.thorough

NAMES = [f"client-{number:02}-hubspot" for number in range(1, 41)]
HELD = [NAMES[7], NAMES[39]]


def configuration(folder: Path) -> Path:
    path = folder / "config.yaml"
    lines = [
        'server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", admin_token: "${ADMIN}"}',
        f'store: {{url: "sqlite:///{folder}/leadbridge.db"}}',
        "destinations:",
        *(f'  {name}: {{connector: http, url: "http://127.0.0.1:9/", allow_private: true}}' for name in NAMES),
        "chatbots:",
    ]
    for number, name in enumerate(NAMES):
        lines += [f'  client-{number}: {{serial_number: "{number:032x}", signing_keys: ["${{KEY}}"], routes:']
        lines += [f"    [{{to: {name}, fields: {{email: Email}}}}]}}"]
    path.write_text("\n".join([*lines, ""]))
    return path


async def test_forty_destinations_and_chatbots_are_on_one_screen(tmp_path: Path, browser: Browser) -> None:
    environ = {"ADMIN": OPERATOR, "KEY": "a-signing-key-of-good-length"}
    async with app.running(*load_files(configuration(tmp_path), environ)) as running:
        page = await browser.new_page(base_url=f"http://{running.admin}", viewport={"width": 1280, "height": 900})
        person = Person(page)
        await person.log_in()
        for name in HELD:
            await page.goto(f"/destinations/{name}")
            await page.get_by_role("button", name=f"Pause {name}").click()
            await expect(page.get_by_role("button", name=f"Resume {name}")).to_be_visible()
        for path in ("/destinations", "/chatbots"):
            await page.goto(path)
            rows = page.locator("tbody tr")
            await expect(rows).to_have_count(40)
            for row in (rows.first, rows.last):
                await expect(row).to_be_in_viewport(ratio=1)
            assert await person.overflow() == 0
            assert await person.barriers() == []
        await page.goto("/destinations")
        assert [row[:2] for row in (await person.rows())[:3]] == [
            *([name, "paused"] for name in HELD),
            [NAMES[0], "running"],
        ]
        assert person.complaints == []
