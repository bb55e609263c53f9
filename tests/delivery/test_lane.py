"""The lane with a real store, a connector that answers as told, and a clock that only tests move."""

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from bridge.config.model import Chatbot, RateLimit
from bridge.delivery import retry
from bridge.delivery.attempt import AttemptRunner
from bridge.delivery.clock import DeliveryClock
from bridge.delivery.lane import Lane, LaneContext
from bridge.delivery.suspects import ATTEMPTS_LIMIT
from bridge.errors import StoreUnavailableError
from bridge.ingress.signature import key_fingerprint
from bridge.mapping import budget
from bridge.store.driver import Driver
from bridge.store.interface import DeliveryState, Lease, Pause, Settlement
from bridge.store.schema import attempts, deliveries, lanes
from bridge.store.sql import SqlStore
from connectors.base import Blame, Delivered, Outcome, Quota, Reason, Record, Rejected, Retry
from tests.building import KEY, SCHEDULE, Clock, FakeConnector, all_delivered, chatbot, destination, route, routed

pytestmark = pytest.mark.each_engine

DAY = 86_400.0


class Rig:
    """One lane at work."""

    def __init__(self, store: SqlStore, driver: Driver, caller: AttemptRunner | None = None, **options: Any) -> None:
        self.caller = caller
        self.store = store
        self.driver = driver
        self.clock = Clock()
        self.connector = FakeConnector()
        self.destination = destination("crm", self.connector, **options)
        self.bots = {"acme": chatbot("acme", route("crm"))}
        self.lease = Lease("crm", 0)
        self.lane: Lane | None = None
        self.run: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.store.heartbeat("me", ["crm"], self.clock(), 1e9)
        self.lease = (await self.store.claim("me", ["crm"], self.clock(), 1e9))["crm"]
        clock = DeliveryClock(self.clock, self.clock)
        caller = self.caller or AttemptRunner()
        context = LaneContext(self.store, self.bots.get, clock, caller, lambda: 0.0)
        self.lane = Lane(self.destination, self.lease, context)
        self.store.on_accepted = lambda _: self.lane.wake() if self.lane else None
        self.run = asyncio.create_task(self.lane.run())

    async def stop(self) -> None:
        if self.lane and self.run:
            self.lane.stop()
            await asyncio.wait_for(self.run, 5)

    async def accept(self, count: int = 1, **fields: Any) -> None:
        await self.store.accept([routed("crm", **fields) for _ in range(count)])

    def rows(self, table: Any = deliveries) -> Sequence[Any]:
        with self.driver.engine().connect() as connection:
            return connection.execute(select(table).order_by(*table.primary_key.columns)).all()

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)

    async def calls(self, count: int) -> None:
        await self.until(lambda: len(self.connector.calls) >= count)

    async def settled(self, count: int) -> None:
        """Wait until so many attempts are written down."""
        await self.until(lambda: len(self.rows(attempts)) >= count)

    def advance(self, seconds: float) -> None:
        assert self.lane
        self.clock.now += seconds
        self.lane._wake.set()


@pytest.fixture
async def rig(store: SqlStore, driver: Driver) -> AsyncIterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(store, driver, **options))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


def refuse(*emails: str, blame: Blame = Blame.RECORD) -> Callable[[Sequence[Record]], Sequence[Outcome]]:
    """Answer that refuses the records with these e-mails; with BATCH the whole call, if one of them is in it."""

    def answer(records: Sequence[Record]) -> Sequence[Outcome]:
        bad = [record.fields["email"] in emails for record in records]
        if blame is Blame.BATCH and any(bad):
            return [Rejected(Reason.REFUSED, "no", blame)] * len(records)
        return [Rejected(Reason.REFUSED, "no", blame) if each else Delivered() for each in bad]

    return answer


async def test_delivers_what_is_accepted_and_writes_it_down(rig: Callable[..., Rig]) -> None:
    lane = rig()
    await lane.start()
    await lane.accept(3)
    await lane.settled(3)
    assert lane.states() == ["delivered"] * 3
    row = lane.rows()[0]
    assert (row.attempts, row.failures, row.remote_id is not None) == (1, 0, True)
    assert [each.outcome for each in lane.rows(attempts)] == ["delivered"] * 3


