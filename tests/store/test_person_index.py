"""A phone number finds the leads that have it in another form."""

from functools import partial

import pytest
from sqlalchemy import select, update

from bridge.admin.query_threads import QueryThreads
from bridge.store import search
from bridge.store.driver import Driver
from bridge.store.filter import EventFilter
from bridge.store.installation import adopt
from bridge.store.person_index import is_whole_number, possible_numbers
from bridge.store.schema import deliveries
from bridge.store.sql import SqlStore
from tests.building import IDENTITY, IDENTITY_KEY, NOW, routed
from tests.store.test_sql import rows


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("+49 30 1234567", "030/1234567"),
        ("0049 30 1234567", "030 1234567"),
        ("030 1234567", "+49 (30) 1234567"),
        ("030 1234567", "0049 30 1234567"),
        ("493012345678", "030 12345678"),
        ("(202) 555-0134", "+1 202 555 0134"),
        ("+1 202 555 0134", "202-555-0134"),
        ("+39 06 1234 5678", "06 12345678"),
        ("06 1234 5678", "+39 06 12345678"),
        ("12345678", "+45 12 34 56 78"),
    ],
)
def test_a_number_is_known_with_and_without_its_country_code(asked: str, stored: str) -> None:
    assert "".join(filter(str.isdigit, stored)) in possible_numbers(asked)


def test_a_number_of_another_country_is_another_one() -> None:
    assert "4930123456789" not in possible_numbers("+43 30 123456789")
    assert "30123456789" not in possible_numbers("+43 30 12345678")
    assert len(possible_numbers("030 1234567")) < 2_000


@pytest.mark.parametrize(
    ("text", "whole"), [("+45 123", True), ("0045 12", True), ("(202) 555-0134", True), ("555-0134", False)]
)
def test_the_end_of_a_number_is_no_whole_one(text: str, whole: bool) -> None:
    assert is_whole_number(text) is whole


@pytest.mark.each_engine
async def test_a_person_with_an_address_is_found_by_phone_however_old_the_lead_is(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than one payload is read, so only the keyed hash can lead to the others."""
    with driver.engine().begin() as connection:
        adopt(connection, IDENTITY_KEY)
    theirs = [
        routed("crm", Email="ann@example.com", PhoneNumber="(202) 555-0134"),
        routed("crm", Email="", PhoneNumber="+1 202 555 0134"),
        routed("crm", Email="ann@example.org", PhoneNumber="+12025550134"),
    ]
    others = [routed("crm", Email=f"{at}@example.com", PhoneNumber=f"+1 202 555 02{at:02}") for at in range(20)]
    await store.accept([*theirs, *others])
    settled = deliveries.c.event_seq != 3
    with driver.engine().begin() as connection:
        connection.execute(update(deliveries).where(settled).values(state="delivered", due_at=None, settled_at=NOW))
    monkeypatch.setattr(search, "READ_SPAN", 1)
    query_threads = QueryThreads(driver)
    for number in ("+1 202 555 0134", "202 555 0134", "001 202 555 0134"):
        question = partial(search.find_events, criteria=EventFilter(phone=number), identity_key=IDENTITY_KEY)
        found = await query_threads.ask(question)
        assert [each.seq for each in found.rows] == [3, 2, 1], number
        assert found.next is None
    await query_threads.close()
    with driver.engine().connect() as connection:
        phones = list(connection.execute(select(deliveries.c.phone).order_by(deliveries.c.id).limit(3)).scalars())
    assert phones == [IDENTITY.phone_contact("2025550134"), None, IDENTITY.phone_contact("12025550134")]
    assert {row.state for row in rows(driver, deliveries)} == {"delivered", "pending"}
