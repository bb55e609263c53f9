"""Ways to put a store in trouble under a running program, and to end the trouble; each a context manager."""

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.acceptance.program import Program

DISK_BYTES = 4 * 1024 * 1024

Trouble = Callable[[Program], AbstractContextManager[None]]


@contextlib.contextmanager
def small_disk(at: Path, size: int = DISK_BYTES) -> Iterator[Path]:
    """Mount a file system of a few megabytes there; it takes an administrator."""
    at.mkdir()
    _privileged("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at))
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Leave no room on the disk of a folder."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (64 * 1024, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def refused_writes(program: Program) -> Iterator[None]:
    """Let every write of the program to a file fail."""
    _, most = resource.prlimit(program.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (0, most))
    try:
        yield
    finally:
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (most, most))


@contextlib.contextmanager
def read_only(program: Program) -> Iterator[None]:
    """Make the store's files unchangeable, for the program too, which has them open."""
    files = [str(program.store), f"{program.store}-wal"]
    _privileged("chattr", "+i", *files)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)


@contextlib.contextmanager
def locked(program: Program) -> Iterator[None]:
    """Hold the store's one lock for writing, as a backup or somebody's shell does."""
    with contextlib.closing(sqlite3.connect(program.store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def _privileged(*command: str) -> None:
    """Run a command that not everybody may run. Where it cannot be run, skip the test at a desk; fail it under CI."""
    reason = f"{command[0]} is not to be had"
    if shutil.which(command[0]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        reason = f"{' '.join(command)}: {done.stderr.strip()}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


TROUBLES: dict[str, Trouble] = {
    "every write fails": refused_writes,
    "the store is read-only": read_only,
    "the store is locked by another process": locked,
}
"""Those that a store can have on any disk."""
