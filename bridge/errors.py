"""Errors of the program, grouped by the person who must act.

Each has a message with the next step. Any other exception is a fault of the program.
"""

import difflib
from collections.abc import Iterable


class LeadbridgeError(Exception):
    """Base of all errors with a message meant for a person."""


class SenderError(LeadbridgeError):
    """The sender must act: the request cannot be accepted. `status` is the HTTP status of the answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class OperatorError(LeadbridgeError):
    """The operator must act: the surroundings (a disk, a port, a lock, a database) do not let the program work."""


class NotFoundError(OperatorError):
    """Nothing has the id or the name of the request.

    `listing` is the group of commands whose `list` shows the existing ones, or None where a list does not help.
    """

    def __init__(self, message: str, listing: str | None = None) -> None:
        super().__init__(message)
        self.listing = listing


class ConflictError(OperatorError):
    """The state of the object does not allow the request."""


class StoreUnavailableError(OperatorError):
    """The store could not commit, so nothing of the change was kept. The same call may succeed later."""


class StoreBusyError(StoreUnavailableError):
    """The store is there, but more waits for it than it can commit in time."""


class RowLockedError(StoreUnavailableError):
    """Another transaction holds a row that the change needs; the store itself is well."""


class LeaseLostError(OperatorError):
    """The lane belongs to another process by now: nothing of the change was kept, and the lane must stop."""


_NEAR = 0.6  # difflib's own default: one slip in a short word, two or three in a long one


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean `x`?)` with the nearest known name, ignoring case; empty if none is near."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold()[:100], by_folded, n=1, cutoff=_NEAR)
    return f" (did you mean `{by_folded[near[0]]}`?)" if near else ""
