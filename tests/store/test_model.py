"""The store against a model of it: any order of what receivers, lanes, operators and restarts may do."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select
from sqlalchemy.engine import make_url

from bridge import retry
from bridge.errors import LeaseLostError
from bridge.store import actions
from bridge.store.base import DeliveryState, Lease, NewDelivery, Routed
from bridge.store.driver import Driver
from bridge.store.migrate import migrate
from bridge.store.schema import attempts, deliveries, events
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from tests.building import NOW, SCHEDULE, event

DESTINATIONS = ("crm", "mail")
OUTCOMES: list[Outcome] = [
    Delivered("7"),
    Retry(Reason.CONFLICT, "busy", Blame.RECORD),
    Retry(Reason.UNAUTHORIZED, "401", Blame.DESTINATION),
    Rejected(Reason.REFUSED, "no"),
]
LEASE = 10.0

T = TypeVar("T")
owners = st.sampled_from(["one", "other"])
destinations = st.sampled_from(DESTINATIONS)


class Expected:
    """A delivery as the model has it."""

    def __init__(self, destination: str, due_at: float) -> None:
        self.destination = destination
        self.state = DeliveryState.PENDING
        self.due_at: float | None = due_at
        self.attempts = 0
        self.failures = 0


class StoreModel(RuleBasedStateMachine):
    """Does the same to the store and to a dictionary, and compares."""

    def make_driver(self) -> Driver:
        return SqliteDriver(make_url(f"sqlite:///{self.folder.name}/leadbridge.db"))

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        Path(self.folder.name).mkdir(exist_ok=True)
        self.driver = self.make_driver()
        migrate(self.driver.engine())
        self.runner = asyncio.Runner()
        self.open()
        self.now = NOW
        self.known: dict[str, Routed] = {}
        self.expected: dict[int, Expected] = {}
        self.leases: dict[tuple[str, str], Lease] = {}
        self.fences = dict.fromkeys(DESTINATIONS, 0)
        self.held: dict[str, tuple[str, float]] = {}

    def open(self) -> None:
        async def make() -> SqlStore:
            return SqlStore(self.driver)

        self.store = self.run(make())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.runner.close()
            self.folder.cleanup()

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        sessions=st.lists(st.integers(1, 30), min_size=1, max_size=4),
        to=st.lists(destinations, unique=True, max_size=2),
    )
    def accept(self, sessions: list[int], to: list[str]) -> None:
        routes = tuple(NewDelivery(name, name) for name in to)
        brought = [
            Routed(event(self.now, SessionID=session, Email=f"{session % 3}@b.co"), routes) for session in sessions
        ]
        new = self.run(self.store.accept(brought))
        for each, is_new in zip(brought, new, strict=True):
            assert is_new == (each.event.id not in self.known)
            if is_new:
                self.known[each.event.id] = each
                for delivery in each.deliveries:
                    self.expected[len(self.expected) + 1] = Expected(delivery.destination, self.now)

    @rule(owner=owners, name=destinations)
    def claim(self, owner: str, name: str) -> None:
        leases = self.run(self.store.claim(owner, [name], self.now, LEASE))
        holder, until = self.held.get(name, (owner, 0.0))
        free = name not in self.held or until <= self.now or holder == owner
        assert (name in leases) == free
        if free:
            self.fences[name] += 0 if holder == owner and name in self.held else 1
            self.held[name] = (owner, self.now + LEASE)
            self.leases[owner, name] = leases[name]
            assert leases[name].fence == self.fences[name]

    @rule(owner=owners)
    def release(self, owner: str) -> None:
        self.run(self.store.release(owner))
        self.held = {name: held for name, held in self.held.items() if held[0] != owner}

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), limit=st.integers(1, 5))
    def settle(self, data: st.DataObject, outcome: Outcome, limit: int) -> None:
        owner, name = data.draw(st.sampled_from(sorted(self.leases)))
        lease = self.leases[owner, name]
        due = self.run(self.store.due(name, 0, limit))
        read = self.run(self.store.read([each.id for each in due]))
        assert [each.id for each in read] == [each.id for each in due]
        call = retry.Call(self.now, 0.0)
        settled = [retry.decide(each, outcome, call, SCHEDULE, 0.0, excused=False) for each in read]
        if settled and lease.fence != self.fences[name]:
            with pytest.raises(LeaseLostError):
                self.run(self.store.settle(lease, settled))
            return
        self.run(self.store.settle(lease, settled))
        for each in settled:
            expected = self.expected[each.delivery]
            expected.state, expected.due_at = each.state, each.due_at
            expected.attempts, expected.failures = each.attempts, each.failures

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), verb=st.sampled_from(["replay", "discard"]))
    def operate(self, data: st.DataObject, verb: str) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.expected)), min_size=1, max_size=3, unique=True))
        with self.driver.engine().begin() as connection:
            getattr(actions, verb)(connection, ids, self.now)
        for each in (self.expected[number] for number in ids):
            if verb == "replay":
                each.failures = each.failures if each.state is DeliveryState.PENDING else 0
                each.state, each.due_at = DeliveryState.PENDING, self.now
            elif each.state in {DeliveryState.PENDING, DeliveryState.DEAD}:
                each.state, each.due_at = DeliveryState.DISCARDED, None

    @rule()
    def restart(self) -> None:
        self.run(self.store.close())
        self.open()

    @invariant()
    def the_queue_is_what_is_pending_in_order_of_receipt(self) -> None:
        for name in DESTINATIONS:
            due = self.run(self.store.due(name, 0, 1000))
            pending = {
                number: each
                for number, each in self.expected.items()
                if each.destination == name and each.state is DeliveryState.PENDING
            }
            assert [each.id for each in due] == sorted(pending)
            assert [each.due_at for each in due] == [pending[each.id].due_at for each in due]
            assert [each.failures for each in due] == [pending[each.id].failures for each in due]

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        with self.driver.engine().connect() as connection:
            kept = connection.execute(select(events.c.id)).scalars().all()
            rows = connection.execute(select(deliveries.c.id, deliveries.c.state, deliveries.c.attempts)).all()
            tries = connection.execute(select(attempts.c.delivery_id)).scalars().all()
        assert {each.hex() for each in kept} == set(self.known)
        assert {row.id: row.state for row in rows} == {number: e.state.value for number, e in self.expected.items()}
        assert all(row.attempts == tries.count(row.id) == self.expected[row.id].attempts for row in rows)


StoreModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSqlite = StoreModel.TestCase
