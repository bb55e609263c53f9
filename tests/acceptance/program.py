"""The real program, as a child process: its configuration and its store in a folder, its log, its commands."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import aiohttp
import yaml

from tests.acceptance.waiting import SECONDS, until

_SCRIPT = Path(sys.executable).with_name("leadbridge")
COMMAND = [str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-m", "bridge.cli"]
COMMAND_SECONDS = 60.0
"""How long a command may take before it counts as hanging."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    status: int
    output: str
    errors: str

    def json(self) -> Any:
        """Give the documents that it wrote, one for each thing that was asked for."""
        assert self.status == 0, f"exit status {self.status}: {self.errors}"
        return json.loads(self.output)

    def documents(self) -> list[Any]:
        """Give the JSON documents that stand one after the other in its output."""
        assert self.status == 0, f"exit status {self.status}: {self.errors}"
        found, at, decoder = [], 0, json.JSONDecoder()
        while at < len(self.output):
            document, at = decoder.raw_decode(self.output, at)
            found.append(document)
            at += 1  # the line end
        return found


class Program:
    """`leadbridge serve` on a configuration, any number of times after one another; ended when the context ends.

    Args:
        folder: Where the configuration and, if its URL is relative, the store are: the working directory.
        settings: The configuration.
        environment: What the configuration may take from the environment.
        log: A file that standard output goes to; by default it is kept in memory.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(dict(settings), sort_keys=False))
        self.store = folder / "leadbridge.db"
        self.output: list[str] = []
        """What it wrote to standard output since the first start, by lines."""
        self.errors: list[str] = []
        """The same of standard error."""
        self.environment = {**os.environ, **(environment or {})}
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._ready: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        """Do nothing yet: what is to be started is the test's to say."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End whatever was started and still runs."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
        await self._collected()

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None, "it has not been started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """The webhook of the last start."""
        return f"http://{self._ready['listen']}/webhook"

    @property
    def port(self) -> int:
        """The port of the webhook."""
        return int(self._ready["listen"].rpartition(":")[2])

    @property
    def admin(self) -> str:
        """The admin listener of the last start, as `http://ADDRESS`."""
        return f"http://{self._ready['admin']}"

    def launch(self) -> None:
        """Start it, and do not wait. It gets a process group of its own, so that nothing of it can be left behind."""
        assert not self.alive, "it runs already"
        with contextlib.ExitStack() as stack:
            self._process = subprocess.Popen(
                [*COMMAND, "serve", str(self.config)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stack.enter_context(self._log.open("a")) if self._log else subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self._readers = [
            _collecting(stream, lines)
            for stream, lines in ((self._process.stdout, self.output), (self._process.stderr, self.errors))
            if stream is not None
        ]

    async def start(self) -> Self:
        """Start it and wait until it says that it is ready."""
        before = len(self.events("ready"))
        self.launch()
        await until(
            lambda: len(self.events("ready")) > before or not self.alive,
            lambda: f"the program to be ready; it says {self.told()}",
        )
        ready = self.events("ready")
        if len(ready) == before:
            await self._collected()
            raise AssertionError(f"it ended with status {self._process and self._process.returncode}: {self.told()}")
        self._ready = ready[-1]
        return self

    async def at_work(self, seconds: float = SECONDS) -> None:
        """Wait until every lane is worked. What comes before may have been written by a process that was killed."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(seconds):
            while True:
                async with session.get(f"{self.admin}/readyz") as answer:
                    if answer.status == 200:
                        return
                await asyncio.sleep(0.1)

    @property
    def peak_memory(self) -> float:
        """The most memory that the process ever had, in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return int(peak) / 1024

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to whatever it may have started."""
        if self.alive:
            os.killpg(self.pid, number)

    async def kill(self) -> None:
        """End it by SIGKILL: it can do nothing about it."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self, seconds: float = SECONDS) -> int:
        """Ask it to end by SIGTERM; give its exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended(seconds)

    async def ended(self, seconds: float = SECONDS) -> int:
        """Wait until it has ended; give its exit status."""
        await until(lambda: not self.alive, lambda: f"the program to end; it says {self.told()}", seconds)
        await self._collected()
        assert self._process is not None
        return self._process.returncode

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give the lines of its log that tell of this kind of event."""
        return [json.loads(line) for line in self._lines() if f'"event":"{name}"' in line and line.endswith("}")]

    def told(self) -> str:
        """Give the end of what it said, for a failure's message."""
        return "\n".join([*self.errors[-12:], *self._lines()[-10:]]) or "nothing"

    async def run(self, *arguments: str) -> Finished:
        """Run another command in its folder, on its configuration unless the arguments name one."""
        return await run(*arguments, folder=self.folder, environment=self.environment, config=self.config)

    async def deliveries(self, *options: str) -> list[dict[str, Any]]:
        """Give the deliveries as `leadbridge deliveries list` shows them, newest first."""
        return list((await self.run("deliveries", "list", "--json", "--limit", "10000", *options)).json())

    async def settled(self, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """Wait until no delivery is pending any more; give them all."""
        deadline = time.monotonic() + seconds
        while True:
            rows = await self.deliveries()
            pending = [row for row in rows if row["state"] == "pending"]
            if not pending:
                return rows
            assert time.monotonic() < deadline, f"pending after {seconds:g} s: {pending[:3]}; {self.told()}"

    async def stories(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Give all about some deliveries, as `leadbridge deliveries show` does, in the order of the ids."""
        (shown,) = (await self.run("deliveries", "show", "--json", *map(str, ids))).documents()
        return shown if isinstance(shown, list) else [shown]

    def _lines(self) -> list[str]:
        if self._log is None:
            return list(self.output)
        return self._log.read_text().splitlines() if self._log.exists() else []

    async def _collected(self) -> None:
        for reader in self._readers:
            await asyncio.to_thread(reader.join)
        self._readers = []
        if self._process is not None:
            self._process.wait()


async def run(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, config: Path | None = None
) -> Finished:
    """Run a command to its end, without holding up the loop that a destination may run in."""
    known = dict(environment or os.environ)
    if config is not None:
        known["LEADBRIDGE_CONFIG"] = str(config)
    done = await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, *arguments],
        cwd=folder,
        env=known,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def _collecting(stream: IO[str], lines: list[str]) -> threading.Thread:
    """Read a stream to its end beside everything else, so that a full pipe never holds up the program."""

    def collect() -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))  # noqa: PERF401 - others read the list meanwhile

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    return thread
