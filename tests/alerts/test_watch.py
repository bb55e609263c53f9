"""Alerts from the store to a target that really listens."""

import asyncio
import io
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from sqlalchemy.engine import make_url

from bridge.admin.query_threads import QueryThreads
from bridge.alerts.notifier import CALM_SECONDS, Notification
from bridge.alerts.targets import FIRST_WAIT, KEPT_LIMIT, Outbox, send_notifications
from bridge.alerts.watch import Watch
from bridge.app import running
from bridge.config.model import AlertSettings, FileFault
from bridge.config.reload import load_files
from bridge.delivery import retry
from bridge.delivery.attempt import AttemptRunner
from bridge.delivery.clock import DeliveryClock
from bridge.delivery.lane import Lane, LaneContext
from bridge.errors import StoreUnavailableError
from bridge.event import EventState, Room
from bridge.ingress.spool import Spool
from bridge.store.driver import Driver
from bridge.store.interface import Lease, Pause, QuarantinedRequest, RoutedEvent
from bridge.store.preparation import migrate
from bridge.store.spool import SpoolStore
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from connectors.base import Delivered, Outcome, Quota, Reason, Rejected
from tests import building
from tests.building import (
    IDENTITY,
    IDENTITY_KEY,
    NOW,
    SCHEDULE,
    SERIAL,
    Clock,
    FakeConnector,
    chatbot,
    config,
    destination,
    event,
    route,
    routed,
)

pytestmark = pytest.mark.filterwarnings("ignore:'(imghdr|cgi)' is deprecated:DeprecationWarning")


