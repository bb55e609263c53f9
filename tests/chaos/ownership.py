"""Who owns each lane, asked of the database all along."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable

import psycopg

SAMPLE_SECONDS = 0.1
_QUESTION = (
    "SELECT name, split_part(owner, ':', 2)::int FROM lanes "
    "WHERE owner IS NOT NULL AND lease_until > extract(epoch FROM clock_timestamp())"
)


class Gaps:
    """For how long each lane was without an owner, as samples show it: from the last one with to the next one with."""

    def __init__(self, lanes: Iterable[str], began: float) -> None:
        self.longest = dict.fromkeys(lanes, 0.0)
        """Seconds, by lane."""
        self.samples = 0
        self._owned_at = dict.fromkeys(self.longest, began)

    def note(self, now: float, owned: Collection[str]) -> None:
        """Take a sample, of all lanes that have an owner now."""
        self.samples += 1
        for lane, at in self._owned_at.items():
            self.longest[lane] = max(self.longest[lane], now - at)
        self._owned_at.update(dict.fromkeys(owned, now))


@contextlib.asynccontextmanager
async def watched(url: str, gaps: Gaps, living: Callable[[], Collection[int]]) -> AsyncIterator[None]:
    """Sample for as long as the context lasts. An owner is a process of `living` whose lease is not over.

    In a thread: a sample must not be late because the event loop is busy. One that could not be taken is missed, and
    then the gap that it might have ended goes on.
    """
    over = threading.Event()

    def sample() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not over.wait(SAMPLE_SECONDS):
                owners = connection.execute(_QUESTION).fetchall()
                alive = living()
                gaps.note(time.monotonic(), [name for name, pid in owners if pid in alive])

    sampling = asyncio.create_task(asyncio.to_thread(sample))
    try:
        yield
    finally:
        over.set()
        await sampling
