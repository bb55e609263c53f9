"""Leads are selected in the list, and replayed or discarded after a sentence about what will happen."""

import re
from html import unescape
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from bridge.operations.bulk import LeadSelection
from bridge.store.commands import BulkAction
from bridge.store.interface import DeliveryState
from bridge.store.queries import DeliveryRow
from bridge.store.sqlite import SqliteDriver
from tests.admin.conftest import VIEWER, Desk
from tests.admin.test_api import dead
from tests.admin.test_pages import log_in
from tests.admin.test_users import ADMIN, CLIENT, OTHER_SERIAL, Agency, agency
from tests.building import SERIAL

__all__ = ["agency"]


def row(number: int, state: str, event: int | None = None, destination: str = "crm") -> DeliveryRow:
    return DeliveryRow(
        number, f"{event or number}", "acme", "r", destination, DeliveryState(state), 1.0, None, None, 1, 0, None, False
    )


@pytest.mark.parametrize(
    ("act", "changed", "delivered", "idle", "said"),
    [
        ("replay", [row(1, "dead")], [], 0, "Replay 1 delivery of 1 lead to crm."),
        (
            "replay",
            [row(1, "dead", 7), row(2, "pending", 7, "sheet"), row(3, "discarded", 8)],
            [row(4, "delivered", 9), row(5, "delivered", 8, "sheet")],
            2,
            (
                "Replay 5 deliveries of 3 leads to crm and sheet. 1 still waits and is tried now. 2 were already "
                "delivered and would be sent again. 2 other leads have no delivery to replay."
            ),
        ),
        (
            "discard",
            [row(1, "dead"), row(2, "pending", 2, "b"), row(3, "dead", 3, "c"), row(4, "dead", 4, "d")],
            [row(5, "delivered", 9)],
            0,
            (
                "Discard 4 deliveries of 4 leads at b, c, crm and 1 more. A discarded delivery is not tried again "
                "until somebody replays it. 1 was already delivered and stays so."
            ),
        ),
        ("discard", [], [], 1, "None of these leads has a delivery to discard."),
        (
            "discard",
            [],
            [row(1, "delivered"), row(2, "delivered")],
            0,
            "None of these leads has a delivery to discard. 2 were already delivered and stay so.",
        ),
    ],
)
def test_a_sentence_says_what_will_happen(
    act: str, changed: list[DeliveryRow], delivered: list[DeliveryRow], idle: int, said: str
) -> None:
    assert " ".join(LeadSelection(BulkAction(act), changed, delivered, idle).sentences) == said


