"""The order of the acceptance tests. Tests marked `alone` fill the machine, or hold the program to times."""

import itertools
import os
from collections.abc import Iterator

import pytest

from tests import postgresql
from tests.browser.conftest import chromium
from tests.chaos.database import Database, database

__all__ = ["chromium"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have each process begin with its part of the tests marked `long`, which wait for most of their time.

    pytest-xdist's `worksteal` cuts the list into one part for each process. A process that is done takes from others.
    """
    alone = [item for item in items if item.get_closest_marker("alone")]
    long = [item for item in items if item.get_closest_marker("long")]
    short = [item for item in items if item not in alone and item not in long]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    cuts = [len(short) * number // workers for number in range(workers + 1)]
    parts = [long[number::workers] + short[cuts[number] : cuts[number + 1]] for number in range(workers)]
    items[:] = [*itertools.chain(*parts), *alone]


@pytest.fixture
def server() -> Iterator[Database]:
    """A server of this test's own, with a database that has no tables."""
    postgresql.create()  # skips or fails where there can be none
    with database() as made:
        yield made
