"""The real program as a supervisor runs it: on a port of its own, and started again whenever it has ended."""

import asyncio
import os
import random
import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.program import COMMAND, Program

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 60.0
_FAULTS = re.compile(
    r'"event":"(fault|lane_fault|connector_failed|connector_not_closed|mapping_fault|store_upkeep_failed)"|Traceback'
)


class ChaosError(Exception):
    """The program has done what it must never do, or not what it must."""


class Supervised(Program):
    """`leadbridge serve`, whose addresses stay the same over all its starts, and whose log is a file.

    Args:
        folder: Of the configuration and the store; may be a small disk.
        log: The file for all that it writes, on a disk that does not run full.
        settings: The configuration; `server.listen` and `server.admin` are put in here.
        environment: What the configuration takes from the environment.
        command: What is run, without `serve` and the configuration.
    """

    def __init__(
        self,
        folder: Path,
        log: Path,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        command: Sequence[str] = tuple(COMMAND),
    ) -> None:
        listen, admin = free_ports(2)
        addresses = {"listen": f"127.0.0.1:{listen}", "admin": f"127.0.0.1:{admin}"}
        self.settings = {**settings, "server": addresses}
        self._command = command
        self._log_file = log
        super().__init__(folder, self.settings, environment, log=log)
        self._ready = dict(addresses)

    def launch(self) -> None:
        """Start it, and do not wait."""
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "serve", str(self.config)],
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

    def faults(self) -> list[str]:
        """Give the lines of its log that tell of a fault of its own."""
        found, before = [], ""
        with self._log_file.open(errors="replace") as lines:
            for line in lines:
                # aiohttp's server logs a client that hangs up in its body with a traceback (test_fuzz_webhook.py).
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
