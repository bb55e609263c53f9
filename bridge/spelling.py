"""Suggestions for names that were likely mistyped. Pure."""

import difflib
from collections.abc import Iterable

_NEAR = 0.6  # difflib's own default: one slip in a short word, two or three in a long one


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give ` (did you mean `x`?)` for the known name that is nearest, upper and lower case alike, or nothing."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold()[:100], by_folded, n=1, cutoff=_NEAR)
    return f" (did you mean `{by_folded[near[0]]}`?)" if near else ""
