"""A reserve of disk space for the time when the disk is full.

To delete a row, SQLite first writes it to its log, so on a full disk it can delete nothing. A file beside the store
keeps some space. When the disk is full, that file is deleted, and the store continues with its space.
"""

import contextlib
import os
import shutil
from pathlib import Path

import structlog

RESERVE_BYTES = 8 * 1024**2
"""Size of the reserve: several times as much as the deletion of the largest event needs."""
LEAST_BYTES = 64 * 1024
"""Smallest useful reserve."""
SHARE = 8
"""The reserve takes at most this fraction of the free space: one part in `SHARE`."""

log = structlog.get_logger()


class Reserve:
    """The reserve beside one file."""

    def __init__(self, beside: Path) -> None:
        self._path = beside.with_name(f"{beside.name}-reserve")

    def keep(self) -> None:
        """Create the reserve, unless it exists or the disk has too little space."""
        with contextlib.suppress(OSError):
            if self._path.exists():
                return
            size = min(RESERVE_BYTES, shutil.disk_usage(self._path.parent).free // SHARE)
            if size < LEAST_BYTES:
                return
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Not `truncate`, which creates a file without disk space.
                os.posix_fallocate(file, 0, size)
            except OSError:
                self._path.unlink()
            finally:
                os.close(file)

    def free(self) -> bool:
        """Delete the reserve. Returns True if there was one."""
        try:
            size = self._path.stat().st_size
            self._path.unlink()
        except OSError:
            return False
        log.warning("reserve_used", file=str(self._path), bytes=size, detail="the disk is full; make room on it")
        return True
