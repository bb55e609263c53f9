"""Which rows need which key, and that encrypting anew reaches every value: on each engine."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, LargeBinary, select, update

from bridge.errors import OperatorError
from bridge.store import commands, rotation
from bridge.store.config_texts import write_config_texts
from bridge.store.driver import Driver
from bridge.store.encryption import MARK, NO_KEYS, TEXT_MARK, KeyRing, attach_keys
from bridge.store.exchanges import exchanges_of
from bridge.store.interface import Attempt, NewDelivery, Pause, QuarantinedRequest, RoutedEvent
from bridge.store.preparation import prepare
from bridge.store.quarantine import quarantined
from bridge.store.queries import delivery_details, payload
from bridge.store.rotation import ENCRYPTED_TABLES, Rotation
from bridge.store.schema import deliveries, events, metadata
from bridge.store.secrets import read_secret, write_secret
from bridge.store.sql import SqlStore
from tests.building import IDENTITY, NOW, event
from tests.store.test_sql import delivered, lease

pytestmark = pytest.mark.each_engine

ONE, TWO = bytes(range(32)), bytes(range(32, 64))
OLD, NEW = KeyRing((ONE,)), KeyRing((TWO, ONE))
SAID = "said by the destination of ann@example.com"


async def fill(driver: Driver, keys: KeyRing) -> None:
    """Put something into every column that is encrypted."""
    driver.keys = keys
    prepare(using(driver, keys))
    store = SqlStore(driver)
    await store.identity(None)
    await store.accept([RoutedEvent(event(), (NewDelivery("crm", "crm"), NewDelivery("other", "other", SAID)))])
    held = await lease(store)
    (due,) = await store.due("crm", 0, 10)
    (read,) = await store.read("crm", [due.id])
    settled = delivered(due.id, read.event_id)
    exchange = f'[{{"method": "POST", "url": "{SAID}", "sent": null, "status": 200, "received": null}}]'
    tried = Attempt(1, NOW, 0.1, "delivered", None, 200, SAID, exchange)
    await store.settle(
        held, [settled._replace(detail=SAID, warning=SAID, remote_url=SAID, memo={"n": SAID}, attempt=tried)]
    )
    await store.pause(held, Pause("lane", "auth", SAID, NOW + 60), NOW)
    await store.quarantine(QuarantinedRequest(NOW, "acme", "t=1,v1=2", SAID.encode()), IDENTITY)
    await store.change(lambda c: write_secret(c, "crm", "refresh_token", SAID, NOW))
    await store.change(lambda c: write_config_texts(c, {"/etc/leadbridge/acme.yaml": SAID.encode()}, []))
    await store.close()


def using(driver: Driver, keys: KeyRing) -> Driver:
    """Have the driver's next connections carry these keys."""
    driver.keys = keys
    for name in ("_autocommit", "_transactions"):
        if engine := getattr(driver, name, None):
            attach_keys(engine, keys)
    return driver


def rotated(driver: Driver, keys: KeyRing) -> Rotation:
    using(driver, keys)

    def run(function: Callable[[Connection], Any]) -> Any:
        with driver.engine().begin() as connection:
            return function(connection)

    rotation_ = Rotation(run, run)
    assert sum(rotation_.steps())
    return rotation_


def values(driver: Driver) -> dict[str, list[Any]]:
    """Give what stands in the encrypted columns, by their names."""
    with driver.engine().connect() as connection:
        return {
            f"{kind.table.name}.{column.name}": [
                bytes(value) if isinstance(column.type, LargeBinary) else value
                for value in connection.execute(select(column).where(column.is_not(None))).scalars()
            ]
            for kind in ENCRYPTED_TABLES
            for column in kind.columns
        }


def unsealed(driver: Driver) -> list[str]:
    return [
        name
        for name, kept in values(driver).items()
        for value in kept
        if value and not (value.startswith(MARK) if isinstance(value, bytes) else value.startswith(TEXT_MARK))
    ]


async def test_every_column_that_is_filled_is_encrypted(driver: Driver) -> None:
    await fill(driver, OLD)
    kept = values(driver)
    assert [name for name, each in kept.items() if not each] == []
    assert unsealed(driver) == []
    text = repr(kept)
    assert "ann@example.com" not in text


