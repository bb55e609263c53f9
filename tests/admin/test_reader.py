"""What people look at is made in a process of its own, and in threads where that is not to be had."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bridge.admin import reader as reading
from bridge.admin import views
from bridge.admin.authentication import Caller, Role
from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.desk import Desk
from bridge.admin.endpoint import UnansweredError
from bridge.admin.reader import Reader
from bridge.admin.sources import Asked, Json, Page
from bridge.admin.views import View
from bridge.errors import NotFoundError, StoreUnavailableError
from bridge.operations import events
from bridge.store.driver import Driver
from bridge.store.search import DeliveryFilter
from bridge.store.sql import SqlStore
from tests.admin import chores
from tests.admin.conftest import Desk as Dashboard
from tests.building import routed
from tests.postgresql import ToldDriver

ROOT = Path(__file__).parents[2]
DELIVERIES = View(views.deliveries, {"wanted": DeliveryFilter()})
FILTERS = dict.fromkeys(("state", "destination", "chatbot", "reason", "since", "until"), "")
CHOICES: dict[str, list[str]] = {"chatbots": [], "destinations": ["crm"], "states": [], "reasons": []}
PAGE = Page(
    "deliveries.html",
    Caller(Role.OPERATOR, "127.0.0.1"),
    {"page": DELIVERIES, "said": None, "said_before": FILTERS, **CHOICES},
)


@dataclass
class Place:
    """A store with a lead for two destinations, and who reads it: in a process, and in threads."""

    reader: Reader
    threads: Reader
    driver: Driver

    async def pid(self) -> int:
        """Wait for the process, and give its id."""
        async with asyncio.timeout(30):
            while (pid := await self.reader.do(chores.own_pid)) == os.getpid():
                await asyncio.sleep(0.01)
        return pid


ON_BOTH = pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    # So that the process finds the chores.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    if getattr(request, "param", "sqlite") == "sqlite":
        driver: Driver = request.getfixturevalue("embedded")
        url = f"sqlite:///{driver.name}"
    else:
        url = request.getfixturevalue("database")
        driver = ToldDriver(url)
    store, desk, rendering = SqlStore(driver), Desk(driver), Rendering()
    await store.accept([routed("crm", "mail", Email="ada@example.com")])
    made = Place(Reader(desk, rendering, url), Reader(desk, rendering, None), driver)
    yield made
    await made.reader.close()
    await desk.close()
    await store.close()


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(30):
        while not ended(pid):
            await asyncio.sleep(0.01)


def ended(pid: int) -> bool:
    """Tell whether a process has ended; who should have asked how may have died before."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def orphan(url: str) -> int:
    """Start a process that starts a reader, kill it, and give the id of the reader."""
    command = [sys.executable, "-c", STARTER, url]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=-1) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        assert pid != starter.pid
        starter.send_signal(signal.SIGKILL)
    return pid


@ON_BOTH
async def test_the_process_makes_what_the_threads_make(place: Place) -> None:
    await place.pid()
    for work in (Json(DELIVERIES), PAGE):
        made = await place.reader.do(work)
        assert made == await place.threads.do(work)
        assert b"crm" in made
        assert b"mail" in made


async def test_it_rests_when_senders_came_while_it_worked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "REST", 1e6)
    rests: list[float] = []
    turn = asyncio.sleep

    async def noted(seconds: float) -> None:
        rests.append(seconds)
        await turn(0)

    async def rests_after(arrived: Callable[[], int]) -> list[float]:
        monkeypatch.setattr(place.reader, "_arrived", arrived)
        await place.reader.do(chores.own_pid)
        rests.clear()
        monkeypatch.setattr(place.reader, "_arrived", lambda: 0)
        await place.reader.do(chores.own_pid)
        return rests

    await place.pid()
    monkeypatch.setattr(asyncio, "sleep", noted)
    assert await rests_after(lambda: 7) == []
    (rest,) = await rests_after(itertools.count().__next__)
    assert 0 < rest <= reading.REST_SECONDS


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[Reader]:
    """Those that the program makes from here on."""
    made: list[Reader] = []

    class Noted(Reader):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr("bridge.admin.listener.Reader", Noted)
    return made


async def test_it_is_told_of_every_request_of_a_sender(readers: list[Reader], desk: Dashboard) -> None:
    (reader,) = readers
    before = reader._arrived()
    await desk.send()
    await desk.send(b"another key")
    assert reader._arrived() == before + 2


@ON_BOTH
async def test_it_sees_what_was_committed_before(place: Place) -> None:
    await place.pid()
    for name in ("first", "second"):
        with place.driver.engine().begin() as connection:
            connection.execute(text(f"UPDATE deliveries SET route = '{name}' WHERE destination = 'crm'"))
        assert name.encode() in await place.reader.do(Json(DELIVERIES))


