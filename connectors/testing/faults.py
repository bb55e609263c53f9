"""The faults that a sandbox can be told to have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way for a call to go wrong. Make one with the class methods, or combine the fields yourself."""

    status: int | None = None
    """Answer this; None leaves the answer to the sandbox (which then has also written the records)."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """With `status`: the answer's headers."""
    body: bytes = b""
    """With `status`: the answer's body."""
    written: bool = False
    """Whether the records are written all the same, so that only the answer is wrong or lost."""
    delay: float = 0.0
    """Seconds before the answer."""
    drip: float = 0.0
    """Seconds between the bytes of the answer's body."""
    cut: bool = False
    """Send half of the body only, though Content-Length promises all of it, and close the connection."""
    closes: bool = False
    """Close the connection without an answer."""

    @classmethod
    def answers(
        cls, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", *, written: bool = False
    ) -> "Fault":
        """Answer with this status; `{"Retry-After": "7"}` belongs into `headers`."""
        return cls(status=status, headers=headers or {}, body=body, written=written)

    @classmethod
    def disconnects(cls, *, written: bool) -> "Fault":
        """Close the connection instead of answering, before or after the records are written."""
        return cls(closes=True, written=written)

    @classmethod
    def half_an_answer(cls) -> "Fault":
        """Write the records, then send half of the answer's body and close the connection."""
        return cls(cut=True, written=True)

    @classmethod
    def slow(cls, delay: float, *, written: bool = True) -> "Fault":
        """Answer after `delay` seconds: a time-out at the caller, before (`written` false) or after the write."""
        return cls(delay=delay, written=written, status=None if written else 503)

    @classmethod
    def drips(cls, seconds: float) -> "Fault":
        """Write the records, then send the body byte by byte, so many seconds between them."""
        return cls(drip=seconds, written=True)

    @classmethod
    def redirects(cls, to: str, status: int = 302) -> "Fault":
        """Point to another address."""
        return cls.answers(status, {"Location": to})

    @classmethod
    def html_error(cls, status: int = 502) -> "Fault":
        """Answer with a page for people, as a gateway does."""
        page = b"<!DOCTYPE html><html><head><title>Bad Gateway</title></head><body><h1>Sorry</h1></body></html>"
        return cls.answers(status, {"Content-Type": "text/html"}, page)

    @classmethod
    def error_inside(cls, message: str = "it did not work") -> "Fault":
        """Answer 200 with an error in the body, as many older APIs do; nothing is written."""
        body = b'{"ok": false, "error": "%b"}' % message.encode()
        return cls.answers(200, {"Content-Type": "application/json"}, body)


class Faults:
    """Which calls have which fault. Those for the next calls come before those for a share of them.

    Args:
        seed: Decides which calls a share falls on: the same ones in each run.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)  # noqa: S311 - nothing secret hangs on it
        self._next: list[tuple[str, Fault]] = []
        self._shares: list[tuple[str, float, Fault]] = []

    def next(self, fault: Fault, times: int = 1, on: str | None = None) -> None:
        """Let the next `times` calls have this fault, after those that are to have one already.

        Args:
            fault: What goes wrong.
            times: How many calls have it.
            on: Only calls count whose path and query have this in them; None: each call.
        """
        self._next.extend([(on or "", fault)] * times)

    def share(self, fault: Fault, share: float, on: str | None = None) -> None:
        """Let this share of all calls, 0 to 1, have this fault until `clear`. 1 means each call; `on` as in `next`."""
        self._shares.append((on or "", share, fault))

    def clear(self) -> None:
        """Let all calls go well from now on."""
        self._next.clear()
        self._shares.clear()

    def draw(self, path: str = "") -> Fault | None:
        """Return the fault of the call that has just arrived, if it is to have one. `path` is with its query."""
        for position, (on, fault) in enumerate(self._next):
            if on in path:
                del self._next[position]
                return fault
        for on, share, fault in self._shares:
            if on in path and self._random.random() < share:
                return fault
        return None