async def test_delivers_what_was_pending_before_it_started(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=2)
    await lane.accept(50)
    await lane.start()
    await lane.settled(50)
    assert lane.states() == ["delivered"] * 50


async def test_retries_after_the_wait_and_not_before(rig: Callable[..., Rig]) -> None:
    lane = rig()
    lane.connector.answer = lambda records: [Retry(Reason.CONFLICT, "busy", Blame.RECORD)]
    await lane.start()
    await lane.accept()
    await lane.settled(1)
    (row,) = lane.rows()
    assert (row.state, row.failures, row.due_at) == ("pending", 1, lane.clock() + 10)
    lane.advance(9)
    await asyncio.sleep(0.02)
    assert len(lane.connector.calls) == 1
    lane.connector.answer = lambda records: [Delivered()]
    lane.advance(1)
    await lane.settled(2)
    assert lane.states() == ["delivered"]


async def test_retry_after_is_obeyed_without_a_cap(rig: Callable[..., Rig]) -> None:
    lane = rig()
    lane.connector.answer = lambda records: [Retry(Reason.CONFLICT, "busy", Blame.RECORD, after=86_400 * 2)]
    await lane.start()
    await lane.accept()
    await lane.settled(1)
    assert lane.rows()[0].due_at == lane.clock() + 86_400 * 2


async def test_gives_up_after_the_schedule_and_keeps_the_reason(rig: Callable[..., Rig]) -> None:
    lane = rig()
    lane.connector.answer = lambda records: [Retry(Reason.CONFLICT, "busy", Blame.RECORD)]
    await lane.start()
    await lane.accept()
    await lane.settled(1)
    for count in range(2, 11):
        assert lane.states() == ["pending"]
        lane.advance(3 * 86_400)
        await lane.settled(count)
    (row,) = lane.rows()
    assert (row.state, row.reason, row.detail) == ("dead", "conflict", "busy")


async def test_a_rejected_record_is_dead_at_once_and_the_others_go_on(rig: Callable[..., Rig]) -> None:
    lane = rig()
    lane.connector.answer = refuse("bad@example.com")
    await lane.start()
    await lane.accept(Email="bad@example.com")
    await lane.accept(2)
    await lane.settled(3)
    assert lane.states() == ["dead", "delivered", "delivered"]


async def test_a_contact_keeps_its_order_through_retries_and_others_do_not_wait(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=5)
    failing = True

    def answer(records: Sequence[Record]) -> Sequence[Outcome]:
        if failing and records[0].fields["session"] == 1:
            return [Retry(Reason.CONFLICT, "busy", Blame.RECORD)]
        return [Delivered()]

    lane.connector.answer = answer
    await lane.start()
    await lane.accept(Email="ann@example.com", SessionID=1)
    await lane.accept(Email="Ann@Example.com ", SessionID=2)
    await lane.accept(Email="bob@example.com", SessionID=3)
    await lane.settled(2)
    assert lane.states() == ["pending", "pending", "delivered"]
    failing = False
    lane.advance(10)
    await lane.settled(4)
    sessions = [record.fields["session"] for call in lane.connector.calls for record in call]
    assert sessions == [1, 3, 1, 2]


async def test_new_leads_go_before_retries(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=1)
    lane.connector.answer = lambda records: [Retry(Reason.CONFLICT, "busy", Blame.RECORD)]
    await lane.accept(3)
    await lane.start()
    await lane.settled(3)
    gate = asyncio.Event()
    lane.connector.before = lambda records: gate.wait()
    lane.connector.answer = lambda records: [Delivered()]
    lane.advance(10)
    await lane.calls(4)
    await lane.accept(Email="new@example.com")
    gate.set()
    await lane.settled(7)
    assert lane.connector.emails[4] == "new@example.com"


async def test_batches_up_to_the_size_without_two_of_one_key(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=1, batch=4)
    await lane.accept(6)
    await lane.accept(PhoneNumber="1", Email="")
    await lane.start()
    await lane.settled(7)
    assert [len(call) for call in lane.connector.calls] == [4, 3]
    assert lane.states() == ["delivered"] * 7


