"""The network between the program and the others: it cuts connections in the middle, delays, or takes nobody."""

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

MEAN_BYTES = 300_000.0
"""After how many bytes a connection is cut, on average."""
_CHUNK = 16 * 1024


class Wire:
    """A port that leads to another port, or to a socket in the file system, of this machine.

    Args:
        to: The port, or the socket's path.
        seed: Decides where connections are cut.
    """

    def __init__(self, to: int | str, seed: int) -> None:
        self.port = 0
        self.delay = 0.0
        """Seconds that each piece is held back."""
        self.away = False
        """Whether new connections are closed at once."""
        self.cuts = 0
        """How many connections it has cut."""
        self.cut_at: Callable[[bytes, bool], bool] = lambda _piece, _asked: False
        """Whether to cut the connection instead of carrying a piece on; `_asked` is whether the caller's end sent it.
        Cuts with it are made on a healed wire too."""
        self._to = to
        self._chance = random.Random(seed)
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._whole = False

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut everything, and listen no more."""
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Cut all connections."""
        self.cuts += len(self._open)
        for each in self._open:
            each.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def heal(self) -> None:
        """Do no harm any more, to connections that are open either."""
        self.delay, self.away, self._whole = 0.0, False, True

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.away:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        # One that is cut before its first step has not looked at the connection.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = [int(self._chance.expovariate(1 / MEAN_BYTES)) + 1]
        try:
            far_reader, far_writer = await (
                asyncio.open_connection("127.0.0.1", self._to)
                if isinstance(self._to, int)
                else asyncio.open_unix_connection(self._to)
            )
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        both = [
            asyncio.ensure_future(self._carry(reader, far_writer, left, asked=True)),
            asyncio.ensure_future(self._carry(far_reader, writer, left, asked=False)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if left[0] > 0:
                # One end has closed: what it has said before still goes to the other.
                for end in (writer, far_writer):
                    end.close()
                    await end.wait_closed()
        except OSError:
            pass
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for end in (writer, far_writer):
                end.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int], *, asked: bool
    ) -> None:
        """Carry one direction until it ends, or until both directions together have carried what they may."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.cut_at(data, asked):
                    left[0] = 0
                    self.cuts += 1
                    return
                if self.delay:
                    await asyncio.sleep(self._chance.uniform(0, 2 * self.delay))
                if not self._whole:
                    data = data[: left[0]]
                    left[0] -= len(data)
                writer.write(data)
                await writer.drain()
                if left[0] <= 0:
                    self.cuts += 1
                    return