class Target:
    """Takes what Apprise sends as JSON."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.status = 200
        self.first = asyncio.Event()
        application = web.Application()
        application.router.add_post("/{secret}", self._take)
        self.server = TestServer(application)

    async def _take(self, request: web.Request) -> web.Response:
        self.taken.append(await request.json())
        self.first.set()
        return web.Response(status=self.status)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.port}/a-secret-path"

    @property
    def lines(self) -> list[str]:
        return [line for each in self.taken for line in each["message"].splitlines()]


async def sent(url: str, *texts: str) -> str | None:
    return await asyncio.to_thread(send_notifications, url, [Notification(each) for each in texts])


async def test_messages_go_as_one_notification(target: Target) -> None:
    assert await sent(target.url, "one", "two") is None
    (taken,) = target.taken
    assert taken["message"].splitlines() == ["one", "two"]
    assert taken["title"].startswith("Leadbridge on ")
    assert taken["type"] == "warning"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What libraries write into Python's own log, down to the last detail."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


async def test_a_failure_is_logged_without_the_secret(target: Target, logged: io.StringIO) -> None:
    target.status = 500
    failures = [await sent(target.url, "one"), await sent("nonsense://a-secret-path", "one")]
    assert None not in failures
    written = [line for line in logged.getvalue().splitlines() if " HTTP/1.1" not in line]  # the target's own
    assert "secret" not in f"{failures} {written}"


async def test_what_could_not_be_sent_is_sent_later_together_and_to_that_target_alone(target: Target) -> None:
    other = Target()
    await other.server.start_server()
    outbox, urls = Outbox(), [target.url, other.url]
    target.status = 500
    await outbox.post(urls, [Notification("one")], NOW)
    await outbox.post(urls, [Notification("two")], NOW + 1)
    assert (target.lines, other.lines) == (["one"], ["one", "two"])
    target.status = 200
    await outbox.post(urls, [], NOW + FIRST_WAIT)
    assert (target.lines, other.lines) == (["one", "one", "two"], ["one", "two"])
    await other.server.close()


async def test_a_target_that_hangs_holds_up_nothing() -> None:
    free, calls = threading.Event(), []

    def hang(url: str, messages: Sequence[Notification]) -> str | None:
        calls.append([each.text for each in messages])
        free.wait(10)
        return None

    outbox = Outbox(hang, patience=0.01)
    await outbox.post(["x://"], [Notification("one")], NOW)
    await outbox.post(["x://"], [Notification("two")], NOW + 3600)
    assert calls == [["one"]]
    free.set()
    while outbox._busy:
        await asyncio.sleep(0)
    await outbox.post(["x://"], [], NOW + 7200)
    assert calls[1] == ["one", "two"]


async def test_a_target_that_is_gone_for_long_gets_the_newest() -> None:
    calls: list[int] = []

    def refuse(url: str, messages: Sequence[Notification]) -> str | None:
        calls.append(len(messages))
        return "no"

    outbox = Outbox(refuse)
    for number in range(KEPT_LIMIT * 2):
        await outbox.post(["x://"], [Notification(str(number))], NOW + number * 3600)
    assert max(calls) == KEPT_LIMIT


# -- the watch


class Place:
    """A store, a lane that does not run, and a watch."""

    def __init__(self, driver: Driver, store: SqlStore, url: str) -> None:
        self.store = store
        self.clock = Clock()
        self.connector = FakeConnector()
        self.crm = destination("crm", self.connector)
        self.config = replace(
            config([chatbot("acme", route("crm"))], [self.crm]), alerts=AlertSettings((url,) if url else ())
        )
        clock = DeliveryClock(self.clock, self.clock)
        context = LaneContext(store, self.config.chatbots.get, clock, AttemptRunner(), lambda: 0.0)
        self.lane = Lane(self.crm, Lease("crm", 1), context)
        self.lanes = {"crm": self.lane}
        self.query_threads = QueryThreads(driver)
        self.watch = Watch(lambda: self.config, lambda: self.lanes, store, self.query_threads.ask, self.clock)

    async def settle(self, outcomes: dict[int, Outcome]) -> None:
        lease = (await self.store.claim("lane", ["crm"], self.clock(), 10.0))["crm"]
        for delivery in await self.store.read("crm", list(outcomes)):
            call = retry.CallTiming(self.clock(), 0.0)
            settled = retry.decide(delivery, outcomes[delivery.id], call, SCHEDULE, 0.0, excused=False)
            await self.store.settle(lease, [settled])

    async def look(self, *afters: float) -> None:
        for after in afters or (0.0,):
            self.clock.now += after
            await self.watch.check()


@pytest.fixture
async def place(driver: Driver, store: SqlStore, target: Target) -> AsyncIterator[Place]:
    made = Place(driver, store, target.url)
    yield made
    await made.query_threads.close()


async def test_a_good_bridge_is_silent(place: Place, target: Target) -> None:
    await place.store.accept([routed("crm")])
    await place.settle({1: Delivered("1")})
    await place.look(0, 60, 3600)
    assert target.taken == []


async def test_dead_letters_and_their_end(place: Place, target: Target) -> None:
    await place.store.accept([routed("crm") for _ in range(3)])
    await place.settle({number: Rejected(Reason.REFUSED, "ada@example.com is no name") for number in (1, 2, 3)})
    await place.look(1, 15, 15, 15)
    (line,) = target.lines
    assert line.startswith("crm: dead letters: 3 (3 refused); see `leadbridge deliveries list")
    assert "ada@" not in line


async def test_a_lead_that_waits_too_long(place: Place, target: Target) -> None:
    await place.store.accept([routed("crm", received_at=NOW), routed("mail", received_at=NOW)])
    await place.look(890, 20, 60)
    (line,) = target.lines
    assert "the oldest of 1 has waited for 16 min" in line
    await place.settle({1: Delivered("1")})
    await place.look(0, CALM_SECONDS)
    assert target.lines[1:] == ["over: crm: a lead waits too long"]


async def test_events_that_are_not_recognised(place: Place, target: Target) -> None:
    await place.store.accept([RoutedEvent(event()._replace(state=EventState.UNRECOGNISED))])
    await place.look(0, 30)
    assert target.lines[0].startswith("events that were not recognised: 1, authentic")


async def test_a_mistyped_key_is_noticed_at_its_first_lead(place: Place, target: Target, driver: Driver) -> None:
    """Once a signature has held, a stranger's raises nothing; until the keys change, whoever asks and however late."""

    def another_process(key: bytes) -> None:
        place.config = replace(
            place.config, chatbots={"acme": replace(place.config.chatbots["acme"], signing_keys=(key,))}
        )
        place.watch = Watch(
            lambda: place.config, lambda: place.lanes, place.store, place.query_threads.ask, place.clock
        )

    async def refused(number: int, room: Room = Room.MISMATCH) -> list[str]:
        request = QuarantinedRequest(place.clock(), "acme", "t=1,v1=00", b"%d" % number, room)
        await place.store.quarantine(request, IDENTITY)
        target.taken.clear()
        await place.look(0)
        return target.lines

    assert await refused(1, Room.JUNK) == []
    (line,) = await refused(2)
    assert line.startswith("acme: its signing key may be mistyped: 1 in quarantine, and no signature has held yet")
    place.watch.received("acme", "duplicate")
    await place.look(15, CALM_SECONDS)
    assert target.lines[1:] == ["over: acme: its signing key may be mistyped"]
    another_process(place.config.chatbots["acme"].signing_keys[0])
    assert await refused(3) == []
    another_process(b"a-key-that-is-mistyped")
    assert len(await refused(4)) == 1


