"""The key of an installation: made once, shared by its processes, carried by its backups, never changed unseen."""

import threading

import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from bridge.errors import OperatorError
from bridge.identity import Identity
from bridge.store.backup import back_up
from bridge.store.driver import Driver
from bridge.store.installation import adopt, known
from bridge.store.postgres import PostgresDriver
from bridge.store.schema import installation
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from tests import postgresql
from tests.building import IDENTITY, IDENTITY_KEY, event

pytestmark = pytest.mark.each_engine

OTHER_KEY = bytes(reversed(range(32)))


def adopted(driver: Driver, given: bytes | None = None) -> Identity:
    with driver.engine().begin() as connection:
        return adopt(connection, given)


async def test_the_key_is_made_once_and_is_random(driver: Driver, store: SqlStore) -> None:
    with driver.engine().connect() as connection:
        assert known(connection, None) is None
    first = await store.identity(None)
    assert await store.identity(None) == adopted(driver) == first
    assert first != IDENTITY
    with driver.engine().connect() as connection:
        assert known(connection, first.key) == first


def test_a_given_key_is_used_and_is_not_in_the_store(driver: Driver) -> None:
    assert adopted(driver, IDENTITY_KEY) == adopted(driver, IDENTITY_KEY) == IDENTITY
    with driver.engine().connect() as connection:
        (value,) = connection.execute(select(installation.c.value)).scalars()
    assert bytes(value) == IDENTITY.check
    assert IDENTITY_KEY not in bytes(value)


def test_another_key_is_refused(driver: Driver) -> None:
    adopted(driver, IDENTITY_KEY)
    with pytest.raises(OperatorError, match=r"store\.identity_key: the store is used with another key") as told:
        adopted(driver, OTHER_KEY)
    assert OTHER_KEY.hex() not in str(told.value)
    with pytest.raises(OperatorError, match="the configuration has none: add the key"):
        adopted(driver)


def test_a_given_key_does_not_replace_the_stores_own(driver: Driver) -> None:
    own = adopted(driver)
    with pytest.raises(OperatorError, match=r"remove store\.identity_key"):
        adopted(driver, IDENTITY_KEY)
    assert adopted(driver) == own == adopted(driver, own.key)


def test_processes_that_begin_at_once_agree() -> None:
    with postgresql.database() as url:
        gate = threading.Barrier(6)
        found: list[Identity] = []

        def begin() -> None:
            engine = PostgresDriver(url).engine()
            with engine.begin() as connection:
                gate.wait(10)
                found.append(adopt(connection, None))

        processes = [threading.Thread(target=begin) for _ in range(6)]
        for each in processes:
            each.start()
        for each in processes:
            each.join()
        assert len(found) == 6
        assert len(set(found)) == 1


def test_a_backup_carries_it(embedded: SqliteDriver) -> None:
    own = adopted(embedded)
    target = embedded.path.with_name("backup.db")
    back_up(embedded.path, target)
    restored = adopted(SqliteDriver(make_url(f"sqlite:///{target}")))
    assert restored.event_id(event().fields)[10:] != IDENTITY.event_id(event().fields)[10:]
    assert restored == own


def test_two_stores_have_different_keys(embedded: SqliteDriver) -> None:
    from bridge.store.preparation import migrate

    other = SqliteDriver(make_url(f"sqlite:///{embedded.path.with_name('other.db')}"))
    migrate(other.engine())
    assert adopted(embedded) != adopted(other)
