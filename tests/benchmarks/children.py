"""Child processes that never outlive the benchmark."""

import contextlib
import os
import re
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
START_SECONDS = 15.0
STOP_SECONDS = 30.0
"""How long a child may take to end; then it is killed."""


Process = subprocess.Popen[bytes]


class ChildError(Exception):
    """A child that did not start, or ended too early."""


class Child:
    """One of the benchmark's own programs: it prints its port, takes lines, answers lines, ends with its input."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.port = int(self.line(START_SECONDS))

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ask(self, line: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def line(self, seconds: float) -> str:
        """Wait for a line."""
        assert self._process.stdout is not None
        _readable(self._process.stdout, seconds)
        line = self._process.stdout.readline()
        if not line:
            raise ChildError(f"{self._process.args!r} has ended")
        return line.decode().strip()


def memory(pid: int) -> tuple[float, float]:
    """Give a process's RSS and PSS (shared pages divided among those that share them), in MB (10**6 bytes)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = dict(re.findall(r"^(Rss|Pss): +(\d+) kB$", rollup, re.MULTILINE))
    return int(sizes["Rss"]) * 1024 / 1e6, int(sizes["Pss"]) * 1024 / 1e6


def cpu(pid: int) -> float:
    """Give the seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def own(module: str, *arguments: str) -> Iterator[Child]:
    """Run one of the benchmark's modules, or one that is named in full."""
    named = module if "." in module else f"tests.benchmarks.{module}"
    command = [sys.executable, "-m", named, *arguments]
    with _ended(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as process:
        yield Child(process)


@contextlib.contextmanager
def program(command: Sequence[str], folder: Path) -> Iterator[Process]:
    """Run the program under test; its log goes to a file, as everything it writes."""
    with (
        (folder / "log").open("ab") as log,
        _ended(
            subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ)
        ) as process,
    ):
        yield process


@contextlib.contextmanager
def _ended(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        if process.stdin:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _readable(stream: IO[bytes], seconds: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        if not selector.select(seconds):
            raise ChildError(f"no answer from a child within {seconds:.0f} s")
