import pytest

from bridge.store.secrets import StoreVault
from bridge.store.sql import SqlStore
from connectors.base import VaultError
from tests.building import NOW

pytestmark = pytest.mark.each_engine


async def test_a_secret_is_kept_by_destination_and_name_and_replaced(store: SqlStore) -> None:
    mine, other = (StoreVault(store, name, lambda: NOW) for name in ("crm", "mail"))
    assert await mine.read("refresh_token") is None
    await mine.write("refresh_token", "first")
    await mine.write("refresh_token", "second")
    await mine.write("else", "thing")
    assert await mine.read("refresh_token") == "second"
    assert await other.read("refresh_token") is None


async def test_a_store_in_trouble_is_said_so(store: SqlStore) -> None:
    await store.close()
    with pytest.raises(VaultError):
        await StoreVault(store, "crm", lambda: NOW).write("refresh_token", "lost")
