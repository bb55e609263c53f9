"""What all measures share: how many rounds, the program, the leads, and what went wrong on the way."""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.benchmarks import children, program
from tests.benchmarks.leads import Sender
from tests.benchmarks.load import Burst
from tests.benchmarks.program import Setup

T = TypeVar("T")
SETTLE_SECONDS = 1.0
"""How long the program has for itself after its first answer, before it is measured."""


@dataclass(frozen=True, slots=True)
class Served:
    """The program under test, running."""

    pid: int

    def cpu(self) -> float:
        """Give the seconds of processor that it has used."""
        return children.cpu(self.pid)


@dataclass(slots=True)
class Bench:
    """One run of the benchmark."""

    rounds: int
    seconds: float
    """Length of a burst."""
    program: Path
    profiles_folder: Path | None = None
    """Where profiles are put; None unless they are wanted."""
    profiles: list[tuple[str, Path]] = field(default_factory=list)
    """What each profile shows, and its file."""
    sender: Sender = field(default_factory=Sender)
    faults: list[str] = field(default_factory=list)
    """What must not be: a wrong answer, an acknowledged lead that is not in the store. Any fails the run."""

    others: dict[str, float] = field(default_factory=dict)
    """For each measure, the share of the cores that other processes took meanwhile."""

    @contextlib.contextmanager
    def serve(self, made: Setup, what: str) -> Iterator[Served]:
        """Run the program on a configuration, and wait until its start is over; `what` is what a profile shows."""
        with program.started(made, [*self._sampled(what), str(self.program)]) as process:
            time.sleep(SETTLE_SECONDS)
            if self.profiles_folder:
                process.send_signal(signal.SIGUSR1)
            yield Served(process.pid)

    def check(self, what: str, burst: Burst) -> Burst:
        """Note every answer that was not exactly success."""
        if burst.wrong:
            self.faults.append(f"{what}: {len(burst.wrong)} wrong answers, the first: {burst.wrong[0]!r}")
        return burst

    def turns(self, sides: Sequence[T]) -> Iterator[Sequence[T]]:
        """Give the sides in the order in which each round has them: every other round begins with the other one."""
        for number in range(self.rounds):
            yield sides if number % 2 == 0 else sides[::-1]

    @contextlib.contextmanager
    def launch(self, made: Setup) -> Iterator[Served]:
        """Start the program on a configuration, and do not wait for it."""
        with program.launched(made, [str(self.program)]) as process:
            yield Served(process.pid)

    def _sampled(self, what: str) -> Sequence[str]:
        if self.profiles_folder is None:
            return ()
        path = self.profiles_folder / f"{len(self.profiles)}.json"
        self.profiles.append((what, path))
        return (sys.executable, str(Path(__file__).with_name("sampled.py")), str(path))