async def test_nothing_of_destinations_that_are_worked_elsewhere(place: Place, target: Target) -> None:
    await place.store.accept([routed("crm")])
    place.lanes = {}
    await place.look(3600, 60)
    assert target.taken == []


@pytest.fixture
async def alone(embedded: Driver, embedded_store: SqlStore, target: Target) -> AsyncIterator[Place]:
    made = Place(embedded, embedded_store, target.url)
    yield made
    await made.query_threads.close()


async def test_a_lane_that_has_paused_and_goes_on(alone: Place, target: Target) -> None:
    alone.lane.state.health = retry.DestinationHealth(pause=Pause("lane", Reason.UNAUTHORIZED, "no", NOW + 60))
    await alone.look(0, 15)
    assert target.lines[0].startswith("crm: the lane has paused: it refuses the credentials")
    alone.lane.state.health = retry.DestinationHealth()
    await alone.look(15, CALM_SECONDS)
    assert target.lines[1:] == ["over: crm: the lane has paused"]
    assert [each["type"] for each in target.taken] == ["warning", "success"]


async def test_refused_requests_a_quota_and_the_configuration(alone: Place, target: Target) -> None:
    for _ in range(5):
        alone.watch.received("acme", "mismatch")
        alone.watch.received("", "mismatch")
        alone.watch.received("acme", "accepted")
    alone.connector.quota = [Quota("daily", 1000, 10, NOW + 1800)]
    alone.config = replace(alone.config, faults=(FileFault("acme.yaml", (), in_use=True),))
    alone.watch.reloaded()
    await alone.look()
    assert len(target.taken) == 1
    assert [line.partition(": ")[0] for line in target.lines] == [
        "files of the configuration have errors",
        "crm",
        "acme",
    ]
    alone.config = replace(alone.config, faults=())
    alone.watch.reloaded()
    await alone.look(601, CALM_SECONDS)
    # Of the quota nothing new has been heard.
    assert sorted(target.lines[3:]) == [
        "over: acme: requests are refused",
        "over: files of the configuration have errors",
    ]


