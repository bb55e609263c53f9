"""The store against a model of it: any order of what receivers, lanes, operators and restarts may do."""

import asyncio
import contextlib
import functools
import tempfile
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from bridge.delivery import retry
from bridge.errors import LeaseLostError
from bridge.store import commands, queue
from bridge.store.driver import Driver, raw
from bridge.store.encryption import NO_KEYS, KeyRing
from bridge.store.interface import DeliveryState, Lease, NewDelivery, RoutedEvent
from bridge.store.preparation import migrate
from bridge.store.retention import prune_events
from bridge.store.schema import attempts, deliveries, events, metadata, tally
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from bridge.store.tally import TallyKey, ended_keys, event_key
from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from tests.building import NOW, SCHEDULE, event
from tests.counted_tally import missing_counts

pytestmark = pytest.mark.each_engine

DESTINATIONS = ("crm", "mail")
OUTCOMES: list[Outcome] = [
    Delivered("7"),
    Delivered("8", warning="a field is left out"),
    Retry(Reason.CONFLICT, "busy", Blame.RECORD),
    Retry(Reason.UNAUTHORIZED, "401", Blame.DESTINATION),
    Rejected(Reason.REFUSED, "no"),
]
LEASE = 10.0
KEPT, KEPT_DEAD = 60.0, 120.0
"""Seconds that an event is kept after its last delivery has ended."""

T = TypeVar("T")
owners = st.sampled_from(["one", "other"])
destinations = st.sampled_from(DESTINATIONS)
brought = st.tuples(
    st.lists(st.integers(1, 30), min_size=1, max_size=4), st.lists(destinations, unique=True, max_size=2)
)
"""Events, by their chat sessions, and the destinations that they go to."""


class Expected:
    """A delivery as the model has it."""

    def __init__(self, event_id: str, contact: int, destination: str, due_at: float) -> None:
        self.event_id = event_id
        self.contact = contact
        self.destination = destination
        self.state = DeliveryState.PENDING
        self.due_at: float | None = due_at
        self.settled_at: float | None = None
        self.attempts = 0
        self.failures = 0

    def kept(self, now: float) -> bool:
        """Whether its event must stay because of it."""
        patience = KEPT_DEAD if self.state is DeliveryState.DEAD else KEPT
        return self.settled_at is None or self.settled_at > now - patience


