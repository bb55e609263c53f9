"""Faults that a test can inject into a sandbox."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from connectors.testing.contacts import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of a call. Create it with the class methods, or combine the fields yourself."""

    status: int | None = None
    """Status to answer; None leaves the answer to the sandbox, which then also writes the records."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """With `status`: headers of the answer."""
    body: bytes = b""
    """With `status`: body of the answer."""
    written: bool = False
    """True if the records are written anyway, so that only the answer is wrong or lost."""
    delay: float = 0.0
    """Seconds before the answer."""
    drip: float = 0.0
    """Seconds between the bytes of the answer's body."""
    cut: bool = False
    """True to send half of the body, although Content-Length promises all of it, and close the connection."""
    closes: bool = False
    """True to close the connection without an answer."""
    edit: Callable[[Reply], Reply] | None = None
    """Without `status`: returns what the sandbox sends in place of its answer."""

    @classmethod
    def answers(
        cls, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", *, written: bool = False
    ) -> "Fault":
        """Return a fault that answers with this status; `{"Retry-After": "7"}` goes into `headers`."""
        return cls(status=status, headers=headers or {}, body=body, written=written)

    @classmethod
    def disconnects(cls, *, written: bool) -> "Fault":
        """Return a fault that closes the connection before or after the records are written."""
        return cls(closes=True, written=written)

    @classmethod
    def half_an_answer(cls) -> "Fault":
        """Return a fault that writes the records, sends half of the body and closes the connection."""
        return cls(cut=True, written=True)

    @classmethod
    def edits(cls, edit: Callable[[Reply], Reply]) -> "Fault":
        """Return a fault that writes the records and changes the answer, such as one without a row."""
        return cls(edit=edit, written=True)

    @classmethod
    def slow(cls, delay: float, *, written: bool = True) -> "Fault":
        """Return a fault that answers after `delay` seconds: a time-out before (`written` false) or after the write."""
        return cls(delay=delay, written=written, status=None if written else 503)

    @classmethod
    def drips(cls, seconds: float) -> "Fault":
        """Return a fault that writes the records and sends the body byte by byte, with pauses in seconds."""
        return cls(drip=seconds, written=True)

    @classmethod
    def redirects(cls, to: str, status: int = 302) -> "Fault":
        """Return a fault that redirects to another address."""
        return cls.answers(status, {"Location": to})

    @classmethod
    def html_error(cls, status: int = 502) -> "Fault":
        """Return a fault that answers with a page for people, as a gateway does."""
        page = b"<!DOCTYPE html><html><head><title>Bad Gateway</title></head><body><h1>Sorry</h1></body></html>"
        return cls.answers(status, {"Content-Type": "text/html"}, page)

    @classmethod
    def error_inside(cls, message: str = "it did not work") -> "Fault":
        """Return a fault that answers 200 with an error in the body, as many older APIs do; nothing is written."""
        body = b'{"ok": false, "error": "%b"}' % message.encode()
        return cls.answers(200, {"Content-Type": "application/json"}, body)


class Faults:
    """Schedule of faults. Faults of the next calls come before those of a share of calls.

    Args:
        seed: Selects the calls of a share: the same ones in each run.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)  # noqa: S311 - nothing secret hangs on it
        self._next: list[tuple[str, Fault]] = []
        self._shares: list[tuple[str, float, Fault]] = []

    def next(self, fault: Fault, times: int = 1, on: str | None = None) -> None:
        """Add this fault to the next `times` calls that have none yet.

        Args:
            fault: The fault.
            times: Number of calls.
            on: Only calls with this text in path and query count; None: every call.
        """
        self._next.extend([(on or "", fault)] * times)

    def share(self, fault: Fault, share: float, on: str | None = None) -> None:
        """Add this fault to a share of all calls, 0 to 1, until `clear`. 1 means every call; `on` as in `next`."""
        self._shares.append((on or "", share, fault))

    def clear(self) -> None:
        """Remove all faults."""
        self._next.clear()
        self._shares.clear()

    def draw(self, path: str = "") -> Fault | None:
        """Return the fault of the call that has just arrived, if any. `path` includes its query."""
        for position, (on, fault) in enumerate(self._next):
            if on in path:
                del self._next[position]
                return fault
        for on, share, fault in self._shares:
            if on in path and self._random.random() < share:
                return fault
        return None
