"""Folders for what tests write."""

import contextlib
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30


def fast_folder() -> Path:
    """Choose memory where there is room: a disk would sync for minutes what no test cuts the power of."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(MEMORY).free >= ROOM:
            return MEMORY
    return Path(tempfile.gettempdir())
