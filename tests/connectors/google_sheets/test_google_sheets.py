"""Google Sheets: the contract, and what is its own: columns, keys, batches, findings."""

import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors.base import Blame, Delivered, MappedField, MappedRoute, Record, RemoteRecord, Retry, SettingError
from connectors.google_sheets import GoogleSheetsConnector
from connectors.google_sheets.requests import column_letters
from connectors.google_sheets.settings import GoogleSheetsRoute, GoogleSheetsSettings
from connectors.testing import Fault
from connectors.testing.contract import ConnectorContract
from connectors.testing.google_sheets import GoogleSheetsFake
from connectors.testing.subject import MemoryVault
from tests.building import Clock
from tests.connectors.building import EVENT, context

KEY = rsa.generate_private_key(65537, 2048)
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = (
    KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
EMAIL = "leads@acme.iam.gserviceaccount.com"
HEADER = ["Name", "Delivery", "Email", "Score"]
ROUTE = GoogleSheetsRoute(sheet="Bob's leads")


def sheet_fake(header: list[Any] | None = None) -> GoogleSheetsFake:
    sheets = {"Other": [["x"]], "Bob's leads": [HEADER if header is None else header]}
    return GoogleSheetsFake(public_key=PUBLIC, spreadsheet_id="sheet-1", sheets=sheets, now=time.time)


def key_json(token_url: str, **changes: Any) -> str:
    key = {"client_email": EMAIL, "private_key": PRIVATE, "private_key_id": "k", "token_uri": token_url}
    return json.dumps({**key, **changes})


def settings_for(fake: GoogleSheetsFake) -> dict[str, Any]:
    return {
        "service_account": key_json(f"{fake.origin}/token"),
        "spreadsheet_id": "sheet-1",
        "base_url": fake.origin,
        "allow_private": True,
    }


class TestGoogleSheets(ConnectorContract[GoogleSheetsFake]):
    connector = GoogleSheetsConnector
    on = "/v4/"

    def fake(self) -> GoogleSheetsFake:
        return sheet_fake()

    def settings(self, fake: GoogleSheetsFake) -> dict[str, Any]:
        return settings_for(fake)

    def route(self) -> dict[str, Any]:
        return {"sheet": "Bob's leads"}

    def fields(self, number: int) -> dict[str, Any]:
        return {"Email": self.event(number)["Email"], "Name": self.event(number)["LastName"], "Score": number}

    def held(self, fake: GoogleSheetsFake) -> list[object]:
        return list(fake.sheets["Bob's leads"][1:])

    def expire(self, fake: GoogleSheetsFake) -> None:
        fake.expire()

    def tokens(self, fake: GoogleSheetsFake) -> int:
        return fake.token_requests


def record(number: int, fields: dict[str, Any] | None = None, *, received: float | None = None, **more: Any) -> Record:
    moment = time.time() + 3600 if received is None else received
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    event = {**EVENT, "event": {"id": "0" * 32, "received_at": stamp}}
    values = {"Email": f"lead{number}@example.com"} if fields is None else fields
    return Record(id=f"id-{number}", fields=values, event=event, payload=b"{}", route=ROUTE, **more)


def made(fake: GoogleSheetsFake, clock: Clock | None = None) -> GoogleSheetsConnector:
    settings = GoogleSheetsSettings.model_validate(settings_for(fake))
    target = GoogleSheetsConnector(settings, context(now=clock or time.time))
    target.open(MemoryVault())
    return target


async def test_values_stay_what_they_are_in_the_columns_of_their_names() -> None:
    fields = {"Score": 3.5, "Email": "=HYPERLINK(1)", "Name": "+39 06"}
    async with sheet_fake() as fake:
        target = made(fake)
        (outcome,) = await target.deliver([record(1, fields)])
        await target.close()
        query = fake.ledger[-1].path.partition("?")[2]
    assert outcome == Delivered("id-1", "https://docs.google.com/spreadsheets/d/sheet-1", status=200)
    assert fake.sheets["Bob's leads"][1] == ["+39 06", "id-1", "=HYPERLINK(1)", 3.5]
    assert "valueInputOption=RAW" in query
    assert "insertDataOption=INSERT_ROWS" in query


async def test_the_key_column_is_read_after_doubt_only_and_once_for_a_batch() -> None:
    clock = Clock(time.time())
    async with sheet_fake() as fake:
        target = made(fake, clock)
        clock.now += 1800
        fresh = [record(number, received=clock.now) for number in range(50)]
        await target.deliver(fresh)
        assert [each.method for each in fake.ledger] == ["GET", "POST"]
        await target.deliver([*fresh[:3], record(50, is_repeat=True)])
        assert [each.method for each in fake.ledger] == ["GET", "POST", "GET", "GET", "POST"]
        await target.deliver([record(51, received=clock.now - 7200)])  # older than the lane
        assert len(fake.ledger) == 8
        await target.close()
    assert [row[1] for row in fake.sheets["Bob's leads"][1:]] == [f"id-{number}" for number in range(52)]


async def test_a_lost_answer_is_doubt_for_the_rows_of_that_call() -> None:
    clock = Clock(time.time())
    async with sheet_fake() as fake:
        target = made(fake, clock)
        clock.now += 1800
        fresh = [record(number, received=clock.now) for number in range(3)]
        fake.faults.next(Fault.disconnects(written=True), on="append")
        assert all(isinstance(each, Retry) for each in await target.deliver(fresh))
        assert all(isinstance(each, Delivered) for each in await target.deliver(fresh))
        await target.close()
    assert len(fake.sheets["Bob's leads"]) == 4


async def test_a_field_without_a_column_and_a_text_too_long_for_a_cell_are_warnings() -> None:
    async with sheet_fake() as fake:
        target = made(fake)
        (outcome,) = await target.deliver([record(1, {"Name": "x" * 60_000, "Phone": "+39"})])
        await target.close()
    assert isinstance(outcome, Delivered)
    assert outcome.warning == (
        "left out because the sheet has no such column: Phone; shortened to what a cell can hold: Name"
    )
    assert len(fake.sheets["Bob's leads"][1][0]) == 50_000


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.answers(403, {"Content-Type": "application/json"}, b'{"error": {"message": "no permission"}}'), EMAIL),
        (Fault.answers(404), "correct spreadsheet_id"),
        (
            Fault.answers(
                400, {"Content-Type": "application/json"}, b'{"error": {"message": "Unable to parse range"}}'
            ),
            "has no sheet `Bob's leads`",
        ),
    ],
)
async def test_a_sheet_that_cannot_be_used_holds_the_lane_and_says_what_to_do(fault: Fault, said: str) -> None:
    for on in ("1%3A1", "append"):
        async with sheet_fake() as fake:
            fake.faults.next(fault, on=on)
            target = made(fake)
            (outcome,) = await target.deliver([record(1)])
            await target.close()
        assert isinstance(outcome, Retry)
        assert outcome.blame is Blame.DESTINATION
        assert said in outcome.detail


