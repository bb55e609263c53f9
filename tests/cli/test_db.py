"""`leadbridge db`, and stores in the wrong state."""

import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection

from bridge.store import sqlite as engine
from bridge.store import transaction
from bridge.store.driver import raw
from bridge.store.preparation import HEAD
from bridge.store.schema import metadata
from tests.building import lead

if TYPE_CHECKING:
    from tests.cli.conftest import Place


def test_migrate_makes_the_store_and_a_second_time_does_nothing(place: "Place") -> None:
    first = place("db", "migrate")
    second = place("db", "migrate")

    assert (first.exit_code, first.stdout) == (0, f"the store has been brought to revision {HEAD}\n")
    assert (second.exit_code, second.stdout) == (0, f"the store is at revision {HEAD} already; nothing to do\n")
    assert place.rows("events", "list") == []


def test_a_good_store_is_checked(filled: "Place") -> None:
    result = filled("db", "check")

    assert (result.exit_code, result.stdout) == (0, f"good: revision {HEAD}, sqlite, undamaged, can be written\n")


def test_a_store_that_is_not_there_is_not_made(place: "Place") -> None:
    for arguments in (["db", "check"], ["deliveries", "list"], ["lanes", "pause", "crm"]):
        assert place(*arguments).exit_code == 1

    assert not place.driver.path.exists()


def test_damage_is_named(filled: "Place") -> None:
    with sqlite3.connect(filled.driver.path) as connection:
        connection.execute("DELETE FROM events WHERE seq = 2")
    connection.close()

    result = filled("db", "check")

    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "damaged: row 2 of deliveries belongs to a row of events that does not exist"
    assert lines[-1].startswith("the store is damaged: stop")


def test_a_file_that_is_no_store_is_one_line(place: "Place") -> None:
    place.driver.path.write_bytes(b"this is not a database, but long enough to be taken for the header of one" * 20)

    for arguments in (["db", "check"], ["events", "list"], ["db", "migrate"]):
        result = place(*arguments)
        assert result.exit_code == 1
        assert "not a database" in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP TABLE alembic_version", "the store has no tables yet"),
        ("UPDATE alembic_version SET version_num = '9999'", "the store is at revision 9999, and this version works on"),
    ],
)
def test_another_revision_says_what_to_do(leadbridge: "Place", statement: str, words: str) -> None:
    with sqlite3.connect(leadbridge.driver.path) as connection:
        connection.execute(statement)
    connection.close()

    result = leadbridge("events", "list")

    assert result.exit_code == 1
    assert words in result.stderr
    assert "`leadbridge db migrate`" in result.stderr


def test_a_store_that_stays_locked_is_one_line_and_nothing_is_changed(
    filled: "Place", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.01)
    other = sqlite3.connect(filled.driver.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    for arguments in (["deliveries", "replay", 3, 1], ["lanes", "pause", "crm"], ["db", "check"]):
        result = filled(*arguments)
        assert result.exit_code == 1
        assert not result.stdout
        assert result.stderr == (
            "the store does not let a change begin: database is locked; nothing was changed. See what else uses it "
            "(a backup, a shell), then try again\n"
        )
    assert len(filled.rows("deliveries", "list")) == 5
    other.execute("ROLLBACK")
    other.close()
    assert filled("deliveries", "replay", 3).exit_code == 0


def test_a_locked_store_is_not_migrated(leadbridge: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.01)
    other = sqlite3.connect(leadbridge.driver.path, isolation_level=None)
    for table in (*metadata.tables, "alembic_version"):
        other.execute(f"DROP TABLE {table}")
    other.execute("BEGIN IMMEDIATE")

    result = leadbridge("db", "migrate")
    other.close()

    assert result.exit_code == 1
    assert result.stderr == "the store cannot be migrated: database is locked; it is as it was\n"


def test_a_short_lock_is_waited_for(filled: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.01)
    other = sqlite3.connect(filled.driver.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tries: list[str] = []

    def release_at_the_third_try(connection: Connection) -> object:
        driver = raw(connection)

        class Counting:
            def execute(self, text: str) -> object:
                tries.append(text)
                if len(tries) == 3:
                    other.execute("ROLLBACK")
                return driver.execute(text)

        return Counting()

    monkeypatch.setattr(transaction, "raw", release_at_the_third_try)

    assert filled("lanes", "pause", "crm").exit_code == 0
    assert tries == ["BEGIN IMMEDIATE"] * 3 + ["COMMIT"]
    other.close()


def test_an_error_of_the_engine_does_not_show_what_was_written(
    leadbridge: "Place", monkeypatch: pytest.MonkeyPatch
) -> None:
    leadbridge.receive(lead(Email="secret-person@example.com"))
    with sqlite3.connect(leadbridge.driver.path) as connection:
        connection.execute("DROP TABLE attempts")
        connection.execute("ALTER TABLE lanes RENAME COLUMN pause_reason TO something_else")
    connection.close()

    for arguments in (["deliveries", "show", "1"], ["lanes", "pause", "crm", "--reason", "because of Jo"]):
        result = leadbridge(*arguments)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        assert "no such" in result.stderr
        assert "because of Jo" not in result.stderr
