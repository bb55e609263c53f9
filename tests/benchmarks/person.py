"""A person at the dashboard, in a process of its own: `python -m tests.benchmarks.person PORT TOKEN CLIENT EVENTS`.

It logs in with the tokens of an operator and of a client's user, prints its own port (it listens nowhere, so 0) and
takes lines. `time N` asks for everything N times and answers with a line of JSON, a `Timed` for each. `look RATE` has
it load so many pages of the dashboard per second, one after the other, or with `inf` each as soon as the one before is
there, until `rest`, which answers how many those were. `timed`, `look` and `rest` ask such a child.
"""

import itertools
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tests.benchmarks.children import Child
from tests.benchmarks.fullness import Fullness
from tests.benchmarks.visitor import Visitor, visitor
from tests.benchmarks.visits import Visit, scoped_visits, visits

TIME_SECONDS = 600.0
_THREAD = ThreadPoolExecutor(1)


class Timed(NamedTuple):
    """How long one thing took that was asked for several times, in milliseconds."""

    what: str
    of_api: bool
    slowest: float
    median: float


def timed(person: Child, times: int) -> Sequence[Timed]:
    """Have a person ask for everything so often."""
    person.ask(f"time {times}")
    return [Timed(*each) for each in json.loads(person.line(TIME_SECONDS))]


def look(person: Child, rate: float) -> None:
    """Have a person load so many pages per second; `math.inf` for as many as they can."""
    person.ask(f"look {rate}")


def rest(person: Child) -> int:
    """Have a person end their looking, and give how many pages were loaded."""
    person.ask("rest")
    return int(person.line(TIME_SECONDS))


Asked = tuple[Visitor, Visit]


def _time(asked: Sequence[Asked], times: int) -> Sequence[Timed]:
    # One after the other, not one time after time: what a cache holds of it has gone when it is asked for again.
    rounds = [[who.ask(each.path, each.form)[0] for who, each in asked] for _ in range(times)]
    return [
        Timed(each.what, each.of_api, 1e3 * max(took), 1e3 * statistics.median(took))
        for (_, each), took in zip(asked, zip(*rounds, strict=True), strict=True)
    ]


class _Looking:
    """Loads pages in turn, in a thread."""

    def __init__(self, pages: Iterator[Asked], rate: float) -> None:
        self._pages = pages
        self._rate = rate
        self._ended = threading.Event()
        self._loaded = _THREAD.submit(self._run)

    def end(self) -> int:
        self._ended.set()
        return self._loaded.result()

    def _run(self) -> int:
        loaded, began = 0, time.monotonic()
        while not self._ended.wait(max(0.0, began + loaded / self._rate - time.monotonic())):
            who, page = next(self._pages)
            who.ask(page.path, page.form)
            loaded += 1
        return loaded


def _main(port: int, token: str, client: str, events: int) -> None:
    with visitor(port, token) as who, visitor(port, client) as other:
        asked = [*((who, each) for each in visits(who, Fullness(events))), *((other, each) for each in scoped_visits())]
        # Looks go on where the one before has ended, so that short ones load every page too.
        pages = itertools.cycle([each for each in asked if not each[1].of_api])
        looking = None
        print(0, flush=True)
        for line in sys.stdin:
            word, *numbers = line.split()
            if word == "time":
                print(json.dumps(_time(asked, int(numbers[0]))), flush=True)
            elif word == "look":
                # Their browser runs on another machine.
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
                looking = _Looking(pages, float(numbers[0]))
            elif looking:
                print(looking.end(), flush=True)
                looking = None


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
