"""Deals the blows of a plan to the program and to what is around it."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tests.acceptance.trouble import full_disk, locked, refused_writes
from tests.chaos.crms import Crm
from tests.chaos.database import Database
from tests.chaos.plan import LASTING, Blow, Step
from tests.chaos.victim import Victim
from tests.chaos.wire import Wire

DISK_BYTES = 128 * 1024**2
FOR_SQLITE = frozenset({Blow.DISK_FULL, Blow.WRITES_FAIL, Blow.LOCKED})
"""Blows to a store that is a file of the program's own."""
FOR_POSTGRESQL = frozenset(
    {Blow.DATABASE_KILLED, Blow.DATABASE_FROZEN, Blow.DATABASE_CUT, Blow.ROWS_LOCKED, Blow.SPOOL_FULL}
)
"""Blows to a server, or to the spool before it."""
ON_A_SMALL_DISK = frozenset({Blow.DISK_FULL, Blow.SPOOL_FULL})
"""Blows that a disk of the run's own takes."""
_CUT_SECONDS = 0.1
_DELAY = 0.05
"""Seconds that a slow wire holds each piece back, about."""


class Blows:
    """Deals blows to one program, one after the other; between two of them it is up.

    Args:
        victim: The program.
        crms: Where it writes to.
        inbound: The wire that leads have to take.
        server: Where the store is, if it is not a file.
    """

    def __init__(self, victim: Victim, crms: Sequence[Crm], inbound: Wire, server: Database | None) -> None:
        self._victim = victim
        self._crms = crms
        self._inbound = inbound
        self._server = server
        self.kills = 0
        """How many SIGKILLs there have been."""

    async def deal(self, step: Step) -> None:
        """Deal one blow and see the program come up again. Raises ChaosError if it does not, or had ended by itself."""
        await asyncio.sleep(step.after)
        self._victim.check_alive()
        if step.blow in LASTING:
            async with self._lasting(step):
                await asyncio.sleep(step.lasts / 2)
                if step.killed:
                    await self._kill()
                    if step.blow is not Blow.FREEZE:
                        self._victim.launch()
                await asyncio.sleep(step.lasts / 2)
        else:
            await self._at_once(step)
        await self._victim.up()

    async def heal(self, shift: float) -> None:
        """Let nothing be wrong any more. The clock is put so far ahead that whatever waits for a time is due."""
        for crm in self._crms:
            crm.heal()
        self._inbound.heal()
        self._victim.set_clock(shift)
        await self._victim.stop()
        await self._victim.up()

    async def _kill(self) -> None:
        self.kills += self._victim.alive
        await self._victim.kill()

    async def _at_once(self, step: Step) -> None:
        victim = self._victim
        match step.blow:
            case Blow.KILL | Blow.KILL_STARTING:
                await self._kill()
                if step.blow is Blow.KILL_STARTING:
                    victim.launch()
                    await asyncio.sleep(step.lasts)
                    await self._kill()
            case Blow.KILL_ENDING:
                victim.signal(signal.SIGTERM)
                await asyncio.sleep(step.lasts / 8)
                await self._kill()
            case Blow.RESTART:
                await victim.stop()
            case Blow.CUT:
                await asyncio.gather(self._inbound.cut(), *(crm.wire.cut() for crm in self._crms))
            case _:
                await self._change(step)

    async def _change(self, step: Step) -> None:
        """Change the clock or a file."""
        victim = self._victim
        match step.blow:
            case Blow.CLOCK:
                victim.set_clock(step.shift)
            case Blow.RELOAD:
                victim.configure(concurrency=1 + step.choice % 12)
            case Blow.RELOAD_BROKEN:
                victim.configure("destinations: {by_field: {connector: http")
                await asyncio.sleep(step.lasts)
                victim.configure()
            case Blow.CLOCK_RESTART:
                await victim.stop()
                victim.set_clock(step.shift)
            case Blow.STORE_MOVED:
                # Without a kill: a start would make a new store in its place, and nothing of that would be put back.
                file = victim.folder / "leadbridge-spool.db" if self._server else victim.store
                aside = file.with_name("aside")
                file.rename(aside)
                await asyncio.sleep(step.lasts)
                aside.rename(file)
            case Blow.SAVED_IN_PARTS:
                await self._saved_in_parts(step)

    async def _saved_in_parts(self, step: Step) -> None:
        """Save the configuration as an editor does that truncates it first, and then stops half-way."""
        file = self._victim.config
        text = file.read_text()
        for part in ("", text[: step.choice * len(text) // 1_000]):
            file.write_text(part)
            await asyncio.sleep(step.lasts / 2)
        file.write_text(text)

    @contextlib.asynccontextmanager
    async def _lasting(self, step: Step) -> AsyncIterator[None]:
        victim, crm = self._victim, self._crms[step.choice % len(self._crms)]
        match step.blow:
            case Blow.FREEZE:
                victim.signal(signal.SIGSTOP)
                yield
                victim.signal(signal.SIGCONT)
            case Blow.SLOW:
                wires = (self._inbound, *(each.wire for each in self._crms))
                for wire in wires:
                    wire.delay = _DELAY
                yield
                for wire in wires:
                    wire.delay = 0.0
            case Blow.CRM_AWAY:
                crm.wire.away = True
                await crm.wire.cut()
                yield
                crm.wire.away = False
            case Blow.CRM_FAILS:
                crm.fail()
                yield
                crm.ail()
            case Blow.DATABASE_CUT:
                assert self._server is not None, "it is not among the blows of a store that is a file"
                cutting = asyncio.create_task(_cut(self._server))
                yield
                cutting.cancel()
                await asyncio.gather(cutting, return_exceptions=True)
            case Blow.SPOOL_FULL:
                assert self._server is not None, "it is not among the blows of a store that is a file"
                with _killed(self._server), full_disk(victim.folder):
                    yield
            case Blow.DATABASE_KILLED | Blow.DATABASE_FROZEN | Blow.ROWS_LOCKED:
                assert self._server is not None, "it is not among the blows of a store that is a file"
                with _SERVER_TROUBLES[step.blow](self._server):
                    yield
            case _:
                with _STORE_TROUBLES[step.blow](victim):
                    yield


_STORE_TROUBLES: dict[Blow, Callable[[Victim], AbstractContextManager[None]]] = {
    Blow.DISK_FULL: lambda victim: full_disk(victim.folder),
    Blow.WRITES_FAIL: refused_writes,
    Blow.LOCKED: locked,
}


@contextlib.contextmanager
def _killed(server: Database) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextlib.contextmanager
def _frozen(server: Database) -> Iterator[None]:
    server.freeze()
    yield
    server.thaw()


@contextlib.contextmanager
def _locked_rows(server: Database) -> Iterator[None]:
    with server.locked_rows():
        yield


async def _cut(server: Database) -> None:
    """Cut all connections again and again, so that some cut falls between any two statements."""
    while True:
        await asyncio.to_thread(server.cut)
        await asyncio.sleep(_CUT_SECONDS)


_SERVER_TROUBLES: dict[Blow, Callable[[Database], AbstractContextManager[None]]] = {
    Blow.DATABASE_KILLED: _killed,
    Blow.DATABASE_FROZEN: _frozen,
    Blow.ROWS_LOCKED: _locked_rows,
}


@contextlib.contextmanager
def disk(at: Path) -> Iterator[bool]:
    """Mount a small file system there, to be filled; say whether that was possible: it takes an administrator."""
    at.mkdir()
    mounted = (
        bool(shutil.which("mount"))
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(at)], capture_output=True, check=False
        ).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(at)], check=True)
