"""`leadbridge`, whose clock can be moved while it runs: for the chaos runs, which start it by this file's path.

The environment's `CHAOS_CLOCK` names a file of eight bytes, a double in the machine's order: the seconds by which the
clock is off. Everything in the process that asks Python for the time is told so, as after a real jump of the clock;
what measures durations is not (`time.monotonic`), as in a real jump too.
"""

import mmap
import os
import struct
import time
from pathlib import Path

SHIFT = struct.Struct("d")


def main() -> None:
    """Move the clock, then run the command; before the program is imported, for some of it takes `time.time` there."""
    with Path(os.environ["CHAOS_CLOCK"]).open("rb") as file:
        shift = mmap.mmap(file.fileno(), SHIFT.size, access=mmap.ACCESS_READ)
    real = time.time
    time.time = lambda: real() + SHIFT.unpack_from(shift)[0]
    from bridge.cli import main as leadbridge

    leadbridge()


if __name__ == "__main__":
    main()
