"""The spool between a store that comes and goes and a real SQLite file, with no time of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from bridge.errors import StoreBusyError, StoreUnavailableError
from bridge.identity import Identity
from bridge.ingress import spool as spooling
from bridge.ingress.routing import identified
from bridge.ingress.spool import Spool
from bridge.store import tombstones
from bridge.store.driver import Driver
from bridge.store.interface import NewDelivery, QuarantinedRequest, RoutedEvent
from bridge.store.preparation import migrate
from bridge.store.schema import deliveries, events, installation, quarantine
from bridge.store.spool import SpoolStore
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from tests.building import IDENTITY, IDENTITY_KEY, NOW, routed

LIMIT = 50_000


class Away:
    """The store behind a connection that can be cut, before the commit or after it."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.away = False
        self.error: Exception | None = None
        self.commits_first = False

    async def accept(self, given: list[RoutedEvent]) -> list[bool]:
        if self.commits_first:
            await self.store.accept(given)
        self._check()
        return await self.store.accept(given)

    async def identity(self, given: bytes | None) -> Identity:
        self._check()
        return await self.store.identity(given)

    async def quarantine(self, request: QuarantinedRequest, identity: Identity) -> bool:
        self._check()
        return await self.store.quarantine(request, identity)

    def _check(self) -> None:
        if self.error:
            raise self.error
        if self.away:
            raise StoreUnavailableError("gone")


class Rig:
    def __init__(self, store: Any, path: Path, identity_key: bytes | None = IDENTITY_KEY) -> None:
        self.store = Away(store)
        driver = SqliteDriver(make_url(f"sqlite:///{path}"))
        migrate(driver.engine())
        self.kept = SpoolStore(driver)
        self.sizes: list[int] = []
        self.spool = Spool(
            self.store,  # type: ignore[arg-type]  # what it needs of one
            self.kept,
            LIMIT,
            self.sizes.append,
            identity_key=identity_key,
        )
        self.moving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        identity = None if self.store.away else await self.store.identity(self.spool._identity_key)
        await self.spool.open(identity)
        self.moving = asyncio.create_task(self.spool.run())

    async def stop(self) -> None:
        if self.moving:
            self.moving.cancel()
            await asyncio.gather(self.moving, return_exceptions=True)
        await self.kept.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "LOOK_SECONDS", 0.005)


@pytest.fixture
async def rig(store: SqlStore, tmp_path: Path, soon: None) -> AsyncIterator[Rig]:
    made = Rig(store, tmp_path / "spool.db")
    await made.start()
    yield made
    await made.stop()


def rows(driver: Driver, table: Any) -> list[Any]:
    with driver.engine().connect() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


async def test_what_was_erased_meanwhile_is_not_moved(rig: Rig, driver: Driver) -> None:
    """Neither what another machine has erased in the store, nor what was taken out of this spool."""
    rig.store.away = True
    ann, taken, other = (routed("crm", Email=f"{name}@example.com") for name in ("ann", "taken", "other"))
    assert await rig.spool.accept([ann, taken, other]) == [True] * 3
    with driver.engine().begin() as connection:
        tombstones.keep_contacts(connection, [IDENTITY.email_contact("ANN@example.com")], NOW + 1, None)
        tombstones.add_tombstones(connection, [bytes.fromhex(taken.event.id)], None)
    with rig.kept._driver.engine().begin() as spool:
        spool.execute(delete(events).where(events.c.id == bytes.fromhex(taken.event.id)))
    rig.store.away = False
    await rig.until(lambda: not rig.spool.in_use)

    assert [row.id.hex() for row in rows(driver, events)] == [other.event.id]
    assert (rig.spool.size, rig.sizes[-1]) == (0, 0)


async def test_while_the_store_is_there_nothing_is_spooled(rig: Rig, driver: Driver) -> None:
    assert await rig.spool.accept([routed("crm")]) == [True]
    assert not rig.spool.in_use
    assert len(rows(driver, events)) == 1


async def test_what_comes_meanwhile_is_moved_once_and_in_order(rig: Rig, driver: Driver) -> None:
    before, *given = [routed("crm", "mail", Email=f"{number}@example.com") for number in range(8)]
    await rig.spool.accept([before])
    rig.store.away = True
    for each in given:
        assert await rig.spool.accept([each]) == [True]
    assert await rig.spool.accept([given[0]]) == [False]  # the sender's second try
    assert await rig.spool.accept([before]) == [True]  # the spool cannot know better
    rig.store.away = False
    await rig.until(lambda: not rig.spool.in_use)
    moved = rows(driver, events)
    assert [row.id.hex() for row in moved] == [each.event.id for each in (before, *given)]
    assert [bytes(row.payload) for row in moved] == [each.event.payload for each in (before, *given)]
    assert [row.contact for row in rows(driver, deliveries)][::2] == [each.event.contact for each in (before, *given)]
    assert rig.sizes[-1] == 0
    assert await rig.spool.accept([routed("crm")]) == [True]
    assert not rig.spool.in_use


