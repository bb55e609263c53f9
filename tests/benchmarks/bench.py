"""What all measures share: how many rounds, the leads, and what went wrong on the way."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks import program
from tests.benchmarks.leads import Sender
from tests.benchmarks.load import Burst
from tests.benchmarks.program import Setup


@dataclass(slots=True)
class Bench:
    """One run of the benchmark."""

    rounds: int
    seconds: float
    """Length of a burst."""
    program: Path
    sender: Sender = field(default_factory=Sender)
    faults: list[str] = field(default_factory=list)
    """What must not be: a wrong answer, an acknowledged lead that is not in the store. Any fails the run."""
    profiled: list[str] = field(default_factory=list)
    """Where the time went, one report per measure; empty unless asked for."""
    profile: bool = False

    @contextmanager
    def serve(self, made: Setup) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the program under test on a configuration."""
        with program.started(made, self.program) as process:
            yield process

    def check(self, what: str, burst: Burst) -> Burst:
        """Note every answer that was not exactly success."""
        if burst.wrong:
            self.faults.append(f"{what}: {len(burst.wrong)} wrong answers, the first: {burst.wrong[0]!r}")
        return burst

    def turns(self, names: Sequence[str]) -> Iterator[Sequence[str]]:
        """Give the sides in the order in which each round has them: every other round begins with the other one."""
        for number in range(self.rounds):
            yield names if number % 2 == 0 else names[::-1]