@pytest.mark.parametrize("before", [NO_KEYS, OLD])
async def test_all_of_it_gets_the_first_key_and_stays_what_it_was(driver: Driver, before: KeyRing) -> None:
    await fill(driver, before)
    using(driver, NEW)
    with driver.engine().connect() as connection:
        census = rotation.count_by_key(connection)
        assert set(census) == {before.ids[0] if before else None}
    assert rotated(driver, NEW).damaged == set()
    assert unsealed(driver) == []
    with driver.engine().begin() as connection:
        assert rotation.count_by_key(connection) == {NEW.ids[0]: census.total()}
        rotation.list_first_key(connection)
        rotation.unlist_other_keys(connection)
    using(driver, KeyRing((TWO,)))
    prepare(driver)
    with driver.engine().connect() as connection:
        (seq,) = connection.execute(select(events.c.seq)).scalars()
        assert payload(connection, seq).startswith(b"{")
        first, second = connection.execute(select(deliveries.c.id).order_by(deliveries.c.id)).scalars()
        story, other = delivery_details(connection, first), delivery_details(connection, second)
        assert story is not None
        assert other is not None
        assert (story.detail, story.warning, story.remote_url, story.memo["n"], story.tries[0].detail) == (SAID,) * 5
        assert other.detail == SAID
        assert [each.url for each in exchanges_of(connection, first)[1]] == [SAID]
        kept = quarantined(connection, 1)
        assert kept is not None
        assert (kept.body, kept.signature) == (SAID.encode(), "t=1,v1=2")
    store = SqlStore(driver)
    assert await store.query(lambda c: read_secret(c, "crm", "refresh_token")) == SAID
    pause = await store.pause_of("crm")
    assert pause is not None
    assert (pause.reason, pause.detail) == ("auth", SAID)
    await store.close()


async def test_a_start_without_a_needed_key_is_refused_with_its_id(driver: Driver) -> None:
    await fill(driver, OLD)
    for keys in (NO_KEYS, KeyRing((TWO,))):
        with pytest.raises(OperatorError, match=OLD.ids[0]):
            prepare(using(driver, keys))
    prepare(using(driver, NEW))
    with pytest.raises(OperatorError, match=NEW.ids[0]):
        prepare(using(driver, OLD))


async def test_a_damaged_row_is_named_and_the_others_are_done(driver: Driver) -> None:
    await fill(driver, OLD)
    with driver.engine().begin() as connection:
        connection.execute(update(events).values(payload=OLD.seal(b"of another row", "events.payload", b"x")))
    rotation_ = rotated(driver, NEW)
    assert {table for table, _ in rotation_.damaged} == {"events"}
    with driver.engine().connect() as connection:
        assert rotation.count_by_key(connection)[OLD.ids[0]] == 1


async def test_a_damaged_payload_becomes_a_dead_letter_and_holds_up_no_other(driver: Driver) -> None:
    using(driver, OLD)
    prepare(driver)
    store = SqlStore(driver)
    await store.accept([RoutedEvent(event(), (NewDelivery("crm", "crm"),)) for _ in range(2)])
    with driver.engine().begin() as connection:
        first = connection.execute(select(events.c.seq).order_by(events.c.seq)).scalars().all()[0]
        wrong = OLD.seal(b"{}", "events.payload", b"another")
        connection.execute(update(events).where(events.c.seq == first).values(payload=wrong))
    read = await store.read("crm", [each.id for each in await store.due("crm", 0, 10)])
    assert [bool(each.payload) for each in read] == [False, True]
    await store.close()


async def test_an_operators_words_about_a_pause_are_encrypted_too(driver: Driver) -> None:
    using(driver, OLD)
    prepare(driver)
    with driver.engine().begin() as connection:
        commands.pause_lane(connection, "crm", Pause("operator", SAID))
    assert unsealed(driver) == []
    store = SqlStore(driver)
    pause = await store.pause_of("crm")
    assert pause is not None
    assert pause.reason == SAID
    await store.close()


def test_every_table_that_can_hold_a_word_is_known() -> None:
    """A new column for texts has to be looked at here."""
    names = {f"{kind.table.name}.{column.name}" for kind in ENCRYPTED_TABLES for column in kind.columns}
    texts = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if type(column.type).__name__ in {"Text", "LargeBinary"}
    }
    # Hashes, names and labels of the configuration, and numbers.
    others = {"audit.facts", "events.id", "members.lanes", "proofs.fingerprint", "quarantine.digest", "tombstones.id"}
    others |= {"reports.left", "sessions.id", "sessions.proof"}
    assert texts - names == others
