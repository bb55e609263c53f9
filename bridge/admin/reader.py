"""Who makes what people look at: a process of its own, so that the ack path does not wait for their pages.

A page takes some milliseconds of the interpreter, whose lock only one thread has: made in a thread of this process, it
holds up each answer to a sender that comes meanwhile (docs/architecture.md, "Pages"). The process is started when
somebody first asks and ended when nobody has for a while. Until it is up, and where it cannot be started, the desk's
threads do the work. What the process has begun and not answered is not done again: it would hold up the threads too.
"""

import asyncio
import contextlib
import pickle
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar, cast

import structlog

from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.desk import Desk
from bridge.admin.endpoint import UnansweredError
from bridge.admin.reading import LENGTH, READY, End
from bridge.admin.sources import Sources, Work

IDLE_SECONDS = 300.0
"""How long the process is kept while nobody asks."""
ANSWER_SECONDS = 5.0
"""How long one answer may take; then the process is ended. It runs when no other does, so on a machine whose cores are
all busy it may not run at all: for a while after that the threads do the work."""
REST = 3.0
"""How many times as long as it has worked it rests, if senders have sent something meanwhile. It runs when no other
process wants to, but who wakes on its core may wait for the kernel's next tick, 4 ms with 250 Hz: the less it works,
the fewer acks meet that (docs/operations.md, "A million events")."""
REST_SECONDS = 0.25
"""The longest rest."""
START_SECONDS = 30.0
BUFFER = 2**20
"""Bytes of an answer that are read ahead."""
RECONNECT_SECONDS = 60.0
"""How soon after a process that did not start, or was too slow, another one is tried."""

_PROGRAM: Final = "from bridge.admin.reading import main; main()"

T = TypeVar("T")

log = structlog.get_logger()


