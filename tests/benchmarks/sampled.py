"""Runs a Python program and notes where its time goes: `python sampled.py OUTPUT PROGRAM [ARGUMENTS]`.

From SIGUSR1 on, a thread looks a thousand times a second at what each other thread is doing, and counts the processor
time that the thread has used since the last look for the functions that it is in then. What runs in C is counted for the
Python function that called it. Looking costs something itself, so figures taken meanwhile are worse than without.
"""

import json
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.001
LIBRARIES = "site-packages/"

_Function = tuple[str, int, str]


class Sampler(threading.Thread):
    """Looks until the program ends."""

    def __init__(self) -> None:
        super().__init__(name="sampler", daemon=True)
        self._threads: dict[str, dict[str, dict[_Function, float]]] = {}
        self._used: dict[int, float] = {}
        self._over = threading.Event()

    def begin(self, *_: object) -> None:
        """Begin to look, if it has not."""
        if not self.is_alive():
            self.start()

    def run(self) -> None:
        while not self._over.wait(INTERVAL_SECONDS):
            frames = sys._current_frames()
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in frames.items():
                if ident in names and ident != self.ident:
                    self._count(ident, names[ident], frame)

    def _count(self, ident: int, name: str, frame: FrameType | None) -> None:
        try:
            used = time.clock_gettime(time.pthread_getcpuclockid(ident))
        except OSError:
            return
        spent = used - self._used.get(ident, used)
        self._used[ident] = used
        counts = self._threads.setdefault(name, {"own": {}, "with_callees": {}})
        seen: set[_Function] = set()
        while frame:
            function = (frame.f_code.co_filename, frame.f_code.co_firstlineno, frame.f_code.co_qualname)
            for kind in ("with_callees",) if seen else ("own", "with_callees"):
                if function not in seen:
                    counts[kind][function] = counts[kind].get(function, 0.0) + spent
            seen.add(function)
            frame = frame.f_back

    def write(self, path: Path) -> None:
        """Stop looking, and write all of it as JSON: for each thread its functions and their seconds."""
        self._over.set()
        if self.is_alive():
            self.join()
        threads = {
            name: {kind: {_name(*function): spent for function, spent in counts[kind].items()} for kind in counts}
            for name, counts in self._threads.items()
        }
        path.write_text(json.dumps(threads))


def _name(file: str, line: int, function: str) -> str:
    _, library, inside = file.rpartition(LIBRARIES)
    if not library:
        inside = "/".join(Path(file).parts[-2:])
    return f"{inside}:{line} {function}"


if __name__ == "__main__":
    output, sys.argv = Path(sys.argv[1]), sys.argv[2:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    sampler = Sampler()
    signal.signal(signal.SIGUSR1, sampler.begin)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        sampler.write(output)
