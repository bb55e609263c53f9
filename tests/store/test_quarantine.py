"""The rooms of the quarantine, on both engines."""

import asyncio
import dataclasses
import hashlib
from collections import Counter

import pytest
from sqlalchemy import select

from bridge.event import Room
from bridge.ingress.signature import fingerprint
from bridge.store import quarantine as rooms
from bridge.store import retention, tombstones
from bridge.store.driver import Driver
from bridge.store.interface import QuarantinedRequest
from bridge.store.quarantine import AGE_LIMIT, Bounds
from bridge.store.schema import quarantine
from bridge.store.sql import SqlStore
from tests.building import IDENTITY, NOW, Clock, config, routed

pytestmark = pytest.mark.each_engine

HOUR = 3600.0


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "BOUNDS", dict.fromkeys(Room, Bounds(5, 1_000)))
    monkeypatch.setattr(rooms, "TOTALS", dict.fromkeys(Room, Bounds(8, 1_500)))


def request(number: int, at: float = NOW, room: Room = Room.MISMATCH, chatbot: str = "acme") -> QuarantinedRequest:
    return QuarantinedRequest(at, chatbot, "t=1,v1=00", b"body %d" % number, room)


def bodies(driver: Driver) -> Counter[str]:
    with driver.engine().connect() as connection:
        return Counter(bytes(body).decode() for body in connection.execute(select(quarantine.c.body)).scalars())


async def test_a_room_is_bounded_and_takes_a_body_once(store: SqlStore, driver: Driver) -> None:
    assert [await store.quarantine(request(number), IDENTITY) for number in (0, 1, 2, 3, 4, 0, 5)] == [True] * 6 + [
        False
    ]
    assert sorted(bodies(driver)) == [f"body {number}" for number in range(5)]


async def test_the_digest_of_a_body_confirms_no_guess(store: SqlStore, driver: Driver) -> None:
    """The body holds a phone number: an unkeyed hash would confirm it."""
    await store.quarantine(request(0), IDENTITY)
    with driver.engine().connect() as connection:
        digest = bytes(connection.execute(select(quarantine.c.digest)).scalar_one())
    assert digest == IDENTITY.digest(b"body 0")
    assert digest not in {hashlib.new(name, b"body 0").digest() for name in ("sha256", "sha3_256", "blake2s")}


async def test_junk_does_not_crowd_out_a_lead(store: SqlStore, driver: Driver) -> None:
    for number in range(40):
        await store.quarantine(request(number, room=Room.JUNK), IDENTITY)
    for number in range(40, 80):
        await store.quarantine(request(number, room=Room.STALE), IDENTITY)

    assert await store.quarantine(request(1_000), IDENTITY)
    assert len(bodies(driver)) == 5 + 5 + 1


async def test_the_total_is_bounded_over_all_chatbots(store: SqlStore, driver: Driver) -> None:
    for number in range(40):
        await store.quarantine(request(number, chatbot=f"chatbot-{number % 4}"), IDENTITY)
    assert len(bodies(driver)) == 8

    # A chatbot that has less than the others gets a place of theirs.
    assert await store.quarantine(request(100, chatbot="late"), IDENTITY)
    assert "body 100" in bodies(driver)
    assert len(bodies(driver)) == 8


async def test_the_total_of_bytes_is_bounded(store: SqlStore, driver: Driver) -> None:
    large = [dataclasses.replace(request(number), body=b"%d" % number * 400) for number in range(1, 4)]
    assert [await store.quarantine(each, IDENTITY) for each in large] == [True, True, False]
    elsewhere = [dataclasses.replace(each, chatbot="other") for each in large]
    assert [await store.quarantine(each, IDENTITY) for each in elsewhere] == [True, False, False]


async def test_a_flood_takes_the_places_of_its_own_hours(store: SqlStore, driver: Driver) -> None:
    assert await store.quarantine(request(1), IDENTITY)
    for number in range(100, 200):
        await store.quarantine(request(number, NOW + HOUR), IDENTITY)
    assert await store.quarantine(request(2, NOW + 2 * HOUR), IDENTITY)
    assert await store.quarantine(request(3, NOW + 3 * HOUR), IDENTITY)

    kept = bodies(driver)
    assert {"body 1", "body 2", "body 3", "body 100"} <= set(kept)
    assert len(kept) == 5


async def test_a_better_signature_takes_the_place_of_junk(store: SqlStore, driver: Driver) -> None:
    signed = dataclasses.replace(request(1), signature="t=2,v1=11")
    await store.quarantine(request(1, room=Room.JUNK), IDENTITY)
    await store.quarantine(signed, IDENTITY)
    await store.quarantine(request(1, room=Room.JUNK), IDENTITY)

    with driver.engine().connect() as connection:
        (row,) = connection.execute(select(quarantine)).all()
    assert (row.room, row.signature) == ("mismatch", "t=2,v1=11")


async def test_what_is_old_goes_without_another_request(store: SqlStore, driver: Driver) -> None:
    await store.quarantine(request(1, NOW - 400 * 86_400.0), IDENTITY)
    await store.quarantine(request(2, NOW - AGE_LIMIT + 1), IDENTITY)

    assert not await store.change(lambda c: rooms.prune_requests(c, NOW - AGE_LIMIT))

    assert set(bodies(driver)) == {"body 2"}


async def test_it_is_known_under_which_keys_a_signature_has_held(store: SqlStore, driver: Driver) -> None:
    first, second = fingerprint([b"a", b"b"]), fingerprint([b"c"])
    assert first == fingerprint([b"b", b"a"]) != second
    await store.change(lambda c: rooms.keep_proofs(c, {"acme": first, "other": second}, NOW))
    await store.change(lambda c: rooms.keep_proofs(c, {"acme": second}, NOW))

    with driver.engine().connect() as connection:
        assert rooms.proven_keys(connection) == {"acme": second, "other": second}


async def test_a_serving_process_removes_what_is_old(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(seconds: float) -> None:
        if seconds == retention.ROUND_SECONDS:
            raise asyncio.CancelledError

    monkeypatch.setattr("bridge.store.retention.asyncio.sleep", sleep)
    await store.quarantine(request(1, NOW - 400 * 86_400.0), IDENTITY)
    await store.quarantine(request(2, NOW - 1), IDENTITY)
    await store.accept([routed(received_at=NOW)])
    with driver.engine().begin() as connection:
        tombstones.add_tombstones(connection, [b"1" * 16], NOW - 1)

    with pytest.raises(asyncio.CancelledError):
        await retention.prune_for_ever(lambda: config([]), store, Clock())

    assert set(bodies(driver)) == {"body 2"}
    with driver.engine().connect() as connection:
        assert not tombstones.stops(connection, b"1" * 16)