class Reader:
    """Does work in that process, one piece after the other. Lives in the loop's thread; any number of calls at once."""

    def __init__(
        self,
        desk: Desk,
        rendering: Rendering,
        url: str | None,
        arrived: Callable[[], int] = lambda: 0,
        keys: Sequence[bytes] = (),
    ) -> None:
        """Make it; `url` is that of the store, None for threads alone. `arrived` counts what senders have sent.

        `keys` are those that the store is encrypted with.
        """
        self._desk = desk
        self._rendering = rendering
        self._url = url
        self._keys = tuple(keys)
        self._process: Process | None = None
        """One that is ready."""
        self._starting: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._arrived = arrived
        self._rests_until = 0.0
        """By the monotonic clock."""
        self._not_before = 0.0
        self._used_at = 0.0
        self._idle: asyncio.TimerHandle | None = None

    async def do(self, work: Work[T]) -> T:
        """Do a piece of work, in the threads where there is no process or the work cannot be carried over.

        Raises what the work does; StoreUnavailableError where the store cannot be read; UnansweredError where the
        process has begun the work and gives no answer.
        """
        if not self._alive():
            self._start()
            return await self.here(work)
        try:
            pickled = pickle.dumps(work)
        except Exception:  # noqa: BLE001 - a connector's own values may be of any kind
            return await self.here(work)
        return await self._in_turn(pickled, partial(self.here, work))

    async def alone(self, work: Work[T]) -> T:
        """Do a piece of work that may be slow or large by itself: never in the threads, where there can be a process.

        Waits for the process. Raises as `do`, and UnansweredError where there is none.
        """
        if self._url is None:
            return await self.here(work)
        if not self._alive():
            self._start()
        if self._starting:
            await asyncio.wait([self._starting])
        return await self._in_turn(pickle.dumps(work), None)

    async def _in_turn(self, pickled: bytes, here: Callable[[], Awaitable[T]] | None) -> T:
        """Have the process do a piece of work; where it has gone meanwhile, `here` does it."""
        async with self._turn:
            if (left := self._rests_until - time.monotonic()) > 0:
                await asyncio.sleep(left)
            process = self._process if self._alive() else None
            if process is None:
                if here is None:
                    raise UnansweredError("this cannot be worked out now: try again in a minute")
                return await here()
            self._used_at, arrived = time.monotonic(), self._arrived()
            end, came = await self._there(process, pickled, alone=here is None)
            if self._arrived() != arrived:
                now = time.monotonic()
                self._rests_until = now + min(REST * (now - self._used_at), REST_SECONDS)
        if end is End.DONE:
            return cast("T", came)
        if end is End.REFUSED:
            raise came
        log.error("reader_failed", fault=came)
        raise RuntimeError("a fault in the reader's process")

    def _alive(self) -> bool:
        """Tell whether there is a process; one that has ended while nobody asked is forgotten."""
        if self._process and self._process.returncode is not None:
            self._process = None
            if self._idle:
                self._idle.cancel()
        return self._process is not None

    async def close(self) -> None:
        """End the process."""
        self._url = None
        if self._starting:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        async with self._turn:
            await self._end()

    async def here(self, work: Work[T]) -> T:
        """Do a piece of work in the desk's threads: what it is made of cannot travel. Raises what it does."""
        return await self._desk.work(lambda ask: work(Sources(ask, self._rendering)))

    async def _there(self, process: Process, pickled: bytes, *, alone: bool) -> tuple[End, Any]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                came = await _exchange(process, pickled)
        except TimeoutError:
            if not alone:
                # A dry run is slow by itself; other work because the machine is busy.
                self._not_before = time.monotonic() + RECONNECT_SECONDS
            await self._end()
            log.warning("reader_failed", fault=f"no answer within {ANSWER_SECONDS:g} s")
            return End.REFUSED, UnansweredError(
                f"this took longer than {ANSWER_SECONDS:g} s and was stopped: ask for less, or try again in a moment"
            )
        except (OSError, EOFError) as error:
            await self._end()
            log.warning("reader_failed", fault=type(error).__name__)
            return End.REFUSED, UnansweredError("the process that makes pages has ended: try again in a moment")
        except BaseException:
            # Its answer is still to come, and would be taken for that of the next question.
            await self._end()
            raise
        try:
            return cast("tuple[End, Any]", pickle.loads(came))  # noqa: S301 - from the process that was started here
        except Exception as error:  # noqa: BLE001 - an error of a connector's own may be made of anything
            return End.FAILED, type(error).__name__

    def _start(self) -> None:
        if self._url is not None and self._starting is None and time.monotonic() >= self._not_before:
            self._starting = asyncio.get_running_loop().create_task(self._started(self._url), name="reader")

    async def _started(self, url: str) -> None:
        process = None
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", _PROGRAM, stdin=PIPE, stdout=PIPE, limit=BUFFER
            )
            async with asyncio.timeout(START_SECONDS):
                ready = await _exchange(process, pickle.dumps((url, self._keys)))
            if ready != READY:
                raise EOFError("no reader")  # noqa: TRY301 - handled as every other way not to start
        except (OSError, EOFError) as error:  # a time-out is an OSError
            self._not_before = time.monotonic() + RECONNECT_SECONDS
            log.warning("reader_not_started", fault=type(error).__name__)
            await _ended(process)
        except BaseException:
            await _ended(process)
            raise
        else:
            self._process, self._used_at = process, time.monotonic()
            self._look_again(IDLE_SECONDS)
        finally:
            self._starting = None

    def _look_again(self, seconds: float) -> None:
        self._idle = asyncio.get_running_loop().call_later(seconds, self._looked)

    def _looked(self) -> None:
        """End the process if it has been idle for long enough, else look again when it may have been."""
        left = self._used_at + IDLE_SECONDS - time.monotonic()
        if left > 0 or self._turn.locked():
            self._look_again(max(left, 1.0))
        elif self._process:
            # Who asks from now on is answered by the threads, and has another one started.
            _kill(self._process)
            self._process = None

    async def _end(self) -> None:
        process, self._process = self._process, None
        if self._idle:
            self._idle.cancel()
        await _ended(process)


async def _exchange(process: Process, body: bytes) -> bytes:
    """Send a pickle and wait for its answer. Raises OSError or EOFError where the process has gone."""
    if process.stdin is None or process.stdout is None:
        raise EOFError
    process.stdin.write(len(body).to_bytes(LENGTH) + body)
    await process.stdin.drain()
    length = await process.stdout.readexactly(LENGTH)
    return await process.stdout.readexactly(int.from_bytes(length))


async def _ended(process: Process | None) -> None:
    if process is not None:
        _kill(process)
        await process.wait()


def _kill(process: Process) -> None:
    """End a process wherever it is: it only reads."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