async def test_a_refused_batch_is_split_until_the_poisoned_record_stands_alone(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=1, batch=100)
    lane.connector.answer = refuse("poison@example.com", blame=Blame.BATCH)
    await lane.accept(49)
    await lane.accept(Email="poison@example.com")
    await lane.accept(50)
    await lane.start()
    await lane.settled(100)
    assert sorted(lane.states()) == ["dead"] + ["delivered"] * 99
    assert len(lane.connector.calls) <= 15
    assert all(row.attempts == 1 for row in lane.rows())


async def test_each_part_of_a_batch_that_is_split_has_a_place_of_its_own_under_the_limit(
    rig: Callable[..., Rig],
) -> None:
    lane = rig(concurrency=1, batch=10, linger=5.0, rate_limit=RateLimit(1_000, 1.0))
    lane.connector.answer = refuse("poison@example.com", blame=Blame.BATCH)
    await lane.start()
    await lane.accept(3)
    await lane.accept(Email="poison@example.com")
    await lane.until(lambda: lane.lane is not None and len(lane.lane.state.ready) == 4)
    lane.advance(5)
    await lane.settled(4)
    assert lane.lane
    assert lane.destination.pace
    assert len(lane.connector.calls) == 5
    assert len(lane.destination.pace._slots or ()) == 5


async def test_lingers_for_company_and_then_goes_alone(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=1, batch=10, linger=5.0)
    await lane.start()
    await lane.accept(2)
    await lane.until(lambda: lane.lane is not None and len(lane.lane.state.ready) == 2)
    assert lane.connector.calls == []
    lane.advance(5)
    await lane.settled(2)
    assert [len(call) for call in lane.connector.calls] == [2]


async def test_lingering_costs_nothing_of_the_rate_limit(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=1, batch=10, linger=5.0, rate_limit=RateLimit(1, 3600.0))
    await lane.start()
    await lane.accept(2)
    await lane.until(lambda: lane.lane is not None and len(lane.lane.state.ready) == 2)
    lane.advance(5)
    await lane.settled(2)
    assert [len(call) for call in lane.connector.calls] == [2]


async def test_trouble_of_the_destination_pauses_the_lane_and_costs_no_delivery_an_attempt(
    rig: Callable[..., Rig], store: SqlStore
) -> None:
    lane = rig(concurrency=1)
    lane.connector.answer = lambda records: [Retry(Reason.UNAUTHORIZED, "key refused", Blame.DESTINATION, status=401)]
    await lane.start()
    await lane.accept(5)
    await lane.settled(1)
    await asyncio.sleep(0.02)
    assert len(lane.connector.calls) == 1
    assert all(row.failures == 0 and row.state == "pending" for row in lane.rows())
    await lane.until(lambda: lane.rows(lanes)[0].paused_by == "lane")
    assert await store.pause_of("crm") == Pause("lane", "unauthorized", "key refused", lane.clock() + 10, lane.clock())
    lane.connector.answer = lambda records: [Delivered()]
    lane.advance(10)
    await lane.settled(6)
    assert lane.states() == ["delivered"] * 5
    await lane.until(lambda: lane.rows(lanes)[0].paused_by is None)


async def test_a_pause_lasts_as_long_as_the_destination_asks(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=1)
    lane.connector.answer = lambda records: [Retry(Reason.RATE_LIMITED, "slow", Blame.DESTINATION, after=3600)]
    await lane.start()
    await lane.accept(2)
    await lane.settled(1)
    lane.advance(3599)
    await asyncio.sleep(0.02)
    assert len(lane.connector.calls) == 1
    lane.connector.answer = lambda records: [Delivered()]
    lane.advance(1)
    await lane.settled(3)


async def test_unclear_failures_in_a_row_pause_the_lane_and_probes_take_turns(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=1)
    poison = "poison@example.com"
    down = True

    def answer(records: Sequence[Record]) -> Sequence[Outcome]:
        if down or records[0].fields["email"] == poison:
            return [Retry(Reason.SERVER_ERROR, "500", status=500)]
        return [Delivered()]

    lane.connector.answer = answer
    await lane.accept(Email=poison)
    await lane.accept(4)
    await lane.start()
    await lane.settled(3)
    await asyncio.sleep(0.02)
    assert len(lane.connector.calls) == 3
    assert sorted(row.failures for row in lane.rows()) == [0, 0, 0, 1, 1]
    down = False
    # However often the poisoned one is the probe, a good one gets its turn, and the lane comes back.
    for _ in range(6):
        lane.advance(300)
        await asyncio.sleep(0.02)
    await lane.until(lambda: lane.states().count("delivered") == 4)
    assert lane.states()[0] == "pending"


