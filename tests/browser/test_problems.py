"""Work of an operator on problems: read the reason, release after a correction, acknowledge a known problem."""

import re

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import SECONDS, Dashboard
from tests.browser.person import Person
from tests.building import KEY, lead

pytestmark = pytest.mark.thorough

MILLISECONDS = SECONDS * 1000
STRANGER = b"another-key-of-good-length"


def problem(person: Person, title: str) -> Locator:
    return person.page.locator("section", has=person.page.get_by_role("heading", name=title))


async def test_requests_of_a_client_are_released_after_its_key_was_corrected(
    dashboard: Dashboard, person: Person
) -> None:
    leads = [lead(PhoneNumber="+1 202 555 0123") for _ in range(14)]
    for each in leads:
        await dashboard.send(each, key=STRANGER)
    await person.log_in()
    before = dashboard.running.configuration()
    dashboard.file.write_text(dashboard.file.read_text().replace('"${KEY}"', f'"${{KEY}}", "{STRANGER.decode()}"'))
    await dashboard.until(lambda _: dashboard.running.configuration() is not before)
    person.clicks = 0
    await person.click(person.page.get_by_role("link", name=re.compile("^Problems")))
    refused = problem(person, "acme: requests in quarantine")
    await expect(refused).to_contain_text("none of the chatbot's signing keys fits their signature")
    await expect(refused).to_contain_text("Correct it and release them")
    await person.click(refused.get_by_role("button", name="Release all …"))
    await expect(person.heading("Release 14 requests of acme?")).to_be_visible()
    await expect(person.page.locator("main")).to_contain_text("They are verified with today's keys first.")
    await person.click(person.page.get_by_role("button", name="Yes, release 14 requests of acme"))
    await expect(person.page.locator("#run")).to_contain_text("14 of 14, done", timeout=MILLISECONDS)
    assert person.clicks <= 3
    await dashboard.until(lambda found: not found["pending"] and len(dashboard.crm.ledger) == len(leads))
    await person.page.goto("/problems")
    await expect(refused).to_have_count(0)


async def test_selected_problems_are_acknowledged_until_their_next_case(dashboard: Dashboard, person: Person) -> None:
    await dashboard.dead(lead(), lead())
    await dashboard.send(lead(Type="Something else"))
    await person.log_in()
    await person.page.goto("/problems")
    await expect(person.page.get_by_role("link", name="Problems (2)")).to_be_visible()
    person.clicks = 0
    await person.click(person.page.get_by_label("crm: mapping"))
    await person.click(person.page.get_by_role("button", name="Acknowledge"))
    await expect(person.page.get_by_role("status").first).to_contain_text("crm: mapping: acknowledged until")
    assert person.clicks <= 2
    await expect(person.page.get_by_role("link", name="Problems (1)")).to_be_visible()
    await person.page.get_by_text("Acknowledged: 1").click()
    known = problem(person, "crm: mapping")
    await expect(known).to_contain_text("until the next case")
    assert await person.barriers() == []
    assert await person.overflow() <= 0
    await dashboard.dead(lead())
    await person.page.reload()
    await expect(known.get_by_role("link", name="3 deliveries")).to_be_visible()
    await expect(person.page.get_by_text("Acknowledged: 1")).to_have_count(0)


async def test_selected_requests_are_discarded_after_a_question(dashboard: Dashboard, person: Person) -> None:
    for _ in range(3):
        await dashboard.send(lead(), key=STRANGER)
    await dashboard.send(lead(PhoneNumber="+1 202 555 0123"), key=KEY)
    await person.log_in()
    await person.page.goto("/problems/quarantine")
    boxes = person.page.locator("tbody").get_by_role("checkbox")
    await expect(boxes).to_have_count(3)
    await boxes.nth(0).check()
    await boxes.nth(2).check()
    await person.page.get_by_role("button", name="Discard the selected …").click()
    await expect(person.heading("Discard 2 requests?")).to_be_visible()
    await person.page.get_by_role("button", name="Yes, discard 2 requests").click()
    await expect(person.page.locator("#run")).to_contain_text("2 of 2, done", timeout=MILLISECONDS)
    await person.page.goto("/problems/quarantine")
    await expect(boxes).to_have_count(1)
    assert await person.barriers() == []
