"""The rate limit, on the loop's real clock: times are compared, never waited for longer than the limit itself."""

import asyncio

import pytest

from bridge.pace import Pace


@pytest.mark.parametrize(("requests", "per"), [(1, 0.02), (7, 0.1), (100, 0.5), (190, 0.5)])
async def test_no_window_sees_more_than_the_limit_and_hardly_less(requests: int, per: float) -> None:
    pace = Pace(requests, per)
    clock = asyncio.get_running_loop().time
    sent = []
    for _ in range(int(requests * 2.5) + 2):
        await pace.take()
        sent.append(clock())
    windows = [sum(start <= at < start + per for at in sent) for start in sent]
    assert max(windows) <= requests
    if requests >= 100:
        full = [count for start, count in zip(sent, windows, strict=True) if start + per <= sent[-1]]
        assert sum(full) / len(full) >= 0.93 * requests  # the clock of a busy machine takes the rest


async def test_what_the_lane_has_waited_for_is_not_waited_for_again() -> None:
    pace = Pace(1, 3600.0)
    await pace.take()
    pace.prepay()
    await pace()
    further = asyncio.ensure_future(pace())
    await asyncio.sleep(0)
    assert not further.done()
    further.cancel()


async def test_the_tasks_of_a_call_share_what_is_prepaid_and_another_call_has_no_part_in_it() -> None:
    pace = Pace(1, 3600.0)
    await pace.take()
    paid: list[str] = []

    async def request(name: str) -> None:
        await pace()
        paid.append(name)

    async def call() -> None:
        pace.prepay()
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


@pytest.mark.parametrize(("parts", "per"), [((1, 1, 1), 0.1), ((3, 2), 0.1), ((25, 25, 25, 25), 0.5)])
async def test_paces_that_keep_a_limit_together_never_exceed_it_wherever_one_begins_anew(
    parts: tuple[int, ...], per: float
) -> None:
    clock = asyncio.get_running_loop().time
    sent: list[float] = []

    async def work(requests: int, number: int) -> None:
        for _ in range(3):
            # As when a shard moves: another process's pace knows nothing of what was sent.
            pace = Pace(requests, per, len(parts))
            await pace.spend()
            for _ in range(requests + number):
                await pace.take()
                sent.append(clock())

    await asyncio.gather(*[work(requests, number) for number, requests in enumerate(parts)])
    sent.sort()
    assert max(sum(start <= at < start + per for at in sent) for start in sent) <= sum(parts)


async def test_spending_waits_for_nothing_and_leaves_nothing_to_take_at_once() -> None:
    for requests in (1, 10, 1_000, 1_000_000):
        pace = Pace(requests, 3600.0, 4)
        async with asyncio.timeout(0.5):
            await pace.spend()
            await pace.spend()
        assert not pace.free()


async def test_in_a_call_it_is_the_lanes_pace_that_counts() -> None:
    whole, mine = Pace(1, 3600.0), Pace(1, 3600.0)
    await whole.take()

    async def call() -> None:
        await mine.take()
        mine.prepay()
        await whole()
        # The first request of a batch that is split is prepaid too.
        mine.prepay()
        await whole()

    async with asyncio.timeout(0.5):
        await asyncio.create_task(call())
    further = asyncio.ensure_future(whole())
    await asyncio.sleep(0)
    assert not further.done()
    further.cancel()