async def test_a_call_that_takes_too_long_is_of_unknown_outcome_and_comes_again(rig: Callable[..., Rig]) -> None:
    lane = rig(timeout=0.02)
    lane.connector.before = lambda records: asyncio.sleep(60)
    await lane.start()
    await lane.accept()
    await lane.settled(1)
    (row,) = lane.rows()
    assert (row.state, row.reason, row.failures) == ("pending", "timeout", 1)


@pytest.mark.parametrize("answer", [lambda records: [], lambda records: [None], lambda records: 1 / 0])
async def test_a_faulty_connector_loses_nothing_and_does_not_end_the_lane(
    rig: Callable[..., Rig], answer: Callable[[Any], Any]
) -> None:
    lane = rig()
    lane.connector.answer = answer
    await lane.start()
    await lane.accept()
    await lane.settled(1)
    (row,) = lane.rows()
    assert (row.state, row.reason) == ("pending", "connector_error")
    lane.connector.answer = lambda records: [Delivered()]
    lane.advance(10)
    await lane.settled(2)
    assert lane.states() == ["delivered"]


async def test_a_mapping_that_fails_makes_a_dead_letter_without_a_call(rig: Callable[..., Rig]) -> None:
    lane = rig()
    lane.bots["acme"] = chatbot("acme", route("crm", {"phone": {"from": "PhoneNumber", "required": True}}))
    await lane.start()
    await lane.accept()
    await lane.until(lambda: lane.states() == ["dead"])
    (row,) = lane.rows()
    assert row.reason == "mapping"
    assert "phone" in row.detail
    assert lane.connector.calls == []


async def test_another_chatbot_of_the_same_name_takes_only_what_its_key_has_verified(rig: Callable[..., Rig]) -> None:
    lane = rig()
    mine, foreign = routed("crm"), routed("crm")
    await lane.store.accept(
        [
            mine._replace(event=mine.event._replace(verified_by=(key_fingerprint(KEY),))),
            foreign._replace(event=foreign.event._replace(verified_by=(key_fingerprint(b"a-key-of-the-one-before"),))),
        ]
    )
    lane.bots["acme"] = chatbot("acme", route("crm"), serial_numbers=("another",))
    await lane.start()
    await lane.until(lambda: "pending" not in lane.states())
    assert lane.states() == ["delivered", "dead"]
    (_, row) = lane.rows()
    assert row.reason == "unrouted"
    assert "chatbot acme is a different one now" in row.detail


async def test_a_delivery_whose_chatbot_or_route_is_gone_waits_for_the_name(rig: Callable[..., Rig]) -> None:
    lane = rig()
    asked = 0

    class Bots(dict[str, Chatbot]):
        def get(self, name: str, default: Any = None) -> Any:
            nonlocal asked
            asked += 1
            return super().get(name, default)

    named, lane.bots = lane.bots, Bots()
    await lane.start()
    assert lane.lane
    for number, gone in enumerate(({}, {"acme": chatbot("acme", route("other"))}), 1):
        lane.bots.clear()
        lane.bots.update(gone)
        before = asked
        await lane.accept(Email=f"{number}@example.com")
        await lane.until(lambda before=before: asked > before)  # type: ignore[misc]  # its default is the bool's
        await asyncio.sleep(0)
        assert lane.states() == ["pending"] * number
    lane.bots.update(named)
    lane.lane.change()
    await lane.until(lambda: lane.states() == ["delivered", "delivered"])


async def test_stop_finishes_what_is_on_its_way_and_begins_no_more(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=1)
    gate = asyncio.Event()
    lane.connector.before = lambda records: gate.wait()
    await lane.start()
    await lane.accept(2)
    await lane.calls(1)
    assert lane.lane
    lane.lane.stop()
    gate.set()
    await lane.stop()
    assert lane.states() == ["delivered", "pending"]


async def test_cancelled_calls_stay_pending(rig: Callable[..., Rig]) -> None:
    lane = rig()
    lane.connector.before = lambda records: asyncio.sleep(60)
    await lane.start()
    await lane.accept()
    await lane.calls(1)
    assert lane.run
    lane.run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await lane.run
    assert lane.states() == ["pending"]
    lane.run = None
    lane.lane = None


