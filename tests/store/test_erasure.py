"""What holds an e-mail address, and that nothing of it is left: on each engine, and in SQLite's files."""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge.event import EventState, Form
from bridge.store import erasure
from bridge.store.driver import Driver
from bridge.store.erasure import PersonMatches, Remains
from bridge.store.exchanges import read_content
from bridge.store.interface import NewDelivery, QuarantinedRequest, RoutedEvent
from bridge.store.person_match import EmailAddress, Mention, PersonWords, PhoneNumber
from bridge.store.schema import attempts, deliveries, events, exchanges, lanes, quarantine
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from connectors.base import Exchange
from tests.building import IDENTITY, NOW, event, lead, routed
from tests.store.test_sql import delivered, lease, rows

pytestmark = pytest.mark.each_engine

ANN = EmailAddress("Ann@Example.com")


# -- whether an address stands somewhere


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com",
        "  ANN@EXAMPLE.COM ",
        "Ann <ann@example.com>",
        "write to ann@example.com. Thanks",
        "mailto:ann@example.com?subject=x",
        "https://example.org/?e=ann%40example.com&x=1",
        "https://example.org/?next=%2F%3Fe%3Dann%2540example.com",
        "我的邮箱是ann@example.com谢谢",
        "".join(chr(ord(each) + 0xFEE0) for each in "ann@example.com"),  # full width
        "_ann@example.com_",
        "not joann@example.com, but ann@example.com",
        json.dumps({"inner": "ann@example.com"}).replace("@", "\\u0040"),
    ],
)
@pytest.mark.parametrize(
    "spelling", [json.dumps, orjson.dumps, lambda value: json.dumps(value).replace("a", "\\u0061")]
)
def test_an_address_is_found_however_it_is_written(text: str, spelling: Any) -> None:
    written = spelling({"Email": "", "Content": text})
    assert ANN.in_body(written if isinstance(written, bytes) else written.encode()) is Mention.SURE


@pytest.mark.parametrize(
    "text",
    [
        "joann@example.com",
        "jo.ann@example.com",
        "jo+ann@example.com",
        "jo_-ann@example.com",
        "ann@example.com.au",
        "ann@example.community",
        "ann@example.com-x.org",
        "https://example.org/?e=jo%2Bann%40example.com",
    ],
)
def test_somebody_elses_longer_address_is_not_sure(text: str) -> None:
    assert ANN.in_body(json.dumps({"Email": text}).encode()) is Mention.UNSURE


@pytest.mark.parametrize("text", ["", "ann@example.org", "ann example.com", "ann@exampleXcom", "100 % sure \\u00"])
def test_another_address_is_not_found(text: str) -> None:
    assert ANN.in_body(json.dumps({"Email": text}).encode()) is Mention.NONE


@pytest.mark.parametrize(
    "body",
    [
        b"Email=ann%40example.com&Type=Lead",
        b'{"Email": "ann@example.com", "Email": "other@example.com"}',
        b'{"ann@example.com": 1}',
        b'[[{"a": [1, null, true, "ann\\u0040EXAMPLE.com"]}]]',
        b'\xff"broken": ann@example.com',
        b'{"cut off": "ann\\u0040example.com',
    ],
)
def test_any_body_is_looked_into(body: bytes) -> None:
    assert ANN.in_body(body) is Mention.SURE


def test_a_long_message_of_the_person_makes_each_answer_little_dearer() -> None:
    """An erasure looks through every answer of a week."""
    answer = ('{"email": "grace@example.com", "note": "nothing of anybody else"}, ' * 60)[:4_000]
    end = "and this end is repeated by a destination, word for word"

    def seconds(message: str) -> float:
        words = PersonWords(EmailAddress("ada@example.com"))
        words.add(orjson.dumps(lead(Email="ada@example.com", Content=message)))
        assert words.in_text(f"{answer}{end}") is (end in message)
        began = time.process_time()
        assert not any(words.in_text(answer) for _ in range(200))
        return time.process_time() - began

    assert min(seconds("word " * 200 + end) for _ in range(3)) < 3 * min(seconds("no") for _ in range(3))


@pytest.mark.parametrize("email", ["", "ann", "@example.com", "ann@", "ann b@example.com", "a@b\nc"])
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(ValueError, match="NAME@DOMAIN"):
        EmailAddress(email)


def test_a_repr_says_nothing_of_it() -> None:
    assert "example" not in repr(ANN)


# -- whether a number stands somewhere