class StoreModel(RuleBasedStateMachine):
    """Does the same to the store and to a dictionary, and compares."""

    keys = NO_KEYS

    def make_driver(self, resources: contextlib.ExitStack) -> Driver:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.resources = contextlib.ExitStack()
        self.driver = self.make_driver(self.resources)
        self.runner = self.resources.enter_context(asyncio.Runner())
        self.open()
        self.now = NOW
        self.gone = Counter[TallyKey]()
        """What the tables held of the rows that retention has deleted."""
        self.known: dict[str, RoutedEvent] = {}
        self.expected: dict[int, Expected] = {}
        self.newest = 0
        """The highest id that a delivery has had."""
        self.leases: dict[tuple[str, str], Lease] = {}
        self.fences: dict[str, int] = {}
        """Of the lanes that the store has heard of."""
        self.held: dict[str, tuple[str, float]] = {}
        self.members: dict[str, tuple[frozenset[str], float]] = {}
        """The processes, with the lanes that each would work, and until when it counts."""

    def open(self) -> None:
        async def make() -> SqlStore:
            return SqlStore(self.driver)

        self.store = self.run(make())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.resources.close()

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def routed(self, sessions: list[int], to: list[str]) -> list[RoutedEvent]:
        routes = tuple(NewDelivery(name, name) for name in to)
        return [
            RoutedEvent(event(self.now, SessionID=number, Email=f"{number % 3}@b.co"), routes) for number in sessions
        ]

    def learn(self, accepted: list[RoutedEvent]) -> list[bool]:
        """Take events into the model that the store has taken; say of each whether it is new."""
        new, added = [], []
        for each in accepted:
            new.append(each.event.id not in self.known)
            if new[-1]:
                self.known[each.event.id] = each
                added += [
                    Expected(each.event.id, each.event.contact, name.destination, self.now) for name in each.deliveries
                ]
        with self.driver.engine().connect() as connection:
            asked = select(deliveries.c.id).where(deliveries.c.id > self.newest).order_by(deliveries.c.id)
            ids = connection.execute(asked).scalars().all()
        # In the order of the events, and of their routes; the numbers may have gaps.
        self.expected.update(zip(ids, added, strict=True))
        self.newest = max(self.expected, default=self.newest) if ids else self.newest
        return new

    @rule(brought=brought)
    def accept(self, brought: tuple[list[int], list[str]]) -> None:
        routed = self.routed(*brought)
        new = self.run(self.store.accept(routed))
        assert new == self.learn(routed)

    @rule(brought=brought, commits=st.booleans())
    def accept_and_crash(self, brought: tuple[list[int], list[str]], commits: bool) -> None:
        """Another process dies before its commit, or before it could answer."""
        routed = self.routed(*brought)
        with contextlib.closing(self.driver.connect()) as connection:
            raw(connection).execute(self.driver.begin_own)
            queue.write(connection, [queue.Accept(routed)])
            if commits:
                raw(connection).execute("COMMIT")
        if commits:
            self.learn(routed)

    def hears_of(self, *names: str) -> None:
        self.fences = dict.fromkeys(names, 0) | self.fences

    @rule(owner=owners, lanes=st.frozensets(destinations))
    def meet(self, owner: str, lanes: frozenset[str]) -> None:
        """A process says which lanes it would work, and learns of the others and of who works which."""
        membership = self.run(self.store.heartbeat(owner, sorted(lanes), self.now, LEASE))
        others = {} if self.driver.exclusive else self.members
        self.members = {name: each for name, each in others.items() if each[1] > self.now}
        self.members[owner] = (lanes, self.now + LEASE)
        assert membership.candidates == {name: known for name, (known, _) in self.members.items()}
        assert membership.holders == {name: holder for name, (holder, until) in self.held.items() if until > self.now}

    @rule(owner=owners, name=destinations)
    def claim(self, owner: str, name: str) -> None:
        leases = self.run(self.store.claim(owner, [name], self.now, LEASE))
        self.hears_of(name)
        # What it no longer claims is given up when the lease is over.
        over = [each for each, held in self.held.items() if each != name and held[0] == owner and held[1] <= self.now]
        for each in over:
            del self.held[each]
        holder, until = self.held.get(name, (owner, 0.0))
        if self.is_spared(owner, name):
            assert name not in leases
            return
        free = name not in self.held or until <= self.now or holder == owner
        assert (name in leases) == free
        if free:
            self.fences[name] += 0 if holder == owner and name in self.held else 1
            self.held[name] = (owner, self.now + LEASE)
            self.leases[owner, name] = leases[name]
            assert leases[name].fence == self.fences[name]

    def is_spared(self, owner: str, name: str) -> bool:
        """Return True if a lease past its end is not taken, because its owner still sends heartbeats."""
        holder, until = self.held.get(name, (owner, 0.0))
        _, counts_until = self.members.get(holder, (None, 0.0))
        expired = holder != owner and until <= self.now
        return expired and counts_until > self.now and not self.driver.exclusive

    @precondition(lambda self: self.held)
    @rule()
    def lose_all_leases(self) -> None:
        """Every lane is taken over when its owner has not been heard of for so long."""
        self.now += LEASE
        for name in sorted(self.held):
            self.claim("successor", name)

    @rule(owner=owners)
    def release(self, owner: str) -> None:
        self.run(self.store.release(owner))
        self.held = {name: held for name, held in self.held.items() if held[0] != owner}
        self.members.pop(owner, None)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), limit=st.integers(1, 5))
    def settle(self, data: st.DataObject, outcome: Outcome, limit: int) -> None:
        owner, name = data.draw(st.sampled_from(sorted(self.leases)))
        lease = self.leases[owner, name]
        due = self.run(self.store.due(name, 0, limit))
        read = self.run(self.store.read(name, [each.id for each in due]))
        assert [each.id for each in read] == [each.id for each in due]
        assert [each.payload for each in read] == [self.known[each.event_id].event.payload for each in read]
        call = retry.CallTiming(self.now, 0.0)
        settled = [retry.decide(each, outcome, call, SCHEDULE, 0.0, excused=False) for each in read]
        if settled and lease.fence != self.fences[name]:
            with pytest.raises(LeaseLostError):
                self.run(self.store.settle(lease, settled))
            return
        self.run(self.store.settle(lease, settled))
        for each in settled:
            expected = self.expected[each.delivery]
            expected.state, expected.due_at = each.state, each.due_at
            expected.settled_at = each.settled_at
            expected.attempts, expected.failures = each.attempts, each.failures

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), verb=st.sampled_from(["replay", "discard"]))
    def operate(self, data: st.DataObject, verb: str) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.expected)), min_size=1, max_size=3, unique=True))
        with self.driver.engine().begin() as connection:
            getattr(commands, verb)(connection, ids, self.now)
        for each in (self.expected[number] for number in ids):
            if verb == "replay":
                each.failures = each.failures if each.state is DeliveryState.PENDING else 0
                each.state, each.due_at, each.settled_at = DeliveryState.PENDING, self.now, None
            elif each.state in {DeliveryState.PENDING, DeliveryState.DEAD}:
                each.state, each.due_at, each.settled_at = DeliveryState.DISCARDED, None, self.now

    @rule(seconds=st.sampled_from([0.0, KEPT, KEPT_DEAD]))
    def prune(self, seconds: float) -> None:
        self.now += seconds
        before = self.counted()
        after: int | None = 0
        while after is not None:
            after = self.run(
                self.store.change(
                    functools.partial(prune_events, now=self.now, delivered=KEPT, dead=KEPT_DEAD, after=after)
                )
            ).after
        self.gone += before - self.counted()
        wanted = {each.event_id for each in self.expected.values() if each.kept(self.now)}
        for event_id, routed in list(self.known.items()):
            if event_id not in wanted and routed.event.received_at <= self.now - KEPT:
                del self.known[event_id]
        self.expected = {number: each for number, each in self.expected.items() if each.event_id in self.known}

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

    def counted(self) -> Counter[TallyKey]:
        """Count the rows of the tables, as the tally should."""
        with self.driver.engine().connect() as connection:
            received = connection.execute(select(events.c.received_at, events.c.chatbot, events.c.state)).all()
            ids = connection.execute(select(deliveries.c.id)).scalars().all()
            return Counter(event_key(*row) for row in received) + ended_keys(connection, ids)

    @invariant()
    def the_tally_is_what_the_tables_hold_and_held(self) -> None:
        tallied = Counter[TallyKey]()
        with self.driver.engine().connect() as connection:
            for *key, number in connection.execute(
                select(*(tally.c[name] for name in TallyKey._fields), tally.c["count"])
            ):
                tallied[TallyKey(*key)] += number
            assert {key: number for key, number in tallied.items() if number} == self.counted() + self.gone
            assert missing_counts(connection) == {}


