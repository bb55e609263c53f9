"""How a destination's queue is worked as several lanes: its shards, and which of them a contact belongs to. Pure.

A destination that is not split has one lane, of its own name. One that is split into four has `NAME#1/4` to `NAME#4/4`:
a lane's name tells how many it is one of, so the lanes of one number are never taken for those of another. No name of
a destination has a `#` in it.
"""

from functools import lru_cache
from typing import NamedTuple

SPLIT = "#"
"""What stands between a destination's name and which of its shards it is; no destination's name has it."""
MOST_SHARDS = 64
MARK_FACTOR = 100
"""What the number of shards is multiplied by in `Shard.mark`; more than `MOST_SHARDS`."""


class Shard(NamedTuple):
    """A lane: one of the shards of a destination, or all of its queue."""

    destination: str
    number: int = 1
    """From 1."""
    of: int = 1

    @property
    def lane(self) -> str:
        """The lane's name."""
        return self.destination if self.of == 1 else f"{self.destination}{SPLIT}{self.number}/{self.of}"

    @property
    def mark(self) -> int | None:
        """What the deliveries of this shard are marked with in the store: 403 is the third of four.

        It tells the number of shards too, so that no lane reads what is marked for another number. None where the
        destination is not split: its lane reads all deliveries, whatever they are marked with.
        """
        return None if self.of == 1 else self.of * MARK_FACTOR + self.number


@lru_cache(maxsize=65_536)
def shard(lane: str) -> Shard:
    """Read a lane's name. Raises ValueError for one that `Shard.lane` does not give."""
    destination, split, numbers = lane.partition(SPLIT)
    if not split:
        return Shard(destination)
    number, _, of = numbers.partition("/")
    return Shard(destination, int(number), int(of))


@lru_cache(maxsize=65_536)
def lanes_of(destination: str, shards: int) -> tuple[str, ...]:
    """Give the names of all lanes of a destination, in the order of their numbers."""
    return tuple(Shard(destination, number, shards).lane for number in range(1, shards + 1))


def shard_of(contact: int, shards: int) -> int:
    """Give the number of the shard that all deliveries of a contact belong to.

    The contact is a hash (`Event.contact`), so the contacts are spread evenly. The store does the same in SQL.
    """
    return contact % shards + 1


def part(whole: int, number: int, shards: int) -> int:
    """Give one shard's part of a limit: whole numbers that differ by one at the most, and together are the limit."""
    return whole // shards + (number <= whole % shards)