class Selecting:
    """Somebody who selects leads in the list."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def select(self, action: str, *seqs: int, **form: str) -> tuple[int, str]:
        data = [("action", action), *(("lead", str(each)) for each in seqs), *form.items()]
        async with self.desk.session.post(f"http://{self.desk.bridge.admin}/leads/selection", data=data) as answer:
            return answer.status, unescape(await answer.text())

    async def confirm(self, page: str, button: str) -> tuple[int, str]:
        """Press a button of the page that asks."""
        form = next(each for each in re.findall(r"<form.*?</form>", page, re.DOTALL) if f">{button}</button>" in each)
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
        return await self.desk.post("/leads/selection", **fields)

    async def states(self) -> dict[int, str]:
        found = (await self.desk.ask("GET", "/api/deliveries"))[1]["deliveries"]
        return {each["id"]: each["state"] for each in found}


@pytest.fixture
async def selecting(desk: Desk) -> Selecting:
    await log_in(desk)
    return Selecting(desk)


async def test_selected_leads_are_replayed_after_the_question(selecting: Selecting) -> None:
    desk = selecting.desk
    await desk.send()
    await desk.settled()
    await dead(desk, 2)
    page = (await desk.see("/leads"))[1]
    assert page.count('name="lead"') == 3
    assert "Select all 3 on this page" in page
    status, page = await selecting.select("replay", 1, 2, back="/leads?days=7")
    assert status == 200
    assert "Replay 2 deliveries of 2 leads to crm. " in page.replace("</p>\n<p>", " ")
    assert "1 was already delivered and would be sent again." in page
    assert 'href="/leads?days=7"' in page
    assert len(desk.crm.records) == 1, "nothing happens before the confirmation"
    status, page = await selecting.confirm(page, "Only the 1 not delivered yet")
    assert status == 200
    assert "Run 1 has begun." in page
    assert '<a href="/leads?days=7">Back to the leads</a>' in page
    while "1 of 1, " not in page or "running" in page:
        page = (await desk.see("/problems/runs/1"))[1]
    assert len(desk.crm.records) == 1
    _, page = await selecting.select("replay", 1)
    await selecting.confirm(page, "Yes, replay 1")
    while len(desk.crm.records) < 2:
        await desk.settled()
    entries = (await desk.ask("GET", "/api/audit?action=replay_all"))[1]["entries"]
    assert [(each["count"], each["facts"]["leads"], each["subject"]) for each in entries] == [
        (1, "1", "run"),
        (1, "1", "run"),
    ]


async def test_selected_leads_are_discarded_and_delivered_ones_stay(selecting: Selecting) -> None:
    desk = selecting.desk
    await desk.send()
    await desk.settled()
    await dead(desk, 2)
    rows = re.findall(r'name="rows" value="([\d.]+)"', (await desk.see("/leads"))[1])[0]
    _, page = await selecting.select("discard", all="yes", rows=rows)
    assert "Discard 2 deliveries of 2 leads at crm." in page
    assert "1 was already delivered and stays so." in page
    await selecting.confirm(page, "Yes, discard 2")
    while "dead" in (await selecting.states()).values():
        pass
    assert sorted((await selecting.states()).values()) == ["delivered", "discarded", "discarded"]
    (entry,) = (await desk.ask("GET", "/api/audit?action=discard_all"))[1]["entries"]
    assert (entry["count"], entry["facts"]["of"], entry["facts"]["leads"]) == (2, 2, "2")


async def test_the_filter_of_the_list_narrows_the_action(selecting: Selecting, tmp_path: Path) -> None:
    desk = selecting.desk
    await dead(desk, 2)
    with SqliteDriver(make_url(f"sqlite:///{tmp_path}/leadbridge.db")).engine().begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET destination = 'gone' WHERE id = 2")
    assert "of 2 leads to crm and gone." in (await selecting.select("replay", 1, 2))[1]
    page = (await selecting.select("replay", 1, 2, destination="gone"))[1]
    assert "Replay 1 delivery of 1 lead to gone." in page
    assert "1 other lead has no delivery to replay." in page
    assert "None of these leads" in (await selecting.select("replay", 1, 2, state="delivered"))[1]
    page = (await desk.see("/leads?destination=gone&state=dead"))[1]
    for field in ('name="destination" value="gone"', 'name="state" value="dead"'):
        assert field in page.split('id="selection"')[1].split("</form>")[0]


async def test_a_delivery_that_arrives_in_the_meantime_is_not_sent_again(selecting: Selecting, tmp_path: Path) -> None:
    desk = selecting.desk
    await dead(desk, 1)
    _, page = await selecting.select("replay", 1)
    with SqliteDriver(make_url(f"sqlite:///{tmp_path}/leadbridge.db")).engine().begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET state = 'delivered', reason = NULL")
    await selecting.confirm(page, "Yes, replay 1")
    page = ""
    while "done" not in page:
        page = (await desk.see("/problems/runs/1"))[1]
    assert "0 of 1" in page
    assert "The rest changed in the meantime" in page
    assert await selecting.states() == {1: "delivered"}


async def test_what_cannot_be_selected(selecting: Selecting) -> None:
    desk = selecting.desk
    await desk.send()
    assert "Select at least one lead first." in (await selecting.select("replay"))[1]
    assert (await selecting.select("erase", 1))[0] == 400
    assert (await selecting.select("replay", 1, 999))[0] == 404
    assert (await selecting.select("replay", all="yes", rows="1.x"))[0] == 400
    assert (await selecting.select("replay", *range(1, 102)))[0] == 400
    elsewhere = (await selecting.select("replay", 1, back="//evil.example/leads"))[1]
    assert "evil" not in elsewhere
    await log_in(desk, VIEWER)
    viewer = Selecting(desk)
    assert 'name="lead"' not in (await desk.see("/leads"))[1]
    assert (await viewer.select("replay", 1))[0] == 403


async def test_a_clients_user_selects_its_own_leads_only(agency: Agency) -> None:
    own = await agency.receive(SERIAL, Email="")
    foreign = await agency.receive(OTHER_SERIAL, Email="")
    await log_in(agency, CLIENT)
    maria = Selecting(agency)
    assert (await maria.select("discard", 1, 2))[0] == 404
    assert (await maria.select("discard", 2))[0] == 404
    forged = {"action": "discard", "sure": "yes"}
    assert (await agency.post("/leads/selection", **forged, ids=str(foreign["id"])))[0] == 404
    assert (await agency.post("/leads/selection", **forged, ids=f"{own['id']}", again=f"{foreign['id']}"))[0] == 404
    status, page = await maria.select("discard", 1)
    assert status == 200
    status, page = await maria.confirm(page, "Yes, discard 1")
    assert status == 200
    assert "Run 1 has begun." in page
    states = {each["id"]: each["state"] for each in await agency.deliveries(ADMIN)}
    while states[own["id"]] == "dead":
        states = {each["id"]: each["state"] for each in await agency.deliveries(ADMIN)}
    assert states == {own["id"]: "discarded", foreign["id"]: "dead"}