async def test_a_store_in_trouble(alone: Place, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> Any:
        raise StoreUnavailableError("the disk is full")

    alone.watch._ask = fail
    monkeypatch.setattr(alone.store, "check", fail)
    await alone.look(0, 15, 15)
    assert target.lines[0].startswith("the store cannot commit: events are answered 503")


async def test_the_spool_is_in_use_and_empty_again(
    alone: Place, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real spool, before a store that is away and comes back."""
    monkeypatch.setattr("bridge.ingress.spool.LOOK_SECONDS", 0.005)
    driver = SqliteDriver(make_url(f"sqlite:///{tmp_path}/spool.db"))
    migrate(driver.engine())
    kept = SpoolStore(driver)
    accept = alone.store.accept

    async def away(_: Sequence[RoutedEvent]) -> list[bool]:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(alone.store, "accept", away)
    spool = Spool(alone.store, kept, limit=1024**2, identity_key=IDENTITY_KEY)
    alone.watch = Watch(
        lambda: alone.config, lambda: alone.lanes, alone.store, alone.query_threads.ask, alone.clock, spool=spool
    )
    await spool.open(await alone.store.identity(IDENTITY_KEY))
    await alone.look(0, 30)
    assert target.lines == []
    assert await spool.accept([routed("crm", Email="ada@example.com")]) == [True]
    moving = asyncio.create_task(spool.run())
    await alone.look(15, 15, 15)
    (line,) = target.lines
    assert line.startswith("the spool is in use: 0.2 KiB of 1.0 MiB wait on this machine")
    assert "ada@" not in line
    monkeypatch.setattr(alone.store, "accept", accept)
    while spool.in_use:
        await asyncio.sleep(0.005)
    await alone.look(15, CALM_SECONDS)
    assert target.lines[1:] == ["over: the spool is in use"]
    assert [each["type"] for each in target.taken] == ["warning", "success"]
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)
    await kept.close()


async def test_without_a_target_nobody_is_asked(embedded: Driver, embedded_store: SqlStore) -> None:
    made = Place(embedded, embedded_store, "")
    made.watch._ask = None  # type: ignore[assignment]  # it must not be called
    await made.look()
    await made.query_threads.close()


async def test_a_fault_in_one_look_does_not_end_the_watch(alone: Place, target: Target) -> None:
    looked = asyncio.Event()
    times = 0

    async def look() -> None:
        nonlocal times
        times += 1
        if times == 1:
            raise ValueError("a fault")
        looked.set()

    alone.watch.check = look  # type: ignore[method-assign]  # the loop around it is what is tested
    running = asyncio.create_task(alone.watch.run())
    await asyncio.sleep(0)
    alone.watch.reloaded()
    while not looked.is_set():
        await asyncio.sleep(0)
        alone.watch.reloaded()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_bridge_that_runs_tells(tmp_path: Path, target: Target) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"server: {{listen: '127.0.0.1:0', admin: '127.0.0.1:0'}}\n"
        f"store: {{url: 'sqlite:///{tmp_path}/leadbridge.db'}}\n"
        f"alerts: {{to: '{target.url}'}}\n"
        f"chatbots: {{acme: {{serial_number: {SERIAL}, signing_keys: a-signing-key-of-good-length}}}}\n"
    )
    made, files = load_files(path, {})
    async with running(made, files) as bridge, ClientSession() as client:
        for _ in range(5):
            headers = {"X-Webhook-Signature": f"t={int(time.time())},v1={'0' * 64}"}
            async with client.post(f"http://{bridge.listen}/webhook", json=building.lead(), headers=headers) as answer:
                assert answer.status == 401
        # A reload has it look at once.
        bridge.configuration.ask()
        async with asyncio.timeout(10):
            while len(target.lines) < 2:
                await asyncio.sleep(0.01)
    # The first of them at once, since nothing was ever signed with this key; all of them when they are too many.
    assert any(line.startswith("acme: its signing key may be mistyped: ") for line in target.lines)
    assert any("acme: requests are refused: 5 within 10 min" in line for line in target.lines)


def test_a_bridge_without_alerts_does_without_apprise() -> None:
    code = "import sys, bridge.app, bridge.cli.serve; sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
