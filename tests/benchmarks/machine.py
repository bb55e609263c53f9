"""The machine that the figures hold for."""

import importlib.metadata
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

CORES = 2
"""The marks are set for two; of a larger machine two are used."""
SYNCS = 100


def confine() -> None:
    """Keep this process and its children to the first two cores that it may use."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def describe() -> Mapping[str, str]:
    """Say what it is."""
    folder = Path(tempfile.gettempdir())
    return {
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}, {_processor()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "aiohttp": importlib.metadata.version("aiohttp"),
        "uvloop": importlib.metadata.version("uvloop"),
        "store on": f"{_file_system(folder)}, where a sync takes {1e3 * _sync_seconds(folder):.2f} ms",
    }


class Others:
    """How much of the cores processes take that are no part of the benchmark: figures taken beside them are worse."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = _busy_seconds() - _own_seconds()

    def share(self) -> float:
        """Give it since the beginning; to be asked when all children of the benchmark have ended."""
        elapsed = time.monotonic() - self._began
        return max(0.0, _busy_seconds() - _own_seconds() - self._before) / elapsed / len(os.sched_getaffinity(0))


def _busy_seconds() -> float:
    """Give the time that the cores in use have been busy, since the machine started."""
    wanted = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in wanted:
            user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, fields[:8])
            ticks += user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _sync_seconds(folder: Path) -> float:
    """Measure what makes a small write durable, as each commit has to."""
    seconds = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(4_096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """Give the kind of file system: in memory (tmpfs) a commit costs no sync."""
    found = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind = line.split()[:3]
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    return found[1]
