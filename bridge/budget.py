"""How much work one lead may cause, counted while a record is made of it. Pure.

The author of a configuration is trusted; the values come from strangers. So each operation whose cost depends on a
value takes its cost from a budget before it runs, and fails with `LimitError` when nothing is left. The count depends
on the values alone, not on the machine: the same lead under the same mapping ends the same way. Only `regex_replace`
takes the time, and only on a long text with many matches.

One budget serves all that is made for one record. `spending` puts it in force for what is called inside; without one,
each template, condition and transform has a budget of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

STEPS: Final = 100_000_000
"""Steps that the making of one record may take. A step is about a nanosecond of work: 0.1 seconds in all."""
INLINE_STEPS: Final = 2_000_000
"""Steps that may be taken in the event loop, about two milliseconds. Work that needs more is done in a thread."""
FIELD_TEXT: Final = 2_000_000
"""Characters that one field of a record may have."""
RECORD_TEXT: Final = 4_000_000
"""Characters that all fields of a record may have together."""
ITEM: Final = 300
"""Steps that an element of a list takes wherever a list is gone through."""
_CHARACTER: Final = 10
"""Steps that each character of a new text takes: it is also memory."""


class LimitError(ValueError):
    """An operation that the values given would make too large. The message holds no value."""


class Budget:
    """Counts down the steps that are left."""

    __slots__ = ("_left", "steps")

    def __init__(self, steps: int = STEPS) -> None:
        self.steps = steps
        """How many there were at the beginning."""
        self._left = steps

    @property
    def spent(self) -> int:
        """How many steps have been taken."""
        return self.steps - self._left

    def charge(self, steps: int) -> None:
        """Take steps; raises `LimitError` where not so many are left."""
        self._left -= steps
        if self._left < 0:
            raise LimitError(f"takes more than {self.steps:,} steps for this event's values: shorten them first")

    def charge_text(self, size: int) -> None:
        """Take what it costs to make a text of `size` characters; raises `LimitError`."""
        if size > FIELD_TEXT:
            raise LimitError(f"the result would be longer than {FIELD_TEXT:,} characters")
        self.charge(size * _CHARACTER)


_in_force: ContextVar[Budget | None] = ContextVar("budget", default=None)


def current() -> Budget:
    """Return the budget in force, or a new one."""
    return _in_force.get() or Budget()


@contextmanager
def spending(budget: Budget) -> Iterator[Budget]:
    """Put a budget in force for all that is called inside."""
    token = _in_force.set(budget)
    try:
        yield budget
    finally:
        _in_force.reset(token)