async def test_a_commit_whose_answer_was_lost_is_not_doubled(rig: Rig, driver: Driver) -> None:
    rig.store.away = rig.store.commits_first = True
    assert await rig.spool.accept([routed("crm")]) == [True]
    rig.store.away = False
    await rig.until(lambda: not rig.spool.in_use)
    assert len(rows(driver, events)) == len(rows(driver, deliveries)) == 1


async def test_a_new_process_moves_what_an_earlier_one_has_left(rig: Rig, driver: Driver, tmp_path: Path) -> None:
    rig.store.away = True
    spoiled = routed("crm")._replace(deliveries=(NewDelivery("crm", "crm", "`when` failed"),))
    await rig.spool.accept([routed("crm"), spoiled, routed()])
    await rig.stop()
    later = Rig(rig.store.store, tmp_path / "spool.db")
    rig.kept = later.kept  # the fixture closes it
    await later.start()
    assert later.spool.in_use
    await later.until(lambda: not later.spool.in_use)
    await later.stop()
    assert [row.state for row in rows(driver, events)] == ["accepted"] * 3
    assert [(row.state, row.detail) for row in rows(driver, deliveries)] == [
        ("pending", None),
        ("dead", "`when` failed"),
    ]


async def test_a_full_spool_takes_nothing_more(rig: Rig) -> None:
    rig.store.away = True
    taken = 0
    while sum(rig.sizes[-1:]) + 6_000 < LIMIT:
        await rig.spool.accept([routed("crm", Content="x" * 5_500)])
        taken += 1
    assert taken == 8
    with pytest.raises(StoreUnavailableError, match="spool_limit"):
        await rig.spool.accept([routed("crm", Content="x" * 5_500)])


async def test_a_store_that_is_only_busy_is_not_away(rig: Rig) -> None:
    rig.store.error = StoreBusyError("too much")
    with pytest.raises(StoreBusyError):
        await rig.spool.accept([routed("crm")])
    assert not rig.spool.in_use


async def test_refused_requests_are_kept_and_moved_too(rig: Rig, driver: Driver) -> None:
    rig.store.away = True
    await rig.spool.accept([routed("crm")])
    assert await rig.spool.quarantine(QuarantinedRequest(NOW, "acme", "t=1,v1=00", b"{}"), IDENTITY)
    rig.store.away = False
    await rig.until(lambda: not rig.spool.in_use)
    (kept,) = rows(driver, quarantine)
    assert (kept.chatbot, bytes(kept.body)) == ("acme", b"{}")


async def test_a_refused_request_that_finds_the_store_away_is_kept_too(rig: Rig, driver: Driver) -> None:
    rig.store.away = True
    assert await rig.spool.quarantine(QuarantinedRequest(NOW, "acme", "t=1,v1=00", b"{}"), IDENTITY)
    assert rig.spool.in_use
    rig.store.away = False
    await rig.until(lambda: not rig.spool.in_use)
    assert len(rows(driver, quarantine)) == 1


Begin = Callable[[bytes | None], Coroutine[Any, Any, Rig]]


@pytest.fixture
async def begin(store: SqlStore, tmp_path: Path, soon: None) -> AsyncIterator[Begin]:
    """Begin processes, one after the other, on one spool and while the database is away."""
    made: list[Rig] = []

    async def begun(identity_key: bytes | None = None) -> Rig:
        if made:
            await made[-1].stop()
        made.append(Rig(store, tmp_path / "spool.db", identity_key))
        made[-1].store.away = True
        await made[-1].start()
        return made[-1]

    yield begun
    await made[-1].stop()


def sent(identity: Identity, **fields: Any) -> RoutedEvent:
    made = routed("crm", **fields)
    return made._replace(event=identified(made.event, identity))


async def test_a_spool_that_has_never_seen_its_database_makes_ids_of_its_own(begin: Begin, driver: Driver) -> None:
    alone = await begin(None)
    own = alone.spool.identity
    assert alone.spool.in_use  # so nothing enters the database under such an id
    one = sent(own, SessionID=1, Email="a@b.co", PhoneNumber="+1 202 555 0134")
    other = sent(own, SessionID=2, Email="c@d.co", PhoneNumber="")
    one = one._replace(event=one.event._replace(verified_by=("a" * 32, "unsigned")))
    assert await alone.spool.accept([one, other]) == [True, True]
    assert await alone.spool.accept([one]) == [False]
    with capture_logs() as lines:
        alone.store.away = False
        await alone.until(lambda: not alone.spool.in_use)
    theirs = alone.spool.identity
    assert theirs == await alone.store.identity(None) != own
    moved = [identified(each.event, theirs) for each in (one, other)]
    assert [row.id.hex() for row in rows(driver, events)] == [each.id for each in moved]
    assert [row.contact for row in rows(driver, deliveries)] == [each.contact for each in moved]
    assert [row.phone for row in rows(driver, deliveries)] == [theirs.phone_contact("12025550134"), None]
    assert [row.verified_by for row in rows(driver, events)] == [f"{'a' * 32} unsigned", ""]
    assert {moved[0].contact, moved[1].contact}.isdisjoint({one.event.contact, other.event.contact})
    renamed = [each for each in lines if each["event"] == "event_renamed"]
    assert [(each["event_id"], each["spooled_as"]) for each in renamed] == [
        (after.id, before.event.id) for before, after in zip((one, other), moved, strict=True)
    ]
    # The sender's next try is a duplicate of what was moved.
    assert await alone.spool.accept([RoutedEvent(moved[0], one.deliveries)]) == [False]
    assert len(rows(driver, events)) == 2


