"""How much work one lead may cause, counted while a record is made of it. Pure.

The author of a configuration is trusted; the values come from strangers. So each operation whose cost depends on a
value takes its cost from a budget before it runs, and fails with `LimitError` when nothing is left. The count depends
on the values alone, not on the machine: the same lead under the same mapping ends the same way. Only `regex_replace`
takes the time, and only on a long text with many matches.

One budget serves all that is made for one record. `spending` puts it in force for what is called inside; without one,
each template, condition and transform has a budget of its own.
"""

from collections.abc import ItemsView, KeysView, ValuesView
from contextvars import ContextVar, Token
from typing import Final

STEPS: Final = 100_000_000
"""Steps that the making of one record may take. A step is about a nanosecond of work: 0.1 seconds in all."""
CONDITION_STEPS: Final = 10_000_000
"""Steps that one `when` or `test_when` may take."""
INLINE_STEPS: Final = 2_000_000
"""Steps that may be taken in the event loop, about two milliseconds. Work that needs more is done in a thread."""
FIELD_TEXT: Final = 2_000_000
"""Characters that one field of a record, or any text on the way to it, may have."""
RECORD_TEXT: Final = 4_000_000
"""Characters that all fields of a record may have together."""
ITEM: Final = 300
"""Steps that an element of a list takes wherever a list is gone through."""
_CHARACTER: Final = 10
"""Steps that each character of a new text takes: it is also memory."""


class LimitError(ValueError):
    """An operation that the values given would make too large. The message holds no value."""


class InlineOverrun(BaseException):
    """Work that takes longer than the event loop may be held up.

    It passes through all that handles errors, because nothing has failed.
    """


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
            self.exhausted()

    def charge_text(self, size: int) -> None:
        """Take what it costs to make a text of `size` characters; raises `LimitError`."""
        if size > FIELD_TEXT:
            raise LimitError(f"the result would be longer than {FIELD_TEXT:,} characters")
        self.charge(size * _CHARACTER)

    def charge_value(self, value: object, rate: int = 1) -> None:
        """Take what it costs to go through a value with all that is in it, at `rate` steps a character.

        A list may hold another one many times, so it may be far larger than the memory that it fills.
        """
        if isinstance(value, str):
            self.charge(len(value) * rate)
            return
        waiting = [value]
        while waiting:
            each = waiting.pop()
            if isinstance(each, str):
                self.charge(len(each) * rate)
            elif isinstance(each, list | tuple | dict | KeysView | ValuesView | ItemsView):
                self.charge(len(each) * ITEM)
                waiting.extend(each)
                if isinstance(each, dict):
                    waiting.extend(each.values())

    def exhausted(self) -> None:
        """Raise the error of a budget in which nothing is left."""
        raise LimitError(f"takes more than {self.steps:,} steps for this event's values: shorten them first")


class InlineBudget(Budget):
    """The budget of work in the event loop. It ends with `InlineOverrun`, and the work is done again in a thread."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(INLINE_STEPS)

    def exhausted(self) -> None:
        """Leave the event loop."""
        raise InlineOverrun


class CompileBudget(Budget):
    """The budget of compiling a configuration that a person tries. Patterns are compiled at its cost."""

    __slots__ = ()

    def exhausted(self) -> None:
        """Raise the error of a budget in which nothing is left."""
        raise LimitError(f"takes more than {self.steps:,} steps to compile: use fewer templates and patterns")


_in_force: ContextVar[Budget | None] = ContextVar("budget", default=None)


in_force: Final = _in_force.get
"""Returns the budget in force, or None."""


def current() -> Budget:
    """Return the budget in force, or a new one."""
    return _in_force.get() or Budget()


class spending:  # noqa: N801 - is used as a function; a generator would take five times as long
    """Put a budget in force for all that is called inside."""

    __slots__ = ("_budget", "_token")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def __enter__(self) -> Budget:
        self._token: Token[Budget | None] = _in_force.set(self._budget)
        return self._budget

    def __exit__(self, *_: object) -> None:
        _in_force.reset(self._token)
