"""Access to the store for operators, on connections and threads of its own.

A slow query of a person holds up neither a lane's next batch nor a commit.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection

from bridge.admin.authentication import RequestRefusedError
from bridge.admin.responses import UnansweredError
from bridge.store.driver import Driver
from bridge.store.transaction import reading_errors, snapshot, transaction

THREADS = 2
RESPONSE_SECONDS = 15.0
"""Seconds after which a waiting person gets an error. The work ends by its own bounds and is not repeated."""
DRY_RUN_SECONDS = 5.0
"""The same for a dry run."""
DRY_RUNS = 8
"""Maximum number of dry runs of each kind that are under way or wait for their turn."""
_BUSY = "other dry runs are under way: try again in a moment"

T = TypeVar("T")
Query = Callable[[Connection], T]


class QueryRunner(Protocol):
    """Runs a query on a connection, all of it from one moment."""

    def __call__(self, query: Query[T], /) -> T:
        """Return the query's result. Raises StoreUnavailableError."""


class QueryThreads:
    """Reads and changes the store; any number of calls in parallel. Made inside the running loop."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="query")
        self._local = threading.local()
        """The connection of each thread, which is kept: opening one costs more than most queries."""
        self._connections: set[Connection] = set()

    async def ask(self, query: Query[T]) -> T:
        """Read, all from one moment. Raises StoreUnavailableError."""
        return await self._loop.run_in_executor(self._threads, self._ask, query)

    async def work(self, work: Callable[[QueryRunner], T]) -> T:
        """Run work with several queries, in the same threads.

        Raises what the work raises, and UnansweredError if it takes too long.
        """
        return await within(RESPONSE_SECONDS, self._loop.run_in_executor(self._threads, work, self._ask))

    async def json(self, query: Query[BaseModel]) -> bytes:
        """Return the result of a query as JSON. Raises what `work` raises."""
        return await self.work(lambda ask: ask(query).model_dump_json().encode())

    async def change(self, action: Query[T], *, queue: bool = True) -> T:
        """Change something: committed when it returns, nothing changed if it raises. Raises StoreUnavailableError.

        `queue` is False for a change that no lane has to know.
        """
        return await self._loop.run_in_executor(self._threads, partial(self._change, action, queue=queue))

    async def close(self) -> None:
        """Wait for the calls that are under way, then close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        for each in list(self._connections):
            self._drop(each)

    def _ask(self, query: Query[T]) -> T:
        """Run a query on this thread's connection, once more on a new one if that connection was cut meanwhile."""
        kept: Connection | None = getattr(self._local, "connection", None)
        with reading_errors(self._driver):
            if kept is not None:
                try:
                    return self._look(kept, query)
                except self._driver.errors:
                    if self._usable(kept):
                        raise
                    self._drop(kept)
            connection = self._local.connection = self._driver.connect()
            self._connections.add(connection)
            return self._look(connection, query)

    def _look(self, connection: Connection, query: Query[T]) -> T:
        with snapshot(self._driver, connection):
            return query(connection)

    def _usable(self, connection: Connection) -> bool:
        with contextlib.suppress(*self._driver.errors):
            return self._driver.roll_back(connection)
        return False

    def _drop(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._local.connection = None
        with contextlib.suppress(*self._driver.errors):
            connection.close()

    def _change(self, action: Query[T], *, queue: bool) -> T:
        with transaction(self._driver, queue=queue) as connection:
            return action(connection)


class DryRuns:
    """Admits dry runs, a few at once, because they take turns with the leads. Lives in the loop's thread.

    A thread cannot be ended from outside, so all work in it must end by its own bounds.
    """

    def __init__(self, query_threads: QueryThreads) -> None:
        self._query_threads = query_threads
        self._lead = asyncio.Semaphore()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="playground")
        self._attempts: list[Future[Any]] = []
        """Dry runs of the playground, also those whose reader has left."""

    async def lead(self, work: Callable[[], T]) -> T:
        """Run the dry runs of a lead's page, one page at a time. Raises RequestRefusedError and UnansweredError."""
        if self._waiting >= DRY_RUNS:
            raise RequestRefusedError(503, _BUSY, 1)
        self._waiting += 1
        try:
            async with self._lead:
                return await self._query_threads.work(lambda _: work())
        finally:
            self._waiting -= 1

    async def attempt(self, work: Callable[[], T]) -> T:
        """Run a dry run of the playground, in a thread of its own. Raises RequestRefusedError and UnansweredError."""
        self._attempts = [each for each in self._attempts if not each.done()]
        if len(self._attempts) >= DRY_RUNS:
            raise RequestRefusedError(503, _BUSY, 1)
        future = self._thread.submit(work)
        self._attempts.append(future)
        return await within(DRY_RUN_SECONDS, asyncio.wrap_future(future))

    async def close(self) -> None:
        """Wait for the dry run that is under way, and drop the waiting ones."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)


async def within(seconds: float, answer: "asyncio.Future[T]") -> T:
    """Wait for work in a thread. Raises UnansweredError after `seconds`; work that has not begun by then never does."""
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        raise UnansweredError(f"this takes longer than {seconds:g} s: ask for less, or try again in a moment") from None