NUMBER = PhoneNumber("+1 (202) 555-0123")


@pytest.mark.parametrize(
    "text",
    [
        "+1 202 555 0123",
        "12025550123",
        "(202) 555-0123",
        "202.555.0123",
        "001 202 5550123",
        "call 2025550123!",
        "tel:+1-202-555-0123",
        "".join(chr(ord(each) + 0xFEE0) for each in "2025550123"),  # full width
        "%2B12025550123",
    ],
)
def test_a_number_is_found_however_it_is_written(text: str) -> None:
    assert NUMBER.in_body(json.dumps({"PhoneNumber": text}).encode()) is Mention.SURE
    assert (
        NUMBER.in_body(json.dumps({"Content": text}, ensure_ascii=False).replace("2", "\\u0032").encode())
        is Mention.SURE
    )


@pytest.mark.parametrize("text", ["+44 202 555 0123", "92025550123", "20255501234"])
def test_another_countrys_or_a_longer_number_is_not_sure(text: str) -> None:
    assert NUMBER.in_body(json.dumps({"Content": text}).encode()) is Mention.UNSURE


def test_a_number_is_known_with_its_country() -> None:
    """As it is given, and both ways where the country is known, by a + or by name."""
    national = PhoneNumber("030 123456 78", "DE")
    assert national.in_body(b'{"PhoneNumber": "+493012345678"}') is Mention.SURE
    assert PhoneNumber("+49 30 12345678").in_body(b'{"PhoneNumber": "(030) 12345678"}') is Mention.SURE
    assert PhoneNumber("030 12345678").in_body(b'{"PhoneNumber": "+493012345678"}') is Mention.NONE
    assert PhoneNumber("030 12345678").in_body(b'{"PhoneNumber": "030/12345678"}') is Mention.SURE
    assert NUMBER.in_body(b'{"PhoneNumber": 12025550123}') is Mention.SURE


def test_a_short_number_counts_in_its_field_only() -> None:
    short = PhoneNumber("555 0123")
    assert short.in_body(b'{"PhoneNumber": "555-0123"}') is Mention.SURE
    assert short.in_body(b'{"Content": "order 5550123"}') is Mention.UNSURE
    assert short.in_body(b'{"SessionID": 5550123, "Content": ""}') is Mention.NONE


@pytest.mark.parametrize("number", ["", "555 012", "call 2025550123", "ann@example.com"])
def test_what_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="at least 7"):
        PhoneNumber(number)


# -- rows, on each engine

MESSAGE = "I need forty chairs by the end of March, and somebody who puts them up"


def look(driver: Driver) -> tuple[PersonMatches, PersonMatches]:
    found, requests = PersonMatches(), PersonMatches()
    after: int | None = 0
    with driver.engine().connect() as connection:
        while after is not None:
            after = erasure.match_events(connection, ANN, after, found, PersonWords(ANN), IDENTITY)
        assert erasure.match_requests(connection, ANN, 0, requests, PersonWords(ANN), IDENTITY) is None
    return found, requests


async def filled(store: SqlStore) -> None:
    """Four events of Ann's (of all states), two of others, two requests; the first delivery has been made."""
    await store.accept(
        [
            routed("crm", "mail", Email="ann@example.com"),
            routed("crm", Email="joann@example.com"),
            routed("crm", Email="", Content="please answer to ANN@example.com"),
            routed("crm", "mail"),
            RoutedEvent(
                event()._replace(
                    payload=b"no JSON: ann@example.com", state=EventState.UNRECOGNISED, type=None, form=Form.RAW
                )
            ),
            RoutedEvent(event(Email="ann@example.com")._replace(state=EventState.TEST)),
        ]
    )
    await store.settle(await lease(store), [delivered(1)])
    for document in (lead(Email="ann@example.com"), lead()):
        assert await store.quarantine(
            QuarantinedRequest(NOW, "acme", "t=1,v1=0", json.dumps(document).encode()), IDENTITY
        )


async def test_finds_what_holds_it_in_steps(store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "READ_STEP", 2)
    await filled(store)

    found = PersonMatches()
    steps = []
    with driver.engine().connect() as connection:
        after: int | None = 0
        while after is not None:
            after = erasure.match_events(connection, ANN, after, found, PersonWords(ANN), IDENTITY)
            steps.append(after)
        extent = erasure.erasure_extent(connection, list(found.sure))

    assert steps == [2, 4, 6, None]
    assert list(found.sure) == [1, 3, 5, 6]
    assert [found.sure[1]] == [row.id.hex() for row in rows(driver, events)[:1]]
    assert found.unsure == [rows(driver, events)[1].id.hex()]
    assert (extent.deliveries, extent.pending) == (3, {"mail": 1, "crm": 1})


