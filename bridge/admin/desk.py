"""The store as operators use it: beside the lanes, on connections and threads of its own.

A slow question of a person holds up neither a lane's next batch nor a commit.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from bridge.errors import StoreUnavailableError
from bridge.store.driver import Driver
from bridge.store.transaction import transaction

THREADS = 2

T = TypeVar("T")


class Ask(Protocol):
    """Runs a question on a connection, all of it at one moment."""

    def __call__(self, question: Callable[[Connection], T], /) -> T:
        """Give what the question does. Raises StoreUnavailableError."""


class Desk:
    """Asks and changes; any number of calls in parallel. Made inside the running loop."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="desk")

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """Read, all from one moment. Raises StoreUnavailableError."""
        return await self._loop.run_in_executor(self._threads, self._ask, question)

    async def work(self, work: Callable[[Ask], T]) -> T:
        """Do what asks on its way, and is more than a question, in the same threads. Raises what it does."""
        return await self._loop.run_in_executor(self._threads, work, self._ask)

    async def change(self, action: Callable[[Connection], T]) -> T:
        """Change something: committed when it returns, nothing changed if it raises. Raises StoreUnavailableError."""
        return await self._loop.run_in_executor(self._threads, self._change, action)

    async def close(self) -> None:
        """End when the calls that are on their way have ended."""
        await asyncio.to_thread(self._threads.shutdown)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        try:
            with self._driver.connect() as connection, self._driver.snapshot(connection):
                return question(connection)
        except self._driver.errors as error:
            raise StoreUnavailableError(
                f"the store cannot be read: {self._driver.safe_error(error)}; try again"
            ) from error

    def _change(self, action: Callable[[Connection], T]) -> T:
        with transaction(self._driver) as connection:
            return action(connection)