async def test_a_lane_that_lost_its_lease_settles_nothing_and_ends(rig: Callable[..., Rig], store: SqlStore) -> None:
    lane = rig()
    gate = asyncio.Event()
    lane.connector.before = lambda records: gate.wait()
    await lane.start()
    await lane.accept()
    await lane.calls(1)
    await store.claim("somebody else", ["crm"], lane.clock() + 2e9, 10)
    gate.set()
    assert lane.run
    await asyncio.wait_for(lane.run, 5)
    assert lane.states() == ["pending"]
    assert lane.rows(attempts) == []


async def test_an_operators_pause_holds_until_it_is_resumed(rig: Callable[..., Rig], driver: Driver) -> None:
    lane = rig()
    await lane.start()
    assert lane.lane
    with driver.engine().begin() as connection:
        connection.execute(update(lanes).values(paused_by="operator", pause_reason="maintenance"))
    lane.lane.change()
    await lane.until(lambda: lane.lane is not None and lane.lane.pause is not None)
    await lane.accept(2)
    lane.advance(1e6)
    await asyncio.sleep(0.02)
    assert lane.connector.calls == []
    with driver.engine().begin() as connection:
        connection.execute(update(lanes).values(paused_by=None, pause_reason=None))
    lane.lane.change()
    await lane.settled(2)


async def test_notices_what_an_operator_replays_and_discards(rig: Callable[..., Rig], driver: Driver) -> None:
    lane = rig()
    lane.connector.answer = refuse("bad@example.com")
    await lane.start()
    assert lane.lane
    await lane.accept(Email="bad@example.com")
    await lane.settled(1)
    lane.connector.answer = lambda records: [Delivered()]
    with driver.engine().begin() as connection:
        connection.execute(
            update(deliveries).values(
                state=DeliveryState.PENDING.value, due_at=lane.clock(), settled_at=None, failures=0, failing_since=None
            )
        )
    lane.lane.change()
    await lane.settled(2)
    assert lane.states() == ["delivered"]


async def test_remembers_what_the_connector_asked_to_keep(rig: Callable[..., Rig]) -> None:
    lane = rig()
    lane.connector.answer = lambda records: [Retry(Reason.CONFLICT, "x", Blame.RECORD, memo={"note": "17"})]
    await lane.start()
    await lane.accept()
    await lane.settled(1)
    lane.connector.answer = lambda records: [Delivered(memo={"meeting": "18"})]
    lane.advance(10)
    await lane.settled(2)
    assert lane.connector.calls[1][0].memo == {"note": "17"}
    assert lane.rows()[0].memo == '{"note":"17","meeting":"18"}'


async def test_a_fault_of_a_mapping_spoils_its_own_delivery_only(rig: Callable[..., Rig]) -> None:
    class Faulty:
        create_only = if_empty = frozenset[str]()

        def apply(self, values: Any, _: object = None) -> dict[str, Any]:
            if values["Email"] == "bad@example.com":
                raise ZeroDivisionError
            return {"email": values["Email"]}

    lane = rig()
    lane.bots["acme"] = chatbot("acme", route("crm", mapping=Faulty()))
    await lane.accept(Email="bad@example.com")
    await lane.accept()
    await lane.start()
    await lane.until(lambda: lane.states() == ["dead", "delivered"])
    assert "ZeroDivisionError" in lane.rows()[0].detail


class Costly:
    """A mapping that takes long for some leads: in the thread it goes on when the test says so."""

    create_only = if_empty = frozenset[str]()

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.made: list[tuple[str, str]] = []
        """The leads, and the threads in which they were mapped."""

    def apply(self, values: Any, _: object = None) -> dict[str, Any]:
        if values["Email"] == "slow@example.com":
            budget.current_budget().charge(budget.INLINE_STEPS + 1)
            assert self.may_go_on.wait(5)
        self.made.append((values["Email"], threading.current_thread().name))
        return {"email": values["Email"]}


