"""Masking of secrets in texts that people read. Pure."""

import json
import re
from collections import deque
from urllib.parse import quote, quote_plus

MASK = "***"
"""What stands in place of a secret."""

_PASSING_KEPT = 4  # access tokens: the current one, and those that calls still under way were made with


class Secrets:
    """Masks secrets in what somebody else wrote, such as an error page that repeats the request's headers.

    Args:
        secrets: Those that stay the same as long as the destination lives.
    """

    def __init__(self, *secrets: str) -> None:
        self._lasting = {secret for secret in secrets if secret}
        self._passing: deque[str] = deque(maxlen=_PASSING_KEPT)
        self._pattern = self._compiled()

    def add_passing(self, secret: str) -> None:
        """Mask an access token from now on. The last few are kept in mind, for each is soon followed by another."""
        if secret not in self._passing:
            self._passing.append(secret)
            self._pattern = self._compiled()

    def mask(self, text: str) -> str:
        """Give the text with `MASK` in place of every secret, also where it is escaped for JSON or for a URL."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def _compiled(self) -> re.Pattern[str] | None:
        spellings = {form for each in (*self._lasting, *self._passing) for form in _spellings(each)}
        # The longest first, so that a secret that begins like another one is masked to its end.
        return re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True)))) if spellings else None

    def __repr__(self) -> str:
        """Show none of them."""
        return f"Secrets({MASK})"


def _spellings(secret: str) -> set[str]:
    quoted = quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], *quoted}