async def test_an_event_of_a_former_run_and_the_senders_next_try_are_one(begin: Begin, driver: Driver) -> None:
    """Even if the first has an id of the database's key, and the second one of the spool's."""
    alone = await begin(None)
    alone.store.away = False
    await alone.until(lambda: not alone.spool.in_use)
    theirs = alone.spool.identity
    alone.store.away = True
    made = routed("crm", Email="ada@example.com")
    await alone.spool.accept([made._replace(event=identified(made.event, theirs))])
    later = await begin(None)
    own = later.spool.identity
    assert own != theirs
    await later.spool.accept([made._replace(event=identified(made.event, own))])
    later.store.away = False
    await later.until(lambda: not later.spool.in_use)
    assert [row.id.hex() for row in rows(driver, events)] == [identified(made.event, theirs).id]


async def test_a_given_key_needs_no_database(begin: Begin) -> None:
    alone = await begin(IDENTITY_KEY)
    assert alone.spool.identity == IDENTITY
    with alone.kept._driver.engine().connect() as connection:
        assert not list(connection.execute(select(installation)))


async def test_a_database_with_another_key_gets_nothing(begin: Begin, store: SqlStore, driver: Driver) -> None:
    await store.identity(None)
    alone = await begin(IDENTITY_KEY)
    await alone.spool.accept([sent(alone.spool.identity)])
    with capture_logs() as lines:
        alone.store.away = False
        await alone.until(lambda: any(each["event"] == "spool_not_moved" for each in lines))
    assert "another key" in next(each["error"] for each in lines if each["event"] == "spool_not_moved")
    assert alone.spool.in_use
    assert not rows(driver, events)


async def test_an_event_that_waits_in_the_spool_is_not_delivered(rig: Rig) -> None:
    rig.store.away = True
    waiting = routed()
    await rig.spool.accept([waiting])
    assert await rig.store.store.undelivered([waiting.event.id]) == 1


async def test_what_cannot_be_deleted_goes_on_waiting_and_is_no_second_event(
    rig: Rig, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.store.away = True
    given = [routed("crm", Email=f"{number}@example.com") for number in range(10)]
    await rig.spool.accept(given)
    await rig.spool.quarantine(QuarantinedRequest(NOW, "acme", "t=1,v1=00", b"{}"), IDENTITY)
    tries = 0

    async def full(*_: int) -> None:
        nonlocal tries
        tries += 1
        raise StoreUnavailableError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(rig.kept, "remove", full)
        rig.store.away = False
        await rig.until(lambda: tries > 2)
        assert rig.spool.in_use
    await rig.until(lambda: not rig.spool.in_use)
    assert rows(rig.kept._driver, events) == []
    assert rows(rig.kept._driver, quarantine) == []
    assert len(rows(driver, events)) == len(given)


async def test_it_takes_nothing_while_its_disk_has_little_room(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.store.away = True
    await rig.spool.accept([routed("crm")])
    with monkeypatch.context() as patched:
        patched.setattr("bridge.store.spool.LEAST_FREE_BYTES", 2**62)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match=r"the disk of store\.spool is nearly full"):
                await rig.spool.accept([routed("crm")])
        assert "nearly full" in (rig.spool.refusing or "")
        with pytest.raises(StoreUnavailableError):
            await rig.spool.quarantine(QuarantinedRequest(NOW, "acme", "t=1,v1=00", b"{}"), IDENTITY)
        # It is emptied all the same, and then new events go to the store.
        rig.store.away = False
        await rig.until(lambda: not rig.spool.in_use)
        assert rig.spool.refusing is None
        assert await rig.spool.accept([routed("crm")]) == [True]


async def test_it_says_that_it_refuses_until_it_takes_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_: list[RoutedEvent]) -> list[bool]:
        raise StoreUnavailableError("the disk is full")

    rig.store.away = True
    with monkeypatch.context() as patched:
        patched.setattr(rig.kept, "accept", full)
        with pytest.raises(StoreUnavailableError):
            await rig.spool.accept([routed("crm")])
        assert rig.spool.refusing == "the disk is full"
    await rig.spool.accept([routed("crm")])
    assert rig.spool.refusing is None
