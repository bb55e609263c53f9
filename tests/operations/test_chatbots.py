"""Chatbots that fell silent."""

import pytest

from bridge.operations.chatbots import is_silent

WEEKDAYS = [day for day in range(30) if day % 7 < 5]


@pytest.mark.parametrize(
    ("days", "today", "silent"),
    [
        ([], 30, False),
        ([1, 2, 3, 4], 30, False),
        ([1, 2, 3, 4, 5], 7, False),
        ([1, 2, 3, 4, 5], 8, True),
        (WEEKDAYS, 34, False),
        (WEEKDAYS, 35, False),
        (WEEKDAYS, 36, True),
        ([0, 1, 12, 13, 14], 36, False),
        ([0, 1, 12, 13, 14], 37, True),
    ],
    ids=[
        "no lead",
        "too few days to know",
        "today is not over",
        "daily, then two days without",
        "the weekend",
        "twice a weekend",
        "more than twice a weekend",
        "a long pause is usual",
        "longer than twice the usual pause",
    ],
)
def test_a_chatbot_is_silent_after_more_than_twice_its_longest_pause(days: list[int], today: int, silent: bool) -> None:
    assert is_silent(days, today) is silent
