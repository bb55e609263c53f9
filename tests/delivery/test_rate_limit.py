"""The rate limit, in simulated time."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.delivery.rate_limit import MOST_SLACK, MOST_UNDER_WAY, Pace, Slot
from tests.simulation.clock import simulated

LIMITS = [(1, 0.02), (7, 0.1), (20, 1.0), (100, 0.5), (190, 10.0), (5, 3600.0)]
LARGE = 100
"""From so many requests on, a test takes seconds."""


def each(limits: Sequence[tuple[int, float]]) -> pytest.MarkDecorator:
    """Run a test for each limit."""
    marked = [pytest.param(*limit, marks=pytest.mark.thorough if limit[0] >= LARGE else ()) for limit in limits]
    return pytest.mark.parametrize(("requests", "per"), marked)


async def _sent(requests: int, per: float, count: int) -> list[float]:
    """Give the times at which a lane sends that has begun at 0 and has always something to send."""
    pace = Pace(requests, per)
    await pace.spend()
    clock = asyncio.get_running_loop().time
    sent = []
    for _ in range(count):
        async with pace():
            sent.append(clock())
    return sent


def _windows(sent: list[float], per: float) -> list[int]:
    return [sum(start <= at < start + per for at in sent) for start in sent]


@each(LIMITS)
def test_no_window_sees_more_than_the_limit_and_hardly_less(requests: int, per: float) -> None:
    sent = simulated(_sent(requests, per, int(requests * 2.5) + 2))
    windows = _windows(sent, per)
    assert max(windows) <= requests
    full = [count for start, count in zip(sent, windows, strict=True) if start + per <= sent[-1]]
    assert sum(full) / len(full) >= 0.93 * requests


@each(LIMITS)
@given(stalls=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.2, 0.6]), min_size=1, max_size=12))
@settings(max_examples=30)
def test_what_is_held_up_before_it_is_sent_still_keeps_to_it(requests: int, per: float, stalls: list[float]) -> None:
    """As in a process that has to wait for its turn at the processor."""
    sent: list[float] = []

    async def send(pace: Pace, place: Slot, stall: float) -> None:
        pace.prepay(place)
        await asyncio.sleep(stall * per)
        async with pace():
            sent.append(asyncio.get_running_loop().time())

    async def work() -> None:
        pace = Pace(requests, per)
        calls = []
        for number in range(int(requests * 2.5) + 2):
            place = await pace.take()
            calls.append(asyncio.create_task(send(pace, place, stalls[number % len(stalls)])))
        await asyncio.gather(*calls)

    simulated(work())
    assert max(_windows(sent, per)) <= requests


@each(LIMITS)
@given(
    ways=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.0, 0.004, 0.02, 0.6, 3.0]),
            st.sampled_from([0.0, 0.0, 0.01, 0.06, 0.1, 0.5]),
            st.floats(0.0, 1.0),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=30)
def test_what_is_held_up_on_its_way_still_keeps_to_it_as_the_destination_counts(
    requests: int, per: float, ways: list[tuple[float, float, float, bool]]
) -> None:
    """Each is sent, and answered, after shares of the window; it arrives before the answer, and within what is allowed.

    Some are cut off before they have arrived.
    """
    arrived: list[float] = []

    async def arrive(way: float) -> None:
        await asyncio.sleep(way)
        arrived.append(asyncio.get_running_loop().time())

    async def send(pace: Pace, place: Slot, way: tuple[float, float, float, bool]) -> None:
        stall, share, part, cut = way
        await asyncio.sleep(stall * per)
        pace.prepay(place)
        with contextlib.suppress(TimeoutError):
            async with pace():
                lasts = min(part * share * per, MOST_UNDER_WAY, per / 10)
                arriving = asyncio.create_task(arrive(lasts))
                if cut:
                    await asyncio.sleep(lasts / 2)
                    raise TimeoutError
                await asyncio.sleep(share * per)
        await arriving

    async def work() -> None:
        pace = Pace(requests, per)
        calls = []
        for number in range(int(requests * 2.5) + 2):
            place = await pace.take()
            calls.append(asyncio.create_task(send(pace, place, ways[number % len(ways)])))
        await asyncio.gather(*calls)

    simulated(work())
    assert max(_windows(arrived, per)) <= requests


@pytest.mark.parametrize("windows", [0.0, 0.02, 0.3, 2.0])
@each(LIMITS)
def test_a_call_that_the_lane_has_waited_for_waits_for_nothing(requests: int, per: float, windows: float) -> None:
    """Else it would wait in its own time-out, and more so with each window."""
    waits: list[float] = []

    async def call(pace: Pace, place: Slot) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        pace.prepay(place)
        async with pace():
            waits.append(clock() - began)
            await asyncio.sleep(windows * per)

    async def work() -> None:
        pace = Pace(requests, per)
        running: set[asyncio.Task[None]] = set()
        for _ in range(requests * 5 + 20):
            while len(running) >= 10:
                _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            running.add(asyncio.create_task(call(pace, await pace.take())))
        await asyncio.gather(*running)

    simulated(work())
    assert max(waits) == 0


@pytest.mark.parametrize(("windows", "least"), [(0.0, 0.93), (10.0, 0.85)])
@each(LIMITS)
def test_quick_answers_cost_none_of_the_rate_and_slow_ones_a_tenth(
    requests: int, per: float, windows: float, least: float
) -> None:
    sent: list[float] = []

    async def send(pace: Pace, place: Slot) -> None:
        pace.prepay(place)
        async with pace():
            sent.append(asyncio.get_running_loop().time())
            await asyncio.sleep(windows * per)

    async def work() -> None:
        pace = Pace(requests, per)
        await asyncio.gather(*[asyncio.create_task(send(pace, await pace.take())) for _ in range(requests * 5 + 1)])

    simulated(work())
    assert (len(sent) - 1) / (sent[-1] - sent[0]) >= least * requests / per


@each([limit for limit in LIMITS if limit[1] >= 2.0])
@given(delays=st.lists(st.floats(0.0, MOST_SLACK * 0.99), min_size=1, max_size=20))
@settings(max_examples=30)
def test_requests_that_come_closer_on_their_way_still_keep_to_it(
    requests: int, per: float, delays: list[float]
) -> None:
    sent = simulated(_sent(requests, per, int(requests * 2.5) + 2))
    arrived = sorted(at + delays[number % len(delays)] for number, at in enumerate(sent))
    assert max(_windows(arrived, per)) <= requests


@each(LIMITS)
@given(owners=st.lists(st.tuples(st.integers(0, 40), st.floats(0.0, 2.0)), min_size=2, max_size=6))
@settings(max_examples=30)
def test_owners_one_after_the_other_keep_to_it_together(
    requests: int, per: float, owners: list[tuple[int, float]]
) -> None:
    """Each has leads waiting, sends so many of them after some idle time, and is killed."""

    async def work() -> list[float]:
        clock = asyncio.get_running_loop().time
        sent = []
        for count, idle in owners:
            pace = Pace(requests, per)
            await pace.spend()
            await asyncio.sleep(idle * per)
            for _ in range(count):
                await pace.take()
                sent.append(clock())
        return sent

    assert max(_windows(simulated(work()), per), default=0) <= requests


async def test_what_the_lane_has_waited_for_is_not_waited_for_again() -> None:
    pace = Pace(1, 3600.0)
    pace.prepay(await pace.take())
    async with pace():
        pass
    further = asyncio.ensure_future(pace().__aenter__())
    await asyncio.sleep(0)
    assert not further.done()
    further.cancel()


async def test_the_tasks_of_a_call_share_what_is_prepaid_and_another_call_has_no_part_in_it() -> None:
    pace = Pace(1, 3600.0)
    place = await pace.take()
    paid: list[str] = []

    async def request(name: str) -> None:
        async with pace():
            paid.append(name)

    async def call() -> None:
        pace.prepay(place)
        token = asyncio.create_task(request("token"))
        await token
        await request("record")

    calls = [asyncio.create_task(call()), asyncio.create_task(request("elsewhere"))]
    while not paid:
        await asyncio.sleep(0)
    assert paid == ["token"]
    for each in calls:
        each.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize(("requests", "per"), [(1, 0.1), (5, 0.1), (100, 0.5)])
def test_a_pace_that_begins_anew_does_not_exceed_the_limit(requests: int, per: float) -> None:
    sent: list[float] = []

    async def work() -> None:
        for number in range(3):
            # As when a lane moves: another process's pace knows nothing of what was sent.
            pace = Pace(requests, per)
            await pace.spend()
            for _ in range(requests + number):
                await pace.take()
                sent.append(asyncio.get_running_loop().time())

    simulated(work())
    assert max(sum(start <= at < start + per for at in sent) for start in sent) <= requests


async def test_spending_waits_for_nothing_and_leaves_nothing_to_take_at_once() -> None:
    for requests in (1, 10, 1_000, 1_000_000):
        pace = Pace(requests, 3600.0)
        async with asyncio.timeout(0.5):
            await pace.spend()
            await pace.spend()
        assert not pace.free()


def test_a_request_that_was_held_up_takes_one_place() -> None:
    async def work() -> None:
        pace = Pace(100, 10.0)
        late, fresh = await pace.take(), await pace.take()
        await asyncio.sleep(5)
        for place in (late, fresh):
            pace.prepay(place)
        for _ in range(2):
            async with pace():
                pass
        assert pace._slots is not None
        assert [each.taken for each in pace._slots] == [asyncio.get_running_loop().time()] * 2

    simulated(work())


def test_it_is_not_free_while_the_window_is_full_or_another_one_waits() -> None:
    async def work() -> None:
        pace = Pace(2, 1.0)
        places = [await pace.take() for _ in range(2)]
        # Answered late, as far as is known.
        await asyncio.sleep(places[0].arrived + 1.0 - asyncio.get_running_loop().time())
        assert pace._limiter.has_capacity()
        assert not pace.free()
        waiting = asyncio.create_task(pace.take())
        await asyncio.sleep(0.2)
        assert waiting.done()
        await asyncio.sleep(2)
        assert pace.free()
        await pace._turn.acquire()
        assert not pace.free()

    simulated(work())