async def test_without_the_key_column_nothing_is_appended() -> None:
    async with sheet_fake(["Name", "Email"]) as fake:
        target = made(fake)
        (outcome,) = await target.deliver([record(1)])
        await target.close()
    assert isinstance(outcome, Retry)
    assert "no column `Delivery`; add it" in outcome.detail
    assert len(fake.sheets["Bob's leads"]) == 1


async def test_a_probe_finds_wrong_sheets_and_columns_on_their_lines() -> None:
    names = [MappedField("Email"), MappedField("Nmae"), MappedField("Delivery")]
    routes = [
        MappedRoute(ROUTE, tuple(names)),
        MappedRoute(GoogleSheetsRoute(sheet="Bobs leads"), ()),
        MappedRoute(GoogleSheetsRoute(sheet="Bob's leads", key_column="Dellivery"), ()),
    ]
    async with sheet_fake() as fake:
        target = made(fake)
        findings = await target.probe(routes)
        await target.close()
        assert all(each.method == "GET" for each in fake.ledger)
    assert [(each.route, each.field, each.setting) for each in findings] == [
        (0, "Nmae", ()),
        (0, "Delivery", ()),
        (1, None, ("sheet",)),
        (2, None, ("key_column",)),
    ]
    assert "did you mean `Name`" in findings[0].message
    assert "did you mean `Bob's leads`" in findings[2].message


async def test_reconciliation_looks_for_the_keys() -> None:
    async with sheet_fake() as fake:
        target = made(fake)
        await target.deliver([record(1)])
        held = await target.holds([RemoteRecord("id-1", ROUTE), RemoteRecord("id-2", ROUTE)])
        await target.close()
    assert list(held) == [True, False]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("{", "JSON key"),
        ('{"type": "authorized_user"}', "JSON key"),
        (key_json("https://tokens.example.com/"), "googleapis.com"),
        (key_json("https://oauth2.googleapis.com/token", private_key="x"), "RSA private key"),
    ],
)
def test_a_key_that_cannot_be_used_is_found_by_check(key: str, said: str) -> None:
    settings = GoogleSheetsSettings.model_validate({"service_account": key, "spreadsheet_id": "s"})
    with pytest.raises(SettingError) as found:
        GoogleSheetsConnector(settings, context())
    assert found.value.path == ("service_account",)
    assert said in found.value.message


@pytest.mark.parametrize(("number", "letters"), [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA")])
def test_columns_have_letters(number: int, letters: str) -> None:
    assert column_letters(number) == letters
