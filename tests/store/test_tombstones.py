"""What was erased does not come back, on both engines."""

import sqlite3
from typing import Any

import pytest
from sqlalchemy import select

from bridge.store import tombstones
from bridge.store.driver import Driver
from bridge.store.person_match import PhoneNumber
from bridge.store.schema import contact_tombstones, deliveries, events
from bridge.store.schema import tombstones as kept
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from tests.building import IDENTITY, NOW, routed
from tests.store.test_sql import rows

pytestmark = pytest.mark.each_engine


def test_a_tombstone_stands_as_long_as_a_captured_request_is_good() -> None:
    assert tombstones.until(NOW, [60.0, 900.0], shared=False) == NOW + 1_800 + tombstones.RETRY_SECONDS
    assert tombstones.until(NOW, [900.0], shared=True) == NOW + tombstones.SPOOL_SECONDS
    assert tombstones.until(NOW, [900.0, 0.0], shared=True) is None


async def test_an_erased_event_is_not_kept_again(store: SqlStore, driver: Driver) -> None:
    erased, other = routed("crm", "mail"), routed("crm")
    with driver.engine().begin() as connection:
        tombstones.add_tombstones(connection, [bytes.fromhex(erased.event.id)], NOW)

    assert await store.accept([other, erased]) == [True, False]

    assert [row.id.hex() for row in rows(driver, events)] == [other.event.id]
    assert [row.event_seq for row in rows(driver, deliveries)] == [rows(driver, events)[0].seq]


async def test_what_a_spool_holds_of_a_person_from_before_is_not_kept(store: SqlStore, driver: Driver) -> None:
    waited, later = routed("crm", Email="ann@example.com"), routed("crm", Email="ann@example.com", received_at=NOW + 9)
    with driver.engine().begin() as connection:
        tombstones.keep_contacts(connection, [waited.event.contact], NOW + 1, NOW + 60)

    assert await store.accept([waited, later, routed("crm")]) == [False, True, True]


async def test_a_lead_with_an_address_is_known_by_its_phone_number_too(store: SqlStore, driver: Driver) -> None:
    person = {"Email": "ann@example.com", "PhoneNumber": "+1 202 555 0134"}
    waited, later = routed("crm", **person), routed("crm", **person, received_at=NOW + 9)
    with driver.engine().begin() as connection:
        contacts = PhoneNumber("202-555-0134", "US").contacts(IDENTITY)
        tombstones.keep_contacts(connection, contacts, NOW + 1, NOW + 60)

    assert await store.accept([waited, later, routed("crm")]) == [False, True, True]


async def test_they_are_pruned_when_they_are_over(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tombstones, "STEP", 2)
    ids = [bytes([number]) * 16 for number in range(4)]
    with driver.engine().begin() as connection:
        tombstones.add_tombstones(connection, ids[:3], NOW)
        tombstones.add_tombstones(connection, ids[2:3], None)
        tombstones.add_tombstones(connection, ids[2:], NOW)
        tombstones.keep_contacts(connection, [1, 2], NOW, NOW)
        tombstones.keep_contacts(connection, [2], NOW + 5, NOW + 9)

    assert await store.change(lambda c: tombstones.prune_tombstones(c, NOW + 1))
    while await store.change(lambda c: tombstones.prune_tombstones(c, NOW + 1)):
        pass

    with driver.engine().connect() as connection:
        assert [bytes(each) for each in connection.execute(select(kept.c.id)).scalars()] == [ids[2]]
    (row,) = rows(driver, contact_tombstones)
    assert (row.contact, row.before, row.until) == (2, NOW + 5, NOW + 9)


def test_what_is_deleted_is_overwritten_however_sqlite_was_built(
    embedded: SqliteDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def built_otherwise(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*arguments, **options)
        made.execute("PRAGMA secure_delete = OFF")
        return made

    monkeypatch.setattr(sqlite3, "connect", built_otherwise)
    with embedded.connect() as connection, embedded.engine().connect() as other:
        for each in (connection, other):
            assert each.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
