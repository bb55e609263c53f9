"""The one writer: a thread that commits, in one transaction, all the changes that wait at that moment.

A commit costs a sync of the disk whether it carries one change or a hundred, and nothing waits for more to come: what
arrives while one group is being committed is the next group.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

from bridge.errors import LeadbridgeError, StoreUnavailableError

GROUP_LIMIT = 128
"""The most changes in one commit: bounds how long the first of them waits for the last."""
WAITING_LIMIT = 5_000
"""The most changes that wait: beyond it a new one is refused at once, instead of growing memory and latency."""
IDLE_SECONDS = 0.5
"""How often the thread looks around while nothing is to be written."""

log = structlog.get_logger()

ChangeT = TypeVar("ChangeT")
Result = object
"""What came of a change: its value, or the exception that its caller gets."""


class Writer(Generic[ChangeT]):
    """Runs `commit` for groups of changes in a thread of its own, and answers each change's future in the loop.

    `commit` takes a group and gives a result for each of its changes, after the commit; it raises with nothing
    committed. `committed` is called in the loop with each group that was, once its futures are answered. `look` is
    called in the thread about every `IDLE_SECONDS`, busy or idle.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[ChangeT]], Sequence[Result]],
        committed: Callable[[Sequence[ChangeT], Sequence[Result], float], None],
        look: Callable[[], None],
    ) -> None:
        self._commit = commit
        self._committed = committed
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[ChangeT, asyncio.Future[Result]] | None] = queue.SimpleQueue()
        self._closed = False
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, change: ChangeT) -> "asyncio.Future[Result]":
        """Queue a change; the future has its result after the commit. Called in the loop's thread only.

        Raises StoreUnavailableError if too many wait already, or after `close`.
        """
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        if self._waiting.qsize() >= WAITING_LIMIT:
            raise StoreUnavailableError("more changes wait for the store than it can commit in time")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.put((change, future))
        return future

    async def close(self) -> None:
        """Commit what waits, then end the thread."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        going = True
        while going:
            group, going = self._next_group()
            if group:
                started = time.perf_counter()
                results = self._commit_group([change for change, _ in group])
                took = time.perf_counter() - started
                self._loop.call_soon_threadsafe(self._answer, group, results, took)
            if time.monotonic() - self._looked_at >= IDLE_SECONDS:
                self._looked_at = time.monotonic()
                try:
                    self._look()
                except Exception:
                    # Upkeep can wait; a thread that has ended commits nothing any more.
                    log.exception("store_upkeep_failed")

    def _next_group(self) -> tuple[list[tuple[ChangeT, "asyncio.Future[Result]"]], bool]:
        """Take what waits, at least one change unless nothing comes; False when there will be no more."""
        group: list[tuple[ChangeT, asyncio.Future[Result]]] = []
        try:
            entry = self._waiting.get(timeout=IDLE_SECONDS)
            while entry is not None:
                group.append(entry)
                if len(group) == GROUP_LIMIT:
                    return group, True
                entry = self._waiting.get_nowait()
        except queue.Empty:
            return group, True
        return group, False

    def _commit_group(self, changes: Sequence[ChangeT]) -> Sequence[Result]:
        try:
            return self._commit(changes)
        except StoreUnavailableError as error:
            return [error] * len(changes)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach the caller and not end the thread
            if len(changes) == 1:
                return [error]
        # One change of the group is at fault, and the others must not fail with it.
        return [self._commit_group([change])[0] for change in changes]

    def _answer(
        self, group: Sequence[tuple[ChangeT, "asyncio.Future[Result]"]], results: Sequence[Result], took: float
    ) -> None:
        for (_, future), result in zip(group, results, strict=True):
            if future.cancelled():
                continue
            if isinstance(result, Exception):
                # Each caller gets an exception of its own: one instance raised twice would chain its tracebacks.
                future.set_exception(_copy(result))
            else:
                future.set_result(result)
        self._committed([change for change, _ in group], results, took)


def _copy(error: Exception) -> Exception:
    if not isinstance(error, LeadbridgeError):
        return error
    copied = type(error)(*error.args)
    copied.__cause__ = error.__cause__
    return copied
