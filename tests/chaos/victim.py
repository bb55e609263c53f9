"""The real program as a supervisor runs it: on a port of its own, and started again whenever it has ended."""

import asyncio
import mmap
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.acceptance.program import Program
from tests.chaos.launcher import SHIFT

ROOT = Path(__file__).parents[2]
_LAUNCHER = Path(__file__).with_name("launcher.py")
_READY_SECONDS = 60.0
_FAULTS = re.compile(
    r'"event":"(fault|lane_fault|connector_failed|connector_not_closed|mapping_fault|store_upkeep_failed)"|Traceback'
)


class ChaosError(Exception):
    """The program has done what it must never do, or not what it must."""


class Victim(Program):
    """`leadbridge serve` with a clock that can be moved.

    Args:
        folder: Of the configuration and the store; may be a small disk.
        beside: A folder for the log and the clock, which must not run full.
        settings: The configuration; `server.listen` and `server.admin` are put in here.
        environment: What the configuration takes from the environment.
    """

    def __init__(self, folder: Path, beside: Path, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        listen, admin = free_ports(2)
        self._addresses = {"listen": f"127.0.0.1:{listen}", "admin": f"127.0.0.1:{admin}"}
        self.settings = {**settings, "server": self._addresses}
        self._log_file = beside / "log"
        self._clock_file = beside / "clock"
        self._clock_file.write_bytes(SHIFT.pack(0.0))
        known = {**environment, "CHAOS_CLOCK": str(self._clock_file), "PYTHONPATH": str(ROOT)}
        super().__init__(folder, self.settings, known, log=self._log_file)
        self._ready = dict(self._addresses)

    def launch(self) -> None:
        """Start it, and do not wait."""
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_LAUNCHER), "serve", str(self.config)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    async def up(self) -> None:
        """See to it that it runs and is ready, whatever it takes."""
        deadline = time.monotonic() + _READY_SECONDS
        while not await self._answers():
            if time.monotonic() > deadline:
                raise ChaosError(f"not ready within {_READY_SECONDS:g} s: {self.told()}")
            if not self.alive:
                self.launch()
                # It may end before it is ready: while there is no room for the store, it must.
                await self._answers_or_ends(deadline)
            await asyncio.sleep(0.05)

    def check_alive(self) -> None:
        """Raise ChaosError if it has ended by itself."""
        if not self.alive:
            raise ChaosError(f"it ended by itself, with status {self._process and self._process.returncode}")

    def set_clock(self, shift: float) -> None:
        """Move its clock, at once: so many seconds before or after the true time."""
        with self._clock_file.open("r+b") as file, mmap.mmap(file.fileno(), SHIFT.size) as shared:
            shared[:] = SHIFT.pack(shift)

    def configure(self, text: str | None = None, **destination: Any) -> None:
        """Write another configuration and have it read: one with these settings at each destination, or any text."""
        changed = {name: {**each, **destination} for name, each in self.settings["destinations"].items()}
        written = yaml.safe_dump({**self.settings, "destinations": changed}, sort_keys=False) if text is None else text
        self.config.write_text(written)
        self.signal(signal.SIGHUP)

    def faults(self) -> list[str]:
        """Give the lines of its log that tell of a fault of its own."""
        found, before = [], ""
        with self._log_file.open(errors="replace") as lines:
            for line in lines:
                # aiohttp's server logs a client that hangs up in its body with a traceback: tests/test_fuzz_webhook.py.
                if _FAULTS.search(line) and not before.startswith("Error handling request from"):
                    found.append(line.rstrip())
                before = line
        return found

    async def _answers(self) -> bool:
        """Tell whether it answers GET."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            async with asyncio.timeout(1):
                writer.write(b"GET /webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return (await reader.read()).startswith(b"HTTP/1.1 200 ")
        except (OSError, TimeoutError):
            return False
        finally:
            writer.transport.abort()

    async def _answers_or_ends(self, deadline: float) -> None:
        while self.alive and not await self._answers() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Give ports that nobody listens on, and that are not given out to outgoing connections meanwhile."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    chance = random.Random(os.urandom(8))
    while len(found) < count:
        port = chance.randrange(10_000, first)
        with socket.socket() as tried:
            if port not in found and tried.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found
