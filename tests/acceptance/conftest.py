"""Which of these tests have the machine to themselves: those that fill it, or hold the program to times."""

from typing import Final

import pytest

ALONE: Final = {
    "test_back_pressure.py",
    "test_chaos_short.py",
    "test_database_away.py",
    "test_latency.py",
    "test_many_chatbots.py",
    "test_many_processes.py",
    "test_processes_killed.py",
    "test_slow_clients.py",
}
"""The others mostly wait, three at a time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, for `-m alone` and `-m "not alone"`."""
    for item in items:
        if item.path.name in ALONE:
            item.add_marker(pytest.mark.alone)
