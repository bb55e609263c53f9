"""What happens to the program in a run, and when: a list that a seed decides. Pure.

The same seed gives the same list. At which statement of the program a blow falls is for the machine to decide, so a
run that has found something is repeated with its seed, and may have to be repeated several times.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Blow(StrEnum):
    """One way to trouble the program."""

    KILL = "SIGKILL"
    KILL_STARTING = "SIGKILL, and again while it starts"
    KILL_ENDING = "SIGTERM, and SIGKILL while it ends"
    RESTART = "SIGTERM and a new start"
    FREEZE = "SIGSTOP and SIGCONT"
    DISK_FULL = "disk full"
    WRITES_FAIL = "every write fails"
    LOCKED = "store locked by another process"
    DATABASE_KILLED = "PostgreSQL killed and started again"
    DATABASE_FROZEN = "PostgreSQL stands still"
    DATABASE_CUT = "connections to PostgreSQL cut, at any statement"
    ROWS_LOCKED = "rows of deliveries, events and lanes locked by a shell"
    SPOOL_FULL = "PostgreSQL killed while the spool's disk is full"
    STORE_MOVED = "store, or spool, renamed and put back"
    CLOCK = "clock jumps"
    CLOCK_RESTART = "clock jumps while the program is stopped"
    RELOAD = "configuration reloaded"
    RELOAD_BROKEN = "broken configuration, then a good one"
    SAVED_IN_PARTS = "configuration saved in parts"
    CUT = "all connections cut"
    SLOW = "connections delayed"
    CRM_AWAY = "a CRM out of reach"
    CRM_FAILS = "a CRM that fails each call"


LASTING = frozenset(
    {
        Blow.FREEZE,
        Blow.DISK_FULL,
        Blow.WRITES_FAIL,
        Blow.LOCKED,
        Blow.DATABASE_KILLED,
        Blow.DATABASE_FROZEN,
        Blow.DATABASE_CUT,
        Blow.ROWS_LOCKED,
        Blow.SPOOL_FULL,
        Blow.SLOW,
        Blow.CRM_AWAY,
        Blow.CRM_FAILS,
    }
)
"""Blows that last for a while; some of them end with the program killed in the middle."""
_ALWAYS_KILL = {Blow.KILL: 1, Blow.KILL_STARTING: 2, Blow.KILL_ENDING: 1}
_SHIFTS = (-86_400.0, -3_600.0, -600.0, -5.0, 0.0, 5.0, 600.0, 3_600.0, 86_400.0)
_KILL_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """One blow."""

    blow: Blow
    after: float
    """Seconds of undisturbed load before it."""
    lasts: float
    """Seconds, of a blow that lasts; of `KILL_STARTING` and `KILL_ENDING` until the (second) SIGKILL; of
    `STORE_MOVED` and `SAVED_IN_PARTS` until it is put right."""
    killed: bool
    """Whether the program is killed while a lasting blow lasts."""
    choice: int
    """Which one, where there are several: a shift of the clock, a CRM, a configuration."""

    @property
    def kills(self) -> int:
        """How many SIGKILLs it has."""
        return _ALWAYS_KILL.get(self.blow, int(self.killed))

    @property
    def shift(self) -> float:
        """By how many seconds the clock is off after a `CLOCK` or a `CLOCK_RESTART`."""
        return _SHIFTS[self.choice % len(_SHIFTS)]


def plan(seed: int, kills: int, blows: Collection[Blow]) -> list[Step]:
    """Give the steps of a run: each of the blows at least once, and more until there are so many SIGKILLs."""
    chance = random.Random(seed)
    each = sorted(blows)
    steps = [_step(blow, chance) for blow in chance.sample(each, len(each))]
    while sum(step.kills for step in steps) < kills:
        steps.append(_step(Blow.KILL if chance.random() < _KILL_SHARE else chance.choice(each), chance))
    return steps


def farthest(steps: Collection[Step]) -> float:
    """Give the farthest into the future that the clock is ever set, in seconds; it begins right."""
    return max([0.0, *(step.shift for step in steps if step.blow in {Blow.CLOCK, Blow.CLOCK_RESTART})])


def _step(blow: Blow, chance: random.Random) -> Step:
    lasts = chance.uniform(0.05, 1.2)
    killed = blow in LASTING and chance.random() < _KILL_SHARE
    return Step(blow, chance.uniform(0.05, 0.5), lasts, killed, chance.randrange(1_000))
