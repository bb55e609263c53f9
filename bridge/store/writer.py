"""The writer: a thread that commits all waiting changes in one transaction.

A commit costs the same disk sync, and much the same processor time, for one change as for a hundred. Changes that
arrive during a commit form the next group.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Generic, TypeVar

import structlog

from bridge.errors import LeadbridgeError, RowLockedError, StoreBusyError, StoreUnavailableError

GROUP_LIMIT = 128
"""Most changes in a group. Bounds how long the first waits for the last."""
WAITING_LIMIT = 5_000
"""Most changes that wait. Further ones are refused at once, which bounds memory and latency."""
IDLE_SECONDS = 0.5
"""Interval of the thread's upkeep."""

log = structlog.get_logger()

ChangeT = TypeVar("ChangeT")
Result = object
"""The value of a change, or the exception for its caller."""
_Entry = tuple[ChangeT, asyncio.Future[Result], bool]
"""A change, its future, and True if it comes from a sender."""


class Writer(Generic[ChangeT]):
    """The thread that commits groups of changes, and the queue of changes that wait for it.

    Args:
        commit: Commits a group and returns a result for each change. If it raises, nothing was committed.
        committed: Called in the loop after a group was committed and its futures were answered.
        look: Called in the thread about every `IDLE_SECONDS`, busy or idle.
        kind: If given, only changes of one kind share a commit.
        patience: Seconds that a group may take. Then the changes from senders fail, in the group and behind it. The
            changes in the group may be committed all the same.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[ChangeT]], Sequence[Result]],
        committed: Callable[[Sequence[ChangeT], Sequence[Result], float], None],
        look: Callable[[], None],
        kind: Callable[[ChangeT], Hashable] | None = None,
        *,
        patience: float | None = None,
    ) -> None:
        self._commit = commit
        self._committed = committed
        self._look = look
        self._kind = kind
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Entry[ChangeT]] = []
        self._group: Sequence[_Entry[ChangeT]] = ()
        """The group that the thread has."""
        self._busy = False
        """True if the thread has a group or is about to get one."""
        self._overdue: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._closed = False
        self._looked_at = time.monotonic()
        self._groups: queue.SimpleQueue[Sequence[_Entry[ChangeT]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, change: ChangeT, *, sent: bool = False) -> "asyncio.Future[Result]":
        """Queue a change. The future gets its result after the commit. Call it in the loop's thread only.

        A change that comes from a sender (`sent`) fails with StoreUnavailableError if the store takes too long.

        Raises StoreBusyError if too many changes wait, StoreUnavailableError after `close`.
        """
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        if len(self._waiting) >= WAITING_LIMIT:
            raise StoreBusyError("more changes wait for the store than it can commit in time")
        future: asyncio.Future[Result] = self._loop.create_future()
        if not self._waiting and not self._busy:
            # At the end of this turn of the loop, so that other changes of the turn join the group. The two threads
            # then contend for the interpreter once per group, not once per change.
            self._drained.clear()
            self._loop.call_soon(self._hand_over)
        self._waiting.append((change, future, sent))
        return future

    async def close(self) -> None:
        """Commit the waiting changes, then end the thread."""
        if not self._closed:
            self._closed = True
            await self._drained.wait()
            self._groups.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        """Hand the next group to the idle thread. Runs in the loop."""
        if not self._waiting:
            self._drained.set()
            return
        self._busy = True
        self._group = self._waiting[:GROUP_LIMIT]
        del self._waiting[:GROUP_LIMIT]
        if self._patience is not None:
            self._overdue = self._loop.call_later(self._patience, self._give_up)
        self._groups.put(self._group)

    def _give_up(self) -> None:
        """Fail the changes from senders: the group has taken too long, and those behind it have not even begun."""
        for _, future, sent in (*self._group, *self._waiting):
            if sent and not future.done():
                future.set_exception(StoreUnavailableError("the store does not answer"))
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]
        if self._patience is not None:
            self._overdue = self._loop.call_later(self._patience, self._give_up)

    def _run(self) -> None:
        going = True
        while going:
            try:
                group = self._groups.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                group = []
            going = group is not None
            if group:
                parts = self._parts(group)
                for left, part in zip(reversed(range(len(parts))), parts, strict=True):
                    started = time.perf_counter()
                    results = self._commit_group([change for change, _, _ in part])
                    took = time.perf_counter() - started
                    self._loop.call_soon_threadsafe(self._answer, part, results, took, left)
            if time.monotonic() - self._looked_at >= IDLE_SECONDS:
                self._looked_at = time.monotonic()
                try:
                    self._look()
                except Exception:
                    # Upkeep can wait, and the thread must go on committing.
                    log.exception("store_upkeep_failed")

    def _parts(self, group: Sequence[_Entry[ChangeT]]) -> Collection[Sequence[_Entry[ChangeT]]]:
        if self._kind is None:
            return [group]
        parts: dict[Hashable, list[_Entry[ChangeT]]] = {}
        for entry in group:
            parts.setdefault(self._kind(entry[0]), []).append(entry)
        return parts.values()

    def _commit_group(self, changes: Sequence[ChangeT]) -> Sequence[Result]:
        try:
            return self._commit(changes)
        except StoreUnavailableError as error:
            if len(changes) == 1 or not isinstance(error, RowLockedError):
                return [error] * len(changes)
        except Exception as error:  # noqa: BLE001 - any error must reach the caller and not end the thread
            if len(changes) == 1:
                return [error]
        # One change of the group failed. The others are committed without it.
        return [self._commit_group([change])[0] for change in changes]

    def _answer(self, part: Sequence[_Entry[ChangeT]], results: Sequence[Result], took: float, left: int) -> None:
        """Answer a part of the group. Runs in the loop. `left` is the number of parts still to come."""
        if all(isinstance(each, StoreUnavailableError) and not isinstance(each, RowLockedError) for each in results):
            # The store is in trouble. The waiting changes fail too, instead of waiting even longer: callers retry.
            part, results = [*part, *self._waiting], [*results, *[results[0]] * len(self._waiting)]
            self._waiting.clear()
        if not left:
            self._busy = False
            self._group = ()
            if self._overdue:
                self._overdue.cancel()
            self._hand_over()
        for (_, future, _), result in zip(part, results, strict=True):
            if future.done():
                # The caller was cancelled, or has got the error that it took too long.
                continue
            if isinstance(result, Exception):
                # Each caller gets its own exception: an instance that is raised twice chains its tracebacks.
                future.set_exception(_copy(result))
            else:
                future.set_result(result)
        self._committed([change for change, _, _ in part], results, took)


def _copy(error: Exception) -> Exception:
    if not isinstance(error, LeadbridgeError):
        return error
    copied = type(error)(*error.args)
    copied.__cause__ = error.__cause__
    return copied