class OnSqlite(StoreModel):
    """The embedded engine."""

    def make_driver(self, resources: contextlib.ExitStack) -> Driver:
        folder = resources.enter_context(tempfile.TemporaryDirectory())
        driver = SqliteDriver(make_url(f"sqlite:///{folder}/leadbridge.db"), self.keys)
        migrate(driver.engine())
        return driver


class OnPostgresql(StoreModel):
    """The other one: one database for all runs, emptied before each."""

    def make_driver(self, resources: contextlib.ExitStack) -> Driver:
        driver = _postgresql(self.keys)
        names = ", ".join(metadata.tables)
        with driver.engine().begin() as connection:
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        return driver


@functools.cache
def _postgresql(keys: KeyRing) -> Driver:
    from tests.postgresql import ToldDriver, create

    return ToldDriver(create(), keys)


class OnEncryptedSqlite(OnSqlite):
    """The embedded engine with encryption."""

    keys = KeyRing((bytes(range(32)),))


class OnEncryptedPostgresql(OnPostgresql):
    """The other one with encryption."""

    keys = OnEncryptedSqlite.keys


def case(machine: type[StoreModel], examples: int) -> Any:
    """Make a test of a state machine."""
    made: Any = type(machine.__name__, (machine,), {})
    made.TestCase.settings = settings(max_examples=examples, stateful_step_count=30)
    return made.TestCase


TestSqlite = case(OnSqlite, 6)
TestPostgresql = case(OnPostgresql, 4)
TestEncryptedSqlite = case(OnEncryptedSqlite, 2)
TestEncryptedPostgresql = case(OnEncryptedPostgresql, 1)
TestSqliteLong = pytest.mark.thorough(case(OnSqlite, 50))
TestPostgresqlLong = pytest.mark.thorough(case(OnPostgresql, 30))
TestEncryptedSqliteLong = pytest.mark.thorough(case(OnEncryptedSqlite, 12))
TestEncryptedPostgresqlLong = pytest.mark.thorough(case(OnEncryptedPostgresql, 8))