async def test_a_mapping_that_takes_long_holds_up_nobody(rig: Callable[..., Rig]) -> None:
    lane, costly = rig(), Costly()
    lane.bots["acme"] = chatbot("acme", route("crm", mapping=costly))
    await lane.accept(Email="slow@example.com")
    await lane.accept(Email="quick@example.com")
    await lane.start()
    await lane.until(lambda: lane.states() == ["pending", "delivered"])
    costly.may_go_on.set()
    await lane.until(lambda: lane.states() == ["delivered", "delivered"])
    main = threading.main_thread().name
    assert costly.made == [("quick@example.com", main), ("slow@example.com", "mapping_0")]
    await lane.accept(Email="large@example.com", Content="x" * 20_000)
    await lane.until(lambda: lane.states() == ["delivered"] * 3)
    assert costly.made[2] == ("large@example.com", "mapping_0")


async def test_a_change_while_a_mapping_takes_long_has_it_read_anew(rig: Callable[..., Rig], driver: Driver) -> None:
    lane, costly = rig(), Costly()
    lane.bots["acme"] = chatbot("acme", route("crm", mapping=costly))
    await lane.accept(Email="slow@example.com")
    await lane.accept(Email="quick@example.com")
    await lane.start()
    await lane.until(lambda: lane.states() == ["pending", "delivered"])
    assert lane.lane
    lane.lane.change()
    await lane.until(lambda: lane.lane is not None and not lane.lane.state.outdated)
    costly.may_go_on.set()
    await lane.until(lambda: lane.states() == ["delivered", "delivered"])
    assert lane.connector.emails.count("slow@example.com") == 1


