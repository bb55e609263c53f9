"""The room that is kept beside a spool, on a small disk."""

import contextlib
import itertools
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from bridge.errors import StoreUnavailableError
from bridge.store.preparation import migrate
from bridge.store.spool import LEAST_BYTES, RESERVE_BYTES, SHARE, Reserve, SpoolStore
from bridge.store.sqlite import SqliteDriver
from tests.acceptance.trouble import DISK_BYTES, full_disk, small_disk
from tests.building import routed


def test_it_takes_room_and_gives_it_back_once(tmp_path: Path) -> None:
    kept, file = Reserve(tmp_path / "spool.db"), tmp_path / "spool.db-reserve"
    kept.keep()
    kept.keep()
    found = file.stat()
    assert found.st_size <= RESERVE_BYTES
    assert found.st_blocks * 512 >= found.st_size, "it takes no room"
    assert found.st_mode & 0o077 == 0
    assert kept.free()
    assert not file.exists()
    assert not kept.free()


def test_it_takes_a_part_of_a_small_disk_and_nothing_of_a_full_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        kept, file = Reserve(disk / "spool.db"), disk / "spool.db-reserve"
        kept.keep()
        assert LEAST_BYTES <= file.stat().st_size <= DISK_BYTES // SHARE
        kept.free()
        with full_disk(disk):
            kept.keep()
            assert not file.exists()


async def test_it_lets_a_spool_delete_that_has_filled_its_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        driver = SqliteDriver(make_url(f"sqlite:///{disk}/spool.db"))
        migrate(driver.engine())
        spool = SpoolStore(driver)
        await spool.keep_reserve()
        with contextlib.suppress(StoreUnavailableError):
            for number in itertools.count():
                await spool.accept([routed("crm", SessionID=number, Content="x" * 2_000)])
                if number % 50 == 0:
                    await spool.truncate_log()
        with pytest.raises(StoreUnavailableError):
            await spool.remove(10**9, 200)
        for _ in range(20):
            # Each round fills the log, which is then copied and truncated.
            await spool.make_room()
            with contextlib.suppress(StoreUnavailableError):
                while await spool.remove(10**9, 20):
                    pass
                break
        assert await spool.size() == 0
        await spool.close()


def test_one_that_cannot_be_taken_whole_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError

    monkeypatch.setattr("os.posix_fallocate", full)
    Reserve(tmp_path / "spool.db").keep()
    assert list(tmp_path.iterdir()) == []