async def test_erases_these_and_leaves_the_others(store: SqlStore, driver: Driver) -> None:
    await filled(store)
    found, requests = look(driver)
    for _ in range(2):  # a second time does no harm
        with driver.engine().begin() as connection:
            erasure.erase_events(connection, list(found.sure))
            erasure.erase_requests(connection, list(requests.sure))

    assert [row.seq for row in rows(driver, events)] == [2, 4]
    assert {row.event_seq for row in rows(driver, deliveries)} == {2, 4}
    assert rows(driver, attempts) == []
    assert [row.id for row in rows(driver, quarantine)] == [2]
    assert look(driver)[0].sure == {}


async def test_what_destinations_said_of_the_person_goes_as_a_whole(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the address, the name or the message of the erased event; in any lead's story, and in a lane's reason."""
    monkeypatch.setattr(erasure, "READ_STEP", 2)
    said = [
        "it knows ANN@example.com already",
        "Ann  Bolena exists twice",
        "PROPERTY_INVALID: 'I need forty chairs by the end of M' is too long",
        "the record of BOLENA is locked",
        "joann@example.com and Annabel are others",
        "401: the token has expired",
    ]
    person = event(Email="ann@example.com", FirstName="Ann", LastName="Bolena", Content=MESSAGE)
    await store.accept([RoutedEvent(person, (NewDelivery("crm", "crm"),)), *(routed("crm", "mail") for _ in range(3))])
    with driver.engine().begin() as connection:
        for number, text in enumerate(said, 2):
            connection.execute(deliveries.update().values(detail=text).where(deliveries.c.id == number))
            row = {"delivery_id": number, "number": 1, "started_at": NOW, "duration": 0.1}
            failed = {"outcome": "retry", "reason": "conflict", "detail": text}
            connection.execute(attempts.insert().values(**row, **failed))
        pause = {"paused_by": "lane", "pause_reason": "unauthorized", "paused_until": NOW, "pause_detail": said[1]}
        connection.execute(lanes.insert().values(name="crm", **pause))

    words = PersonWords(ANN)
    with driver.engine().connect() as connection:
        found = PersonMatches()
        after: int | None = 0
        while after is not None:
            after = erasure.match_events(connection, ANN, after, found, words, IDENTITY)
    steps = list(erasure.texts(lambda: driver.engine().connect(), words, list(found.sure)))
    assert sum(len(each.columns) for step in steps for each in step) == 4 * 2 + 1
    with driver.engine().begin() as connection:
        for step in steps:
            erasure.erase_texts(connection, step)

    left = ["[erased]"] * 4 + said[4:]
    assert [row.detail for row in rows(driver, deliveries)][1:] == left
    assert [row.detail for row in rows(driver, attempts)] == left
    assert [row.pause_detail for row in rows(driver, lanes)] == ["[erased]"]


async def test_an_answer_that_names_the_person_goes_from_another_leads_attempt(store: SqlStore, driver: Driver) -> None:
    """As a whole, however the destination wrote it; that of the person's own event goes with the event."""
    bodies = [
        '{"email": "ann@example.com"}',
        '{"error": "known: ann\\u0040example.com"}',
        '{"owner": "Ann  Bolena"}',
        '{"message": "refused: I need forty chairs by the end of M"}',
        '{"email": "joann@example.com"}',
    ]
    person = event(Email="ann@example.com", FirstName="Ann", LastName="Bolena", Content=MESSAGE)
    await store.accept([RoutedEvent(person, (NewDelivery("crm", "crm"),)), *(routed("crm") for _ in bodies)])
    exchanged = [Exchange("POST", "https://crm.example", None, 409, each) for each in [bodies[0], *bodies]]
    held = await lease(store)
    await store.settle(
        held, [delivered(at).with_exchange(orjson.dumps([each]).decode()) for at, each in enumerate(exchanged, 1)]
    )
    erase_all(driver)
    left = {row.delivery_id: read_content(row.content) for row in rows(driver, exchanges)}
    assert left == {2: [], 3: [], 4: [], 5: [], 6: [exchanged[-1]]}


async def test_an_outcome_that_comes_after_the_erasure_spoils_no_other(store: SqlStore, driver: Driver) -> None:
    """A call that is on its way is not called back: what came of it has no place any more."""
    await store.accept([routed("crm", Email="ann@example.com"), routed("crm")])
    held = await lease(store)
    with driver.engine().begin() as connection:
        erasure.erase_events(connection, [1])

    await store.settle(held, [delivered(1), delivered(2)])

    assert [(row.id, row.state) for row in rows(driver, deliveries)] == [(2, "delivered")]
    assert [row.delivery_id for row in rows(driver, attempts)] == [2]


# -- SQLite's files


def in_files(driver: SqliteDriver) -> list[str]:
    found = driver.path.parent.glob(f"{driver.path.name}*")
    contents = {path.name: path.read_bytes().lower() for path in found}
    return [name for name, content in contents.items() if any(each in content for each in ANN.spellings)]


def erase_all(driver: Driver) -> None:
    words, found = PersonWords(ANN), PersonMatches()
    after: int | None = 0
    _, requests = look(driver)
    with driver.engine().connect() as connection:
        while after is not None:
            after = erasure.match_events(connection, ANN, after, found, words, IDENTITY)
    steps = list(erasure.texts(lambda: driver.engine().connect(), words, list(found.sure)))
    with driver.engine().begin() as connection:
        erasure.erase_events(connection, list(found.sure))
        erasure.erase_requests(connection, list(requests.sure))
        for step in steps:
            erasure.erase_texts(connection, step)


async def hidden(store: SqlStore, driver: SqliteDriver) -> None:
    """Put the address into free pages and the unused parts of pages, as traffic and retention do."""
    await store.accept(
        [routed("crm", Email="ann@example.com", Content="x" * size) for size in (10, 500, 3_000, 9_000) * 20]
    )
    with sqlite3.connect(driver.path) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM events WHERE seq % 2 = 0")
        connection.execute("UPDATE deliveries SET detail = 'ann@example.com is wrong' WHERE id % 3 = 0")
        connection.execute("UPDATE deliveries SET detail = NULL")
    connection.close()


async def test_nothing_is_left_in_the_files_beside_a_serving_process(
    embedded_store: SqlStore, embedded: SqliteDriver
) -> None:
    embedded.lock()
    other = routed("crm")
    escaped = event(Email="ann@example.com")
    await embedded_store.accept(
        [other, RoutedEvent(escaped._replace(payload=escaped.payload.replace(b"@", b"\\u0040")))]
    )
    await hidden(embedded_store, embedded)
    assert in_files(embedded)

    erase_all(embedded)
    assert erasure.scrub_files(SqliteDriver(embedded_url(embedded)), ANN.spellings) is Remains.NOTHING

    assert in_files(embedded) == []
    assert await embedded_store.accept([routed("crm"), other]) == [True, False]
    embedded.unlock()


async def test_a_large_file_is_not_rewritten_while_it_is_served(
    embedded_store: SqlStore, embedded: SqliteDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "VACUUM_BYTES", 10_000)
    await hidden(embedded_store, embedded)
    with sqlite3.connect(embedded.path) as connection:
        # An unused part of a page that is in use.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("UPDATE events SET payload = CAST('ann@example.com ' || printf('%.900c', 'x') AS BLOB)")
        connection.execute("UPDATE events SET payload = x'7b7d' WHERE seq % 4 = 1")
    connection.close()
    erase_all(embedded)
    assert in_files(embedded)

    embedded.lock()
    assert erasure.scrub_files(SqliteDriver(embedded_url(embedded)), ANN.spellings) is Remains.PAGES
    assert in_files(embedded)
    embedded.unlock()

    assert erasure.scrub_files(embedded, ANN.spellings) is Remains.NOTHING
    assert in_files(embedded) == []


async def test_a_log_that_somebody_reads_is_told_of(
    embedded_store: SqlStore, embedded: SqliteDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.store.sqlite.BUSY_SECONDS", 0.01)
    await embedded_store.accept([routed("crm", Email="ann@example.com")])
    reader = sqlite3.connect(embedded.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    erase_all(embedded)

    assert erasure.scrub_files(embedded, ANN.spellings) is Remains.LOG
    reader.close()
    assert erasure.scrub_files(embedded, ANN.spellings) is Remains.NOTHING
    assert in_files(embedded) == []


def embedded_url(driver: SqliteDriver) -> Any:
    from sqlalchemy.engine import make_url

    return make_url(f"sqlite:///{Path(driver.path)}")