async def test_goes_on_when_the_store_is_back(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.delivery.lane.STORE_TROUBLE_SECONDS", 0.01)
    lane = rig()
    real = {name: getattr(lane.store, name) for name in ("pause_of", "due", "read", "settle")}
    down = set(real)

    def failing(name: str) -> Callable[..., Any]:
        async def call(*arguments: Any) -> Any:
            if name in down:
                down.discard(name)
                raise StoreUnavailableError("away")
            return await real[name](*arguments)

        return call

    for name in real:
        monkeypatch.setattr(lane.store, name, failing(name))
    await lane.accept()
    await lane.start()
    await lane.settled(1)
    assert lane.states() == ["delivered"]
    assert len(lane.connector.calls) == 1
    assert down == set()


async def test_a_fault_of_the_lane_itself_ends_it_so_that_it_can_begin_anew(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("bridge.delivery.retry.decide", fail)
    lane = rig()
    await lane.start()
    await lane.accept()
    assert lane.run
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(lane.run, 5)
    lane.run = None
    assert lane.states() == ["pending"]


async def test_a_fault_of_the_lane_waits_for_the_outcomes_of_the_other_calls(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    lane, gate, decide = rig(), asyncio.Event(), retry.decide

    def fail_once(*given: Any, **more: Any) -> Settlement:
        monkeypatch.setattr(retry, "decide", decide)
        asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(gate.set))
        raise ZeroDivisionError

    async def hold(records: Any) -> None:
        if records[0].event["Content"] == "held":
            await gate.wait()

    monkeypatch.setattr(retry, "decide", fail_once)
    lane.connector.before = hold
    await lane.accept(Content="held")
    await lane.accept(Content="faulty")
    await lane.start()
    assert lane.run
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(lane.run, 5)
    lane.run = None
    assert lane.states() == ["delivered", "pending"]


async def test_while_a_quota_is_nearly_used_up_only_new_deliveries_go(rig: Callable[..., Rig]) -> None:
    made = rig()
    made.connector.answer = lambda records: [Retry(Reason.CONFLICT, "busy", Blame.RECORD)]
    await made.accept(Content="tried")
    await made.start()
    await made.settled(1)
    made.connector.answer = all_delivered
    made.connector.quota = [Quota("daily", 100, 20, made.clock() + 600, reserve=20)]
    await made.accept()
    await made.settled(2)
    made.advance(60)  # the retry has been due for long
    await made.accept()
    await made.settled(3)
    assert made.states() == ["pending", "delivered", "delivered"]
    made.connector.quota = []
    made.advance(600)
    await made.settled(4)
    assert made.states() == ["delivered"] * 3
    assert [call[0].is_repeat for call in made.connector.calls] == [False, False, False, True]


async def test_while_a_quota_is_used_up_nothing_is_sent(rig: Callable[..., Rig]) -> None:
    made = rig()
    made.connector.quota = [Quota("10 s", 100, 0, made.clock() + 10)]
    await made.accept()
    await made.start()
    await made.settled(1)
    await made.accept()
    made.advance(9)
    await asyncio.sleep(0.05)
    assert len(made.connector.calls) == 1
    made.advance(1)
    await made.settled(2)


async def test_a_connector_that_cannot_tell_its_quotas_is_held_back_by_nothing(rig: Callable[..., Rig]) -> None:
    made = rig()
    made.connector.quotas = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    await made.accept(2)
    await made.start()
    await made.settled(2)
    assert made.states() == ["delivered"] * 2


# -- clocks


async def test_a_lane_that_begins_brings_near_what_the_store_says_is_due_far_ahead(rig: Callable[..., Rig]) -> None:
    lane = rig()
    await lane.accept(2)
    with lane.driver.engine().begin() as connection:
        # Written under a clock that was a year ahead: one has failed, the other is new.
        connection.execute(update(deliveries).values(due_at=lane.clock() + 365 * DAY))
        failing = {"failures": 2, "attempts": 2, "failing_since": lane.clock() + 365 * DAY}
        connection.execute(update(deliveries).where(deliveries.c.id == 1).values(failing))
    await lane.start()
    await lane.settled(1)
    assert lane.states() == ["pending", "delivered"]
    lane.advance(19)
    await asyncio.sleep(0.02)
    assert len(lane.connector.calls) == 1
    lane.connector.answer = lambda _: [Retry(Reason.CONFLICT, "busy", Blame.RECORD)]
    lane.advance(1)
    await lane.settled(2)
    row = lane.rows()[0]
    assert (row.failing_since, row.due_at) == (lane.clock(), lane.clock() + 40)


async def test_a_lane_that_begins_tries_its_destination_once_whatever_pause_it_finds(rig: Callable[..., Rig]) -> None:
    lane = rig()
    await lane.accept(3)
    with lane.driver.engine().begin() as connection:
        pause = {"paused_by": "lane", "pause_reason": "rate_limited", "paused_until": lane.clock() + 365 * DAY}
        connection.execute(insert(lanes).values(name="crm", **pause))
    lane.connector.answer = lambda _: [Retry(Reason.RATE_LIMITED, "wait", Blame.DESTINATION, after=3600.0)]
    await lane.start()
    await lane.settled(1)
    await lane.until(lambda: lane.rows(lanes)[0].paused_until == lane.clock() + 3600.0)
    await asyncio.sleep(0.02)
    assert len(lane.connector.calls) == 1
    await lane.stop()
    lane.connector.answer = all_delivered
    await lane.start()
    await lane.settled(4)
    assert lane.states() == ["delivered"] * 3
    assert lane.rows(lanes)[0].paused_until is None


async def test_a_destination_that_asks_for_a_year_is_probed_within_a_day(rig: Callable[..., Rig]) -> None:
    lane = rig()
    await lane.start()
    lane.connector.answer = lambda _: [Retry(Reason.RATE_LIMITED, "wait", Blame.DESTINATION, after=365 * DAY)]
    await lane.accept()
    await lane.settled(1)
    lane.connector.answer = all_delivered
    lane.advance(DAY)
    await lane.settled(2)
    assert lane.states() == ["delivered"]


async def test_a_quota_that_ends_next_year_is_looked_at_within_a_day(rig: Callable[..., Rig]) -> None:
    lane = rig()
    await lane.start()
    lane.connector.quota = [Quota("daily", 0, 100, lane.clock() + 365 * DAY)]
    await lane.accept()
    await lane.settled(1)
    await lane.accept()
    lane.advance(DAY)
    await lane.settled(2)


async def test_a_lead_that_always_fails_does_not_keep_a_good_one_from_a_quiet_lane(rig: Callable[..., Rig]) -> None:
    lane = rig()
    await lane.start()
    bad = "bad@example.com"

    def answer(records: Sequence[Record]) -> Sequence[Outcome]:
        failed = Retry(Reason.SERVER_ERROR, "oops", Blame.UNCLEAR)
        return [failed if each.fields["email"] == bad else Delivered() for each in records]

    lane.connector.answer = answer
    await lane.accept(Email=bad)
    for count in range(1, 8):
        await lane.settled(count)
        lane.advance(600.0)
    await lane.settled(8)
    assert lane.lane is not None
    assert lane.lane.pause is not None
    # It has paused for minutes, and not because of this one.
    await lane.accept(Email="good@example.com")
    await lane.until(lambda: "delivered" in lane.states())
    assert lane.lane.pause is None


async def test_a_probe_is_a_lead_that_was_never_tried_if_there_is_one(rig: Callable[..., Rig]) -> None:
    lane = rig(concurrency=2)
    await lane.start()
    lane.connector.answer = lambda records: [Retry(Reason.UNREACHABLE, "down", Blame.DESTINATION)] * len(records)
    await lane.accept(2)
    await lane.settled(2)
    lane.connector.answer = all_delivered
    await lane.accept(Email="fresh@example.com")
    calls = len(lane.connector.calls)
    assert calls == 2, "trouble of the destination is no lead's own"
    lane.advance(600.0)
    await lane.settled(5)
    assert lane.connector.emails[2] == "fresh@example.com"


async def test_a_warning_names_only_mapped_fields(rig: Callable[..., Rig]) -> None:
    seen: list[Outcome] = []
    lane = rig(caller=AttemptRunner(lambda _, outcome, *__: seen.append(outcome)))
    lane.connector.answer = lambda _: [Delivered(warning="left out", left_out=("email", "ada@example.com"))]
    await lane.start()
    await lane.accept()
    await lane.settled(1)
    assert [each.left_out for each in seen if isinstance(each, Delivered)] == [("email",)]


def _page_for(*emails: str) -> Callable[[Sequence[Record]], Sequence[Outcome]]:
    """Answer that blames the destination whenever a call has one of these records."""

    def answer(records: Sequence[Record]) -> Sequence[Outcome]:
        if any(each.fields["email"] in emails for each in records):
            return [Retry(Reason.NOT_FOUND, "a page", Blame.DESTINATION, status=404)] * len(records)
        return [Delivered()] * len(records)

    return answer


@pytest.mark.parametrize("restarted", [False, True])
async def test_one_record_pauses_a_busy_lane_a_few_times_and_is_given_up(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    lane = rig(concurrency=1, batch=10, retry=dataclasses.replace(SCHEDULE, give_up_after=100.0))
    pauses: list[Pause] = []
    write = lane.store.pause

    async def write_pause(lease: Lease, pause: Pause | None, now: float) -> None:
        pauses.extend([pause] if pause else [])
        await write(lease, pause, now)

    monkeypatch.setattr(lane.store, "pause", write_pause)
    await lane.start()
    lane.connector.answer = _page_for("bad@example.com")
    await lane.accept(Email="bad@example.com")

    async def delivered(count: int) -> None:
        async with asyncio.timeout(10):
            while lane.states().count("delivered") < count:
                await asyncio.sleep(0.005)
                lane.advance(5.0 if lane.lane and lane.lane.pause else 0.1)

    for turn in range(12):
        await lane.accept(3)
        await delivered(3 * (turn + 1))
        lane.advance(20.0)
        if restarted and turn % 5 == 4:
            await lane.stop()
            await lane.start()
    while lane.states()[0] != "dead":
        lane.advance(20.0)
        await asyncio.sleep(0.005)
    assert len(pauses) <= ATTEMPTS_LIMIT + (2 * 2 if restarted else 0), "two more after each restart"
    dead = lane.rows()[0]
    assert dead.reason == "not_found"
    assert "counts against the record" in dead.detail


async def test_one_record_of_a_quiet_lane_is_given_up_and_the_next_lead_goes_at_once(rig: Callable[..., Rig]) -> None:
    lane = rig(retry=dataclasses.replace(SCHEDULE, give_up_after=2000.0))
    await lane.start()
    bad = "bad@example.com"
    lane.connector.answer = _page_for(bad)
    await lane.accept(Email=bad)
    for count in range(1, 8):
        await lane.settled(count)
        lane.advance(600.0)
    await lane.settled(7)
    assert lane.lane is not None
    assert lane.lane.pause is not None
    await lane.accept(Email="good@example.com")
    await lane.until(lambda: "delivered" in lane.states())
    for count in range(10, 13):
        lane.advance(2000.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lane.settled(count), 0.2)
    assert lane.states() == ["dead", "delivered"]
    assert lane.lane.pause is None
