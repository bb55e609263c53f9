"""Files of leads: what is in them, for whom, and how much."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from bridge.admin import endpoint, export
from bridge.operations import leads
from bridge.operations.leads import COLUMNS, csv_lines
from bridge.store import search
from tests.admin.conftest import OPERATOR, VIEWER, Desk
from tests.admin.test_api import dead
from tests.admin.test_pages import log_in
from tests.admin.test_users import CLIENT, OTHER_SERIAL, Agency, agency
from tests.building import SERIAL

__all__ = ["agency"]

PERSON: Mapping[str, Any] = {
    "FirstName": "Grace",
    "LastName": "Hopper",
    "Email": "grace@example.com",
    "PhoneNumber": "+1 202 555 0101",
}


def read(text: str) -> list[dict[str, str]]:
    """Read a file as a spreadsheet does."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def exported(desk: Desk, query: str = "", token: str = OPERATOR) -> list[dict[str, str]]:
    status, text = await desk.ask("GET", f"/api/leads.csv?{query}", token)
    assert status == 200, text
    return read(text)


async def newest_entry(desk: Desk, action: str) -> Mapping[str, Any] | None:
    entries = (await desk.ask("GET", f"/api/audit?action={action}"))[1]["entries"]
    return dict(entries[0]) if entries else None


async def test_a_file_has_a_line_for_each_lead_with_its_destinations(desk: Desk) -> None:
    await desk.send(**PERSON)
    await dead(desk, 1)
    await desk.settled()
    async with desk.session.get(
        f"http://{desk.bridge.admin}/api/leads.csv", headers={"Authorization": f"Bearer {OPERATOR}"}
    ) as answer:
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="leads.csv"'
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in answer.headers
        lines = read(await answer.text())
    events = (await desk.ask("GET", "/api/events"))[1]["events"]
    assert [each["id"] for each in lines] == [each["id"] for each in events]
    assert [each["received_at"] for each in lines] == [each["received_at"] for each in events]
    assert tuple(lines[0]) == COLUMNS
    assert [(each["delivered"], each["not_delivered"]) for each in lines] == [("", "crm"), ("crm", "")]
    assert {each["chatbot"] for each in lines} == {"acme"}
    for query, count in (
        ("state=dead", 1),
        ("state=delivered&destination=crm", 1),
        ("chatbot=gone", 0),
        ("state=test", 0),
    ):
        assert len(await exported(desk, query)) == count, query
    later = "since=2099-01-01T00:00:00Z"
    assert await exported(desk, later) == []
    assert (await desk.ask("GET", "/api/leads.csv?state=sleeping"))[0] == 400


async def test_persons_are_masked_until_an_operator_asks(desk: Desk) -> None:
    await desk.send(**PERSON)
    fields = ("first_name", "last_name", "email", "phone")

    async def person(query: str, token: str) -> list[str]:
        (line,) = await exported(desk, query, token)
        return [line[name] for name in fields]

    assert await person("", VIEWER) == ["G•••", "H•••", "g•••@•••", "'+•••"]
    assert await person("", OPERATOR) == ["Grace", "H.", "g…@example.com", "…0101"]
    assert await newest_entry(desk, "export") is None
    assert await person("reveal=true&chatbot=acme", OPERATOR) == [
        "Grace",
        "Hopper",
        "grace@example.com",
        "'+1 202 555 0101",
    ]
    entry = await newest_entry(desk, "export")
    assert entry
    assert (entry["count"], entry["facts"]) == (1, {"chatbot": "acme"})
    assert (await desk.ask("GET", "/api/leads.csv?reveal=true", VIEWER))[0] == 403


def test_no_cell_is_a_formula() -> None:
    wild = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", 'a "quoted", text', "two\nlines", "1-1", ""]
    ((*cells,),) = csv.reader(io.StringIO(csv_lines([wild]).decode(), newline=""))
    assert cells[:7] == [f"'{each}" for each in wild[:7]]
    assert cells[7:] == wild[7:]


@pytest.mark.parametrize(
    ("written", "safe"),
    [
        (" =1+1", "' =1+1"),
        ("\u00a0\u3000@SUM(A1)", "'\u00a0\u3000@SUM(A1)"),
        ("\ufeff-1", "'\ufeff-1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff0b1", "'\uff0b1"),
        ("\uff0d1", "'\uff0d1"),
        ("\uff20SUM(A1)", "'\uff20SUM(A1)"),
        ("Ada;=1+1", "Ada;'=1+1"),
        ('Ada; "=1+1"', 'Ada;\' "=1+1"'),
        ("Ada\t=1+1", "Ada\t'=1+1"),
        ("Ada\n=1+1", "Ada\n'=1+1"),
        ("Ada\r@x", "Ada\r'@x"),
        ("a-b; c=d", "a-b; c=d"),
        ("\t" * 1_000 + "=1", "'" + "\t" * 1_000),
    ],
)
def test_no_part_of_a_cell_is_a_formula(written: str, safe: str) -> None:
    (((cell,)),) = csv.reader(io.StringIO(csv_lines([[written]]).decode(), newline=""))
    assert cell == safe


