"""`leadbridge db backup`."""

import shutil
import sqlite3
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import URL, make_url

from bridge.store import backup
from bridge.store.sqlite import SqliteDriver
from tests.building import lead

if TYPE_CHECKING:
    from tests.cli.conftest import Place


def restored(place: "Place", copy: Path) -> None:
    """Put a copy in the place of the store, as the documents say."""
    for ending in ("", "-wal", "-shm"):
        place.driver.path.with_name(place.driver.path.name + ending).unlink(missing_ok=True)
    shutil.copy(copy, place.driver.path)
    # A process that had opened the file before would refuse it.
    place.driver = SqliteDriver(make_url(f"sqlite:///{place.driver.path}"))


def test_a_copy_is_checked_and_can_be_restored(filled: "Place") -> None:
    before = filled.rows("deliveries", "list")
    target = filled.folder / "copy of 'monday'.db"

    result = filled("db", "backup", target)

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{target}: 5 events, 2 of their deliveries pending, ")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not list(filled.folder.glob("*.part"))
    filled.receive(lead())
    restored(filled, target)
    assert filled("db", "check").exit_code == 0
    assert filled.rows("deliveries", "list") == before
    assert len(filled.receive(lead())) == 1


def test_a_restored_store_is_as_a_new_one_is_made(filled: "Place") -> None:
    """Free pages can be given back in steps, which must be chosen when a store is made."""
    filled("db", "backup", "copy.db")
    with sqlite3.connect(filled.folder / "copy.db") as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()


def test_what_is_not_in_the_database_file_yet_is_in_the_copy_and_what_was_deleted_is_not(filled: "Place") -> None:
    with sqlite3.connect(filled.driver.path) as writer:
        writer.execute("PRAGMA secure_delete = OFF")
        writer.execute("PRAGMA foreign_keys = ON")
        writer.execute("DELETE FROM events WHERE seq = 1")
        writer.commit()
        assert filled.driver.path.with_name("leadbridge.db-wal").stat().st_size

        assert filled("db", "backup", "copy.db").stdout.startswith("copy.db: 4 events, ")
    writer.close()
    content = (filled.folder / "copy.db").read_bytes()
    assert b"person1@example.com" not in content
    assert b"person2@example.com" in content


def test_it_works_beside_a_process_that_serves_and_writes(filled: "Place") -> None:
    filled.driver.lock()
    writer = sqlite3.connect(filled.driver.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM events WHERE seq = 1")
    try:
        assert filled("db", "backup", "copy.db").stdout.startswith("copy.db: 5 events, ")
    finally:
        writer.execute("ROLLBACK")
        writer.close()
        filled.driver.unlock()


@pytest.mark.parametrize("name", ["config.yaml", "leadbridge.db"])
def test_a_file_that_is_there_is_not_replaced(filled: "Place", name: str) -> None:
    before = (filled.folder / name).read_bytes()

    result = filled("db", "backup", name)

    assert result.exit_code == 1
    assert result.stderr == f"{name}: exists already; name a new file, since a backup replaces nothing\n"
    assert (filled.folder / name).read_bytes() == before


def test_one_that_comes_meanwhile_is_not_replaced_either(filled: "Place") -> None:
    target = filled.folder / "copy.db"
    original = backup.damages

    def late(connection: sqlite3.Connection) -> object:
        target.write_bytes(b"somebody else's")
        return original(connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "damages", late)
        assert filled("db", "backup", target).exit_code == 1
    assert target.read_bytes() == b"somebody else's"
    assert not list(filled.folder.glob("*.part"))


@pytest.mark.parametrize(
    ("target", "words"),
    [("nowhere/copy.db", "its folder must exist"), ("config.yaml/copy.db", "its folder must exist")],
)
def test_a_place_that_cannot_be_written_is_one_line(filled: "Place", target: str, words: str) -> None:
    result = filled("db", "backup", target)

    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_backup_that_was_cut_off_is_named(filled: "Place") -> None:
    (filled.folder / "copy.db.part").write_bytes(b"")

    assert "another backup is running or was interrupted" in filled("db", "backup", "copy.db").stderr
    assert not (filled.folder / "copy.db").exists()


def test_a_damaged_store_gives_no_backup(filled: "Place") -> None:
    with sqlite3.connect(filled.driver.path) as connection:
        connection.execute("DELETE FROM events WHERE seq = 2")
    connection.close()

    result = filled("db", "backup", "copy.db")

    assert result.exit_code == 1
    assert "the copy is damaged: row 2 of deliveries" in result.stderr
    assert not list(filled.folder.glob("copy.db*"))


def test_a_full_disk_is_one_line(filled: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_sync", full)

    result = filled("db", "backup", "copy.db")

    assert result.stderr == "copy.db: no backup was made: No space left on device; see that its folder has room\n"
    assert not list(filled.folder.glob("copy.db*"))


def test_no_store_is_made_by_it(place: "Place") -> None:
    assert place("db", "backup", "copy.db").exit_code == 1
    assert not list(place.folder.glob("*.db*"))


def test_for_postgresql_it_names_pg_dump_and_no_password(place: "Place") -> None:
    place.configure(
        place.path.read_text().replace("sqlite:///leadbridge.db", "postgresql://me:a-password@127.0.0.1:9/leads")
    )

    result = place("db", "backup", "copy.db")

    assert result.exit_code == 1
    assert "pg_dump" in result.stderr
    assert "a-password" not in result.output


def test_a_store_that_takes_events_all_the_while_is_copied_whole(filled: "Place") -> None:
    """Every copy is one moment of it: no delivery without its event, no event cut in two."""
    done = threading.Event()

    def write() -> None:
        driver = SqliteDriver(_url(filled))
        with driver.connect() as connection:
            while not done.wait(0.001):
                connection.exec_driver_sql(
                    "INSERT INTO events (id, received_at, chatbot, state, type, form, payload) "
                    "VALUES (randomblob(16), 1.0, 'acme', 'accepted', 'Lead', 'raw', randomblob(9000))"
                )

    writing = threading.Thread(target=write)
    writing.start()
    try:
        results = [filled("db", "backup", f"{number}.db") for number in range(5)]
    finally:
        done.set()
        writing.join()
    assert [each.exit_code for each in results] == [0] * 5
    counts = [int(each.stdout.split(": ")[1].split(" ")[0]) for each in results]
    assert counts == sorted(counts)


def _url(place: "Place") -> URL:
    return make_url(f"sqlite:///{place.driver.path}")
