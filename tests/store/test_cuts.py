"""A connection that is cut at any statement: the call says that the store is away, and the next one is answered."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from psycopg import conninfo

from bridge.errors import StoreUnavailableError
from bridge.store.interface import Lease
from bridge.store.secrets import read_secret
from bridge.store.sql import READERS, SqlStore
from tests.building import NOW, routed
from tests.chaos.wire import Wire
from tests.postgresql import ToldDriver
from tests.store.test_sql import delivered

pytestmark = pytest.mark.each_engine

PIECES_LIMIT = 40
"""More than any of these calls sends and receives, opening a connection included."""

Ask = Callable[[SqlStore], Awaitable[object]]


@pytest.fixture
async def wire(database: str) -> AsyncIterator[Wire]:
    """The network to the server."""
    host = conninfo.conninfo_to_dict(database)["host"]
    async with Wire(f"{host}/.s.PGSQL.5432", 0) as made:
        made.heal()
        yield made


@pytest.fixture
async def cut_store(wire: Wire, database: str) -> AsyncIterator[SqlStore]:
    """A store behind it."""
    name = conninfo.conninfo_to_dict(database)["dbname"]
    # Not opened here: this thread carries what the wire does.
    driver = ToldDriver(f"postgresql://postgres@127.0.0.1:{wire.port}/{name}")
    opened = SqlStore(driver, prepare=lambda: None)
    await opened.check()
    yield opened
    wire.cut_at = lambda _piece, _asked: False
    await opened.close()


async def _claim(store: SqlStore) -> Lease:
    return (await store.claim("me", ["crm"], NOW, 60.0))["crm"]


async def _settle(store: SqlStore) -> None:
    held = await _claim(store)
    due = await store.due("crm", 0, 1)
    await store.settle(held, [delivered(each.id) for each in due])


@pytest.mark.parametrize("asked", [True, False], ids=["before it is sent", "before it is answered"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.pause_of("crm"),
        lambda store: store.due("crm", 0, 10),
        lambda store: store.read("crm", [1]),
        lambda store: store.undelivered([f"{1:032x}"]),
        lambda store: store.query(lambda c: read_secret(c, "crm", "token")),
        lambda store: store.heartbeat("me", ["crm"], NOW, 60.0),
        _claim,
        _settle,
        lambda store: store.accept([routed("crm")]),
        lambda store: store.check(),
    ],
    ids=["paused", "due", "read", "undelivered", "secret", "meet", "claim", "settle", "accept", "check"],
)
async def test_a_cut_at_any_statement_is_trouble_of_one_call(
    cut_store: SqlStore, wire: Wire, ask: Ask, *, asked: bool
) -> None:
    """At the first, second, third piece that the call has carried, and so on until it carries no more."""
    for at in itertools.count(1):
        assert at < PIECES_LIMIT, "it never comes to an end"
        for _ in range(READERS):
            # Each reader's thread has a connection that works.
            await asyncio.gather(*(cut_store.pause_of("crm") for _ in range(READERS)))
        left = itertools.count(1)
        before = wire.cuts
        wire.cut_at = lambda _, by_caller, at=at, left=left: by_caller is asked and next(left) == at  # type: ignore[misc]
        with contextlib.suppress(StoreUnavailableError):
            await ask(cut_store)
        wire.cut_at = lambda _piece, _asked: False
        if wire.cuts == before:
            return
        for _ in range(3):
            # The other connections may have been cut in place of the call's own; theirs is one failure at most.
            try:
                await ask(cut_store)
                break
            except StoreUnavailableError:
                continue
        else:
            pytest.fail(f"cut at piece {at}: it never comes back")
        await asyncio.gather(*(cut_store.pause_of("crm") for _ in range(READERS)), cut_store.check())