async def test_a_lead_cannot_write_a_formula(desk: Desk) -> None:
    await desk.send(FirstName='=HYPERLINK("http://evil.example")', LastName="@x", Email="-a@example.com")
    (line,) = await exported(desk, "reveal=true")
    assert line["first_name"] == '\'=HYPERLINK("http://evil.example")'
    assert (line["last_name"], line["email"]) == ("'@x", "'-a@example.com")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_no_other_site_has_a_file_made(desk: Desk, site: str) -> None:
    """A link elsewhere opens an address with the session's cookie, and needs no token of a form."""
    await log_in(desk)
    await desk.send(**PERSON)
    for path in ("/api/leads.csv?reveal=true", "/api/leads.csv"):
        status, said = await desk.ask("GET", path, None, headers={"Sec-Fetch-Site": site})
        assert (status, "another site" in said["error"]) == (403, True)
        assert (await desk.ask("GET", path, None, headers={"Sec-Fetch-Site": "none"}))[0] == 200
        assert (await desk.ask("GET", path, headers={"Sec-Fetch-Site": site}))[0] == 200, "a program with a token"
    _, audit = await desk.ask("GET", "/api/audit?action=export")
    assert len(audit["entries"]) == 2


async def test_the_dashboard_has_the_file_of_its_filter_and_of_a_search(desk: Desk) -> None:
    await log_in(desk)
    await desk.send(**PERSON)
    await desk.send(FirstName="Ada", LastName="Lovelace", Email="ada@example.com")
    await dead(desk, 1)
    page = (await desk.see("/leads?state=dead"))[1]
    assert 'href="/leads.csv?state=dead"' in page
    status, text = await desk.see("/leads.csv?state=dead")
    assert status == 200
    assert text.startswith("\ufeffid,received_at,")
    assert len(read(text)) == 1
    page = (await desk.post("/leads", who="hopper"))[1]
    key = page.split("/leads.csv?search=")[1].split('"')[0]
    (line,) = read((await desk.see(f"/leads.csv?search={key}"))[1])
    assert line["last_name"] == "H."
    assert (await desk.see("/leads.csv?search=of-nobody"))[0] == 410
    (line,) = read((await desk.post("/leads.csv", search=key))[1])
    assert line["last_name"] == "Hopper"
    entry = await newest_entry(desk, "export")
    assert entry
    assert (entry["count"], entry["facts"]) == (1, {"by": "search"})
    await log_in(desk, VIEWER)
    page = (await desk.see("/leads"))[1]
    assert "Download as CSV" in page
    assert "with personal data" not in page
    assert (await desk.post("/leads.csv"))[0] == 403


async def test_a_file_goes_on_over_all_pages_and_says_its_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(7):
        await desk.send()
    await desk.settled()
    monkeypatch.setattr(search, "SPAN", 2)
    for query in ("", "state=delivered", "destination=crm"):
        lines = await exported(desk, query)
        assert len({each["id"] for each in lines}) == len(lines) == 7, query
    monkeypatch.setattr(export, "EXPORT_LIMIT", 4)
    lines = await exported(desk)
    assert lines[-1]["id"] == leads.CUT
    assert 4 <= len(lines) - 1 < 7


async def test_a_clients_user_gets_its_own_leads(agency: Agency) -> None:
    own = await agency.receive(SERIAL, Email="")
    foreign = await agency.receive(OTHER_SERIAL, Email="")
    assert {each["id"] for each in await exported(agency, token=CLIENT)} == {own["event"]}
    for query in ("chatbot=other", "destination=other-crm", "reveal=true&chatbot=other&state=dead"):
        assert await exported(agency, query, CLIENT) == [], query
    await agency.post("/login", token=CLIENT)
    text = (await agency.see("/leads.csv"))[1]
    assert own["event"] in text
    assert foreign["event"] not in text


async def test_files_are_few_at_once_and_a_slow_reader_is_cut_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        await desk.send()
    monkeypatch.setattr(export, "EXPORTS_LIMIT", 0)
    assert (await desk.ask("GET", "/api/leads.csv"))[0] == 503
    monkeypatch.setattr(export, "EXPORTS_LIMIT", 1)
    monkeypatch.setattr(endpoint, "FILE_SECONDS", 0.0)
    monkeypatch.setattr(search, "SPAN", 1)
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
        await desk.ask("GET", "/api/leads.csv")
    monkeypatch.undo()
    assert len(await exported(desk)) == 3, "the file that was cut off is not counted any more"