@ON_BOTH
async def test_an_error_for_a_person_reaches_who_has_asked(place: Place) -> None:
    await place.pid()
    for each in (place.reader, place.threads):
        with pytest.raises(NotFoundError, match="0123456789ab: no event has this id"):
            await each.do(Asked(View(events.show_lead, {"beginning": "0123456789ab"})))
        with pytest.raises(StoreUnavailableError, match="cannot be read"):
            await each.do(Asked(chores.broken))


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        (chores.die, UnansweredError, "has ended: try again"),
        (chores.fail, RuntimeError, "a fault in the reader's process"),
        (chores.fill_memory, UnansweredError, "too much memory"),
    ],
)
async def test_what_goes_wrong_in_the_process_is_not_done_again(
    place: Place, what: Callable[[], None], error: type[Exception], says: str
) -> None:
    first = await place.pid()
    with pytest.raises(error, match=says) as raised:
        await place.reader.do(chores.Elsewhere(what, os.getpid()))
    assert "own words" not in str(raised.value)
    assert (await place.pid() == first) is (what is not chores.die)


async def test_a_process_that_ended_while_nobody_asked_is_no_trouble(place: Place) -> None:
    pid = await place.pid()
    os.kill(pid, signal.SIGKILL)
    process = place.reader._process
    assert process
    await process.wait()
    assert await place.reader.do(chores.own_pid) == os.getpid()
    assert await place.pid() != pid


async def test_a_dry_run_is_never_done_in_a_thread(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await place.reader.alone(chores.own_pid)
    assert first != os.getpid()
    with monkeypatch.context() as changed:
        changed.setattr(reading, "ANSWER_SECONDS", 0.1)
        with pytest.raises(UnansweredError, match="took longer than"):
            await place.reader.alone(chores.Elsewhere(chores.stand_still, os.getpid()))
    await gone(first)
    # It was slow by itself: others need not do without the process.
    second = await place.reader.alone(chores.own_pid)
    assert second not in {first, os.getpid()}
    await place.reader._end()
    place.reader._not_before = float("inf")
    with pytest.raises(UnansweredError, match="try again"):
        await place.reader.alone(chores.own_pid)
    assert await place.threads.alone(chores.own_pid) == os.getpid()


async def test_what_cannot_be_carried_over_is_done_in_a_thread(place: Place) -> None:
    await place.pid()
    assert await place.reader.do(lambda _: os.getpid()) == os.getpid()


async def test_what_is_printed_does_not_stand_between_the_answers(place: Place) -> None:
    await place.pid()
    assert await place.reader.do(chores.say) == "said"
    assert await place.reader.do(chores.own_pid) != os.getpid()


async def test_many_ask_at_once(place: Place) -> None:
    await place.pid()
    assert len(set(await asyncio.gather(*(place.reader.do(Json(DELIVERIES)) for _ in range(20))))) == 1


async def test_what_the_process_does_not_come_to_is_refused_and_no_other_is_started_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await place.pid()
    with monkeypatch.context() as changed:
        changed.setattr(reading, "ANSWER_SECONDS", 0.1)
        with pytest.raises(UnansweredError, match=r"took longer than 0.1 s and was stopped"):
            await place.reader.do(chores.Elsewhere(chores.stand_still, os.getpid()))
    await gone(first)
    assert await place.reader.do(chores.own_pid) == os.getpid()
    assert place.reader._starting is None
    place.reader._not_before = 0.0
    assert await place.pid() != first


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know niceness alone")
async def test_it_runs_when_no_other_does(place: Place) -> None:
    assert os.sched_getscheduler(await place.pid()) == os.SCHED_IDLE


async def test_an_answer_that_nobody_waits_for_any_more_is_not_given_to_the_next(place: Place) -> None:
    first = await place.pid()
    asked = asyncio.ensure_future(place.reader.do(chores.Elsewhere(chores.stand_still, os.getpid())))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await place.reader.do(chores.say) == "said"
    assert await place.pid() != first


async def test_it_ends_when_nobody_asks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "IDLE_SECONDS", 0.1)
    pid = await place.pid()
    await gone(pid)
    assert await place.pid() != pid


async def test_after_the_end_threads_answer(place: Place) -> None:
    pid = await place.pid()
    await place.reader.close()
    await gone(pid)
    assert await place.reader.do(chores.own_pid) == os.getpid()


async def test_where_no_process_can_be_had_threads_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("/nowhere/python", "/bin/true"):
        with monkeypatch.context() as changed:
            changed.setattr(sys, "executable", program)
            async with asyncio.timeout(30):
                while not place.reader._not_before or place.reader._starting:
                    assert await place.reader.do(chores.own_pid) == os.getpid()
        # Not tried again at once.
        assert await place.reader.do(chores.own_pid) == os.getpid()
        assert place.reader._starting is None
        place.reader._not_before = 0.0
    assert await place.pid() != os.getpid()


STARTER = """
import asyncio, sys, time
from bridge.admin.desk import Desk
from bridge.admin.reader import Reader
from bridge.admin.dashboard.rendering import Rendering
from bridge.store.url import driver_for
from tests.admin.chores import own_pid

async def main():
    reader = Reader(Desk(driver_for(sys.argv[1])), Rendering(), sys.argv[1])
    await reader.do(own_pid)
    await reader._starting
    print(await reader.do(own_pid), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_it_ends_with_who_has_started_it(tmp_path: Path) -> None:
    await gone(orphan(f"sqlite:///{tmp_path}/leadbridge.db"))
