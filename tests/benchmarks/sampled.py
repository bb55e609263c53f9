"""Runs a Python program and notes where its time goes: `python sampled.py OUTPUT PROGRAM [ARGUMENTS]`.

From SIGUSR1 on, a timer interrupts the main thread a thousand times a second, and the processor time that it has
used since the last time is counted for the functions that it is in. What runs in C is counted for the Python
function that called it. Of the other threads only their processor time is known: a thread that looked at them would see
them just where they give up the interpreter. All of this costs something, so figures taken meanwhile are worse.
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
THREADS_EVERY = 100
"""Looks after which the other threads' time is read again: threads that have ended cannot be asked any more."""
LIBRARIES = "site-packages/"

_Function = tuple[str, int, str]


class Sampler:
    """Looks at the main thread, from `begin` until `write`."""

    def __init__(self) -> None:
        self._own: dict[_Function, float] = {}
        self._with_callees: dict[_Function, float] = {}
        self._used = 0.0
        self._looks = 0
        self._before: dict[str, float] = {}
        self._after: dict[str, float] = {}

    def begin(self, *_: object) -> None:
        self._before = _thread_seconds()
        self._used = time.thread_time()
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def _look(self, _: int, frame: FrameType | None) -> None:
        used = time.thread_time()
        spent, self._used = used - self._used, used
        self._looks += 1
        if self._looks % THREADS_EVERY == 0:
            self._after = _thread_seconds()
        if frame:
            self._own[_function(frame)] = self._own.get(_function(frame), 0.0) + spent
        seen: set[_Function] = set()
        while frame:
            function = _function(frame)
            if function not in seen:
                seen.add(function)
                self._with_callees[function] = self._with_callees.get(function, 0.0) + spent
            frame = frame.f_back

    def write(self, path: Path) -> None:
        """Stop looking, and write all of it as JSON: seconds per thread, and per function of the main one."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        seconds = {name: used - self._before.get(name, 0.0) for name, used in self._after.items()}
        functions = {
            _name(*function): (spent, self._own.get(function, 0.0)) for function, spent in self._with_callees.items()
        }
        path.write_text(json.dumps({"threads": seconds, "functions": functions}))


def _thread_seconds() -> dict[str, float]:
    """Give the processor time of each thread that runs now, and of the whole process."""
    seconds = {"process": time.process_time()}
    for thread in threading.enumerate():
        if thread.ident is not None:
            seconds[thread.name] = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return seconds


def _function(frame: FrameType) -> _Function:
    return (frame.f_code.co_filename, frame.f_code.co_firstlineno, frame.f_code.co_qualname)


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
