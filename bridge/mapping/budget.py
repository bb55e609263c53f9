"""The work that one lead may cause, counted while its record is built. Pure.

The author of a configuration is trusted; the values of a lead come from strangers. So each operation whose cost depends
on a value takes its cost from a budget before it runs, and fails with `LimitError` when the budget is used up. The cost
depends on the values alone, not on the machine: the same lead under the same mapping has the same result. Only
`regex_replace` measures time, and only for many matches in a long text.

All work for one record shares one budget. `spending` sets it for the calls inside; without it, each template, condition
and transform has its own budget.
"""

from collections.abc import ItemsView, KeysView, ValuesView
from contextvars import ContextVar, Token
from typing import Final

STEPS: Final = 100_000_000
"""Maximum number of steps for one record. A step is about a nanosecond of work, so this is about 0.1 seconds."""
CONDITION_STEPS: Final = 10_000_000
"""Maximum number of steps for one `when` or `test_when`."""
INLINE_STEPS: Final = 2_000_000
"""Maximum number of steps in the event loop, about two milliseconds. Longer work is done in a thread."""
FIELD_TEXT: Final = 2_000_000
"""Maximum number of characters of a field, and of each intermediate text."""
RECORD_TEXT: Final = 4_000_000
"""Maximum number of characters of all fields of a record together."""
ITEM_STEPS: Final = 300
"""Steps for an element of a list, each time the list is traversed."""
_CHARACTER: Final = 10
"""Steps for each character of a new text, which also takes memory."""


class LimitError(ValueError):
    """Error for an operation that the values would make too large. The message contains no value."""


class InlineOverrun(BaseException):
    """Interruption of work that would block the event loop for too long.

    It is no `Exception`, so that error handlers let it pass: nothing has failed.
    """


class Budget:
    """Counter of the steps that are left."""

    __slots__ = ("_left", "steps")

    def __init__(self, steps: int = STEPS) -> None:
        self.steps = steps
        """Number of steps at the start."""
        self._left = steps

    @property
    def spent(self) -> int:
        """Return the number of steps taken."""
        return self.steps - self._left

    def charge(self, steps: int) -> None:
        """Take steps; raise `LimitError` if too few are left."""
        self._left -= steps
        if self._left < 0:
            self.exhausted()

    def charge_text(self, size: int) -> None:
        """Take the cost of a new text of `size` characters; raise `LimitError` if it is too long or too expensive."""
        if size > FIELD_TEXT:
            raise LimitError(f"the result would be longer than {FIELD_TEXT:,} characters")
        self.charge(size * _CHARACTER)

    def charge_value(self, value: object, rate: int = 1) -> None:
        """Take the cost of traversing a value and everything in it, at `rate` steps per character.

        A list may contain the same list many times, so its content may be far larger than its memory.
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
                self.charge(len(each) * ITEM_STEPS)
                waiting.extend(each)
                if isinstance(each, dict):
                    waiting.extend(each.values())

    def exhausted(self) -> None:
        """Raise the error of a used-up budget."""
        raise LimitError(f"takes more than {self.steps:,} steps for this event's values: shorten them first")


class InlineBudget(Budget):
    """Budget of work in the event loop. It ends with `InlineOverrun`; then the work is repeated in a thread."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(INLINE_STEPS)

    def exhausted(self) -> None:
        """Interrupt the work."""
        raise InlineOverrun


class CompileBudget(Budget):
    """The budget of compiling a configuration that a person tries. Patterns are compiled at its cost."""

    __slots__ = ()

    def exhausted(self) -> None:
        """Raise the error of a budget in which nothing is left."""
        raise LimitError(f"takes more than {self.steps:,} steps to compile: use fewer templates and patterns")


_in_force: ContextVar[Budget | None] = ContextVar("budget", default=None)


budget_in_force: Final = _in_force.get
"""Returns the current budget, or None."""


def current_budget() -> Budget:
    """Return the current budget, or a new one."""
    return _in_force.get() or Budget()


class spending:  # noqa: N801 - is used as a function; a generator would take five times as long
    """Context in which all work takes its steps from one budget."""

    __slots__ = ("_budget", "_token")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def __enter__(self) -> Budget:
        self._token: Token[Budget | None] = _in_force.set(self._budget)
        return self._budget

    def __exit__(self, *_: object) -> None:
        _in_force.reset(self._token)
