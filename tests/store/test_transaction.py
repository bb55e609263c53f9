"""A person's change waits for a lock that another one holds, and tries again."""

import pytest
from sqlalchemy import Connection

from bridge.errors import StoreUnavailableError
from bridge.store.driver import Driver, raw
from bridge.store.sqlite import SqliteDriver
from bridge.store.transaction import BEGINNINGS, transaction

pytestmark = pytest.mark.each_engine

COUNT = "INSERT INTO changes (id, number) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET number = changes.number + 1"


@pytest.fixture
def impatient(driver: Driver) -> Driver:
    """The driver of a store, which waits for a lock for a moment only."""
    driver.begin = driver.begin.replace(
        "set_config('lock_timeout', '5s', true)", "set_config('lock_timeout', '50ms', true)"
    )
    return driver


def _holding(driver: Driver) -> Connection:
    other = driver.connect()
    raw(other).execute("BEGIN IMMEDIATE" if isinstance(driver, SqliteDriver) else "BEGIN")
    raw(other).execute(COUNT)
    return other


@pytest.mark.parametrize("failures", [1, BEGINNINGS])
def test_it_begins_when_the_other_has_ended(impatient: Driver, failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    other, left = _holding(impatient), failures
    roll_back = impatient.roll_back

    def failed(connection: Connection) -> bool:
        nonlocal left
        left -= 1
        if not left:
            raw(other).execute("COMMIT")
        return roll_back(connection)

    monkeypatch.setattr(impatient, "roll_back", failed)
    if failures < BEGINNINGS:
        with transaction(impatient) as connection:
            raw(connection).execute(COUNT)
    else:
        with pytest.raises(StoreUnavailableError, match="lock"), transaction(impatient):
            pass
    other.close()
    assert left == 0
