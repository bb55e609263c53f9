"""Masking of secrets in texts that people read. Pure."""

import json
import re
from collections import deque
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "***"
"""Replacement for a secret."""

_PASSING_KEPT = 4  # access tokens: the current one, and those of calls still under way
_SENSITIVE = re.compile(r"auth|cookie|credential|key|pass|secret|session|signature|token", re.IGNORECASE)


@lru_cache(maxsize=1_024)
def is_sensitive(name: str) -> bool:
    """Return True if a header or a parameter of this name probably holds a secret."""
    return _SENSITIVE.search(name) is not None


class Secrets:
    """Secrets to mask in texts of others, such as an error page that repeats the request's headers.

    Args:
        secrets: Secrets that stay the same for the lifetime of the destination.
    """

    def __init__(self, *secrets: str) -> None:
        self._lasting = {secret for secret in secrets if secret}
        self._passing: deque[str] = deque(maxlen=_PASSING_KEPT)
        self._spellings = self._sorted_spellings()

    def add_passing(self, secret: str) -> None:
        """Mask an access token from now on. Only the last few are remembered, because they are replaced often."""
        if secret not in self._passing:
            self._passing.append(secret)
            self._spellings = self._sorted_spellings()

    def mask(self, text: str) -> str:
        """Return the text with `MASK` in place of every secret, including secrets escaped for JSON or a URL."""
        for spelling in self._spellings:
            text = text.replace(spelling, MASK)
        return text

    def _sorted_spellings(self) -> list[str]:
        spellings = {form for each in (*self._lasting, *self._passing) for form in _spellings(each)}
        # The longest first: a secret that begins like another one is then masked to its end.
        return sorted(spellings, key=len, reverse=True)

    def __repr__(self) -> str:
        """Return a text that shows no secret."""
        return f"Secrets({MASK})"


def _spellings(secret: str) -> set[str]:
    quoted = quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], *quoted}
