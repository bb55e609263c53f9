"""The list of leads: its filters and days, its present states, and its words where it is empty."""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from bridge.admin.dashboard.lead_filter import LeadFilter
from bridge.store.filter import EVERYTHING, DeliveryFilter
from bridge.store.sqlite import SqliteDriver
from tests.admin.conftest import VIEWER, Desk
from tests.admin.test_pages import log_in
from tests.admin.test_users import CLIENT, OTHER_SERIAL, Agency, agency
from tests.building import SERIAL

__all__ = ["agency"]

NOON = datetime(2026, 3, 30, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def listed(page: str) -> list[str]:
    """Return the ids of the leads on a page, in order."""
    return re.findall(r'href="/leads/([0-9a-f]+)"', page)


def rows(page: str) -> str:
    """Return the numbers of the leads on a page, as its address for updates has them."""
    found = re.search(r"rows=([\d.]*)", page)
    assert found
    return found[1]


def seen(fields: dict[str, str], now: float = NOON) -> tuple[float | None, float | None]:
    """Return the period of a filter."""
    criteria = LeadFilter.of({"destination": "crm", **fields}).criteria(now, EVERYTHING, None, 1)
    assert isinstance(criteria, DeliveryFilter)
    return criteria.since, criteria.until


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("fields", "since", "until"),
    [
        ({}, None, None),
        ({"days": "1"}, "2026-03-30T00:00Z", None),
        ({"days": "7"}, "2026-03-24T00:00Z", None),
        ({"days": "1", "zone": "Asia/Tokyo"}, "2026-03-30T00:00+09:00", None),
        ({"days": "30", "zone": "America/New_York"}, "2026-03-01T00:00-05:00", None),
        (
            {"from": "2026-03-29", "to": "2026-03-29", "zone": "Europe/Berlin"},
            "2026-03-29T00:00+01:00",
            "2026-03-30T00:00+02:00",
        ),
        ({"to": "2026-03-01", "from": "2026-03-05"}, "2026-03-01T00:00Z", "2026-03-06T00:00Z"),
        ({"to": "2026-03-01", "days": "7"}, None, "2026-03-02T00:00Z"),
        ({"days": "1", "zone": "../../etc/passwd"}, "2026-03-30T00:00Z", None),
        ({"days": "1", "zone": "Nowhere/Else"}, "2026-03-30T00:00Z", None),
        ({"days": "1", "zone": "America"}, "2026-03-30T00:00Z", None),
    ],
)  # fmt: skip
def test_days_are_those_of_the_readers_zone(fields: dict[str, str], since: str | None, until: str | None) -> None:
    assert seen(fields) == (since and moment(since), until and moment(until))


def test_an_address_has_only_what_selects_something() -> None:
    chosen = LeadFilter.of({"state": "dead", "chatbot": "", "days": "", "zone": "Asia/Tokyo", "other": "x"})
    assert chosen.query == {"state": "dead"}
    assert LeadFilter.of(dict(chosen.query)) == LeadFilter.of({"state": "dead"})
    assert LeadFilter.of({"from": "2026-03-01", "zone": "Asia/Tokyo"}).query == {
        "from": "2026-03-01",
        "zone": "Asia/Tokyo",
    }


async def test_a_list_of_some_days(desk: Desk, tmp_path: Path) -> None:
    await log_in(desk)
    for _ in range(3):
        await desk.send()
    with SqliteDriver(make_url(f"sqlite:///{tmp_path}/leadbridge.db")).engine().begin() as connection:
        for seq, days in ((1, 40), (2, 6)):
            connection.exec_driver_sql(f"UPDATE events SET received_at = {time.time() - days * DAY} WHERE seq = {seq}")
    week_ago = f"{datetime.now(UTC) - timedelta(days=6):%Y-%m-%d}"
    for query, count in (
        ("", 3),
        ("days=7", 2),
        ("days=30", 2),
        (f"from={week_ago}&to={week_ago}", 1),
        (f"to={week_ago}", 2),
        (f"state=delivered&to={week_ago}", 2),
    ):
        await desk.settled()
        assert len(listed((await desk.see(f"/leads?{query}"))[1])) == count, query
    page = (await desk.see(f"/leads?from={week_ago}&zone=Asia/Tokyo"))[1]
    assert f'type="date" name="from" value="{week_ago}"' in page
    assert "Days begin at midnight, <span" in page
    assert "Asia/Tokyo" in page
    for wrong in ("from=yesterday", "to=2026-02-30", "from=20260301", "chatbot=a%20b"):
        assert (await desk.see(f"/leads?{wrong}"))[0] == 400, wrong


async def test_there_is_no_page_with_deliveries(desk: Desk) -> None:
    """The list of leads is filtered by state and destination, and a lead's page has its deliveries."""
    await log_in(desk)
    assert (await desk.see("/deliveries?state=dead"))[0] == 404


async def test_a_filter_by_a_removed_destination_or_chatbot_stays_chosen(desk: Desk, tmp_path: Path) -> None:
    await log_in(desk)
    await desk.send()
    await desk.settled()
    with SqliteDriver(make_url(f"sqlite:///{tmp_path}/leadbridge.db")).engine().begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET destination = 'gone'")
        connection.exec_driver_sql("UPDATE events SET chatbot = 'former'")
    for query in ("destination=gone", "chatbot=former", "chatbot=former&destination=gone&state=delivered"):
        page = (await desk.see(f"/leads?{query}"))[1]
        assert len(listed(page)) == 1, query
        for name in re.findall(r"=(gone|former)", query):
            assert f"<option selected>{name}</option>" in page, query


async def test_an_empty_list_says_why(desk: Desk) -> None:
    await log_in(desk)
    assert "No lead here yet." in (await desk.see("/leads"))[1]
    assert "No lead matches." in (await desk.see("/leads?state=dead"))[1]
    await log_in(desk, VIEWER)
    assert "Write the whole e-mail address" in (await desk.post("/leads", who="nobody@example.com"))[1]


async def test_rows_stay_and_new_leads_are_counted(desk: Desk) -> None:
    await log_in(desk)
    await desk.send(FirstName="Ada")
    await desk.settled()
    page = (await desk.see("/leads"))[1]
    shown, first = rows(page), listed(page)
    assert 'id="new" class="new" role="status" data-live></p>' in page
    for number in (1, 2):
        await desk.send(FirstName="Grace")
        page = (await desk.see(f"/leads?rows={shown}"))[1]
        assert listed(page) == first
        assert f'<a href="/leads">{number} new lead{"s" if number > 1 else ""}</a>' in page
    page = (await desk.see(f"/leads?rows={shown}&state=dead"))[1]
    assert "new lead" not in page
    assert listed(page) == first, "a row stays, whatever became of it"
    page = (await desk.see(f"/leads?rows={shown}&chatbot=acme"))[1]
    assert '<a href="/leads?chatbot=acme">2 new leads</a>' in page
    for wrong in ("1.x", "1..2", ".".join(["1"] * 101), "9" * 30):
        assert (await desk.see(f"/leads?rows={wrong}"))[0] == 400, wrong
    assert "3 new leads" in (await desk.see("/leads?rows="))[1]


async def test_the_rows_of_another_client_are_not_shown(agency: Agency) -> None:
    await agency.receive(SERIAL, Email="", FirstName="Ada")
    await agency.receive(OTHER_SERIAL, Email="", FirstName="Foreign")
    await agency.post("/login", token=CLIENT)
    page = (await agency.see("/leads?rows=1.2.3"))[1]
    assert len(listed(page)) == 1
    assert "Ada G." in page
    assert "Foreign" not in page
    assert "new lead" not in page
