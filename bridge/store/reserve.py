"""Room on a disk that is kept for the time when the disk is full.

To delete a row the embedded engine writes it to its log first. So a disk that its store has filled lets it delete
nothing. A file beside the store holds some room; when the disk is full it is deleted, and the store goes on with that.
"""

import contextlib
import os
import shutil
from pathlib import Path

import structlog

RESERVE_BYTES = 8 * 1024**2
"""The room that is kept: several times what deleting the largest event takes."""
LEAST_BYTES = 64 * 1024
"""Less is of no use."""
SHARE = 8
"""The reserve takes no more of the free room than one part in so many."""

log = structlog.get_logger()


class Reserve:
    """The room beside one file."""

    def __init__(self, beside: Path) -> None:
        self._path = beside.with_name(f"{beside.name}-reserve")

    def keep(self) -> None:
        """Take the room, unless it is taken or there is too little."""
        with contextlib.suppress(OSError):
            if self._path.exists():
                return
            size = min(RESERVE_BYTES, shutil.disk_usage(self._path.parent).free // SHARE)
            if size < LEAST_BYTES:
                return
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Not `truncate`, which makes a file that takes no room.
                os.posix_fallocate(file, 0, size)
            except OSError:
                self._path.unlink()
            finally:
                os.close(file)

    def free(self) -> bool:
        """Give the room back to the disk; say whether there was any."""
        try:
            size = self._path.stat().st_size
            self._path.unlink()
        except OSError:
            return False
        log.warning("reserve_used", file=str(self._path), bytes=size, detail="the disk is full; make room on it")
        return True
