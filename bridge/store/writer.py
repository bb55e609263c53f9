"""The one writer: a thread that commits, in one transaction, all the changes that wait at that moment.

A commit costs the same sync of the disk, and much the same time of the processors, whether it carries one change or a
hundred. What arrives while one group is being committed is the next group; where `spacing` is set, so is what senders
send until that time has passed since the last one was handed over. An outcome waits for nothing but the commit before
it: what was called and is not settled is called again after a crash.
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
"""The most changes that are given to the thread together: bounds how long the first of them waits for the last."""
WAITING_LIMIT = 5_000
"""The most changes that wait: beyond it a new one is refused at once, instead of growing memory and latency."""
IDLE_SECONDS = 0.5
"""How often the thread looks around while nothing is to be written."""

log = structlog.get_logger()

ChangeT = TypeVar("ChangeT")
Result = object
"""What came of a change: its value, or the exception that its caller gets."""
_Entry = tuple[ChangeT, asyncio.Future[Result], bool]
"""A change, its future, and whether it is of what senders send."""


class Writer(Generic[ChangeT]):
    """Runs `commit` for groups of changes in a thread of its own, and answers each change's future in the loop.

    `commit` takes a group and gives a result for each of its changes, after the commit; it raises with nothing
    committed. `committed` is called in the loop with each group that was, once its futures are answered. `look` is
    called in the thread about every `IDLE_SECONDS`, busy or idle. With `kind`, only changes of one kind share a commit.
    `patience` is how many seconds a group may take before what senders sent fails, in it and behind it; what is in it
    may be committed all the same.
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
        self.spacing = 0.0
        """Seconds between the beginnings of two groups of what senders send; may be set at any time, in the loop."""
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Entry[ChangeT]] = []
        self._group: Sequence[_Entry[ChangeT]] = ()
        """What the thread has been given."""
        self._busy = False
        """Whether it has something, or is about to be given it."""
        self._next_at = self._loop.time()
        """When the next group may begin."""
        self._spaced: asyncio.TimerHandle | None = None
        """What gives it to the thread at that time."""
        self._overdue: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._closed = False
        self._looked_at = time.monotonic()
        self._groups: queue.SimpleQueue[Sequence[_Entry[ChangeT]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, change: ChangeT, *, sent: bool = False) -> "asyncio.Future[Result]":
        """Queue a change; the future has its result after the commit. Called in the loop's thread only.

        With `sent` it is of what senders send: it may wait for others like it, and has StoreUnavailableError in it when
        the store has taken too long.

        Raises StoreBusyError if too many wait already, StoreUnavailableError after `close`.
        """
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        if len(self._waiting) >= WAITING_LIMIT:
            raise StoreBusyError("more changes wait for the store than it can commit in time")
        future: asyncio.Future[Result] = self._loop.create_future()
        if not self._waiting and not self._busy:
            # At the end of this turn of the loop: what else it brings goes along, and the two threads contend for the
            # interpreter once per group instead of once per change.
            self._drained.clear()
            self._loop.call_soon(self._hand_over)
        elif self._spaced and not sent:
            self._spaced.cancel()
            self._spaced = None
            self._loop.call_soon(self._give)
        self._waiting.append((change, future, sent))
        return future

    async def close(self) -> None:
        """Commit what waits, then end the thread."""
        if not self._closed:
            self._closed = True
            await self._drained.wait()
            self._groups.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        """Give the thread its next group, or see to it that it is given at its time; in the loop, while it has none."""
        if not self._waiting:
            self._drained.set()
            return
        self._busy = True
        if self._loop.time() < self._next_at and all(sent for _, _, sent in self._waiting):
            self._spaced = self._loop.call_at(self._next_at, self._give)
        else:
            self._give()

    def _give(self) -> None:
        self._spaced = None
        self._next_at = self._loop.time() + self.spacing
        self._group = self._waiting[:GROUP_LIMIT]
        del self._waiting[:GROUP_LIMIT]
        if self._patience is not None:
            self._overdue = self._loop.call_later(self._patience, self._give_up)
        self._groups.put(self._group)

    def _give_up(self) -> None:
        """Fail what was sent: the group has taken too long, and what waits behind it is not even under way."""
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
                    # Upkeep can wait; a thread that has ended commits nothing any more.
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach the caller and not end the thread
            if len(changes) == 1:
                return [error]
        # One change of the group is at fault, and the others must not fail with it.
        return [self._commit_group([change])[0] for change in changes]

    def _answer(self, part: Sequence[_Entry[ChangeT]], results: Sequence[Result], took: float, left: int) -> None:
        """Answer a part of the group, in the loop; `left` parts of it are still to come."""
        if all(isinstance(each, StoreUnavailableError) and not isinstance(each, RowLockedError) for each in results):
            # The store is in trouble, and what waits has waited for it long enough: its callers come again.
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
                # Its caller has gone, or has been told that it took too long.
                continue
            if isinstance(result, Exception):
                # Each caller gets an exception of its own: one instance raised twice would chain its tracebacks.
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
