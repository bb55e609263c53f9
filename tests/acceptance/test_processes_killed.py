"""Three processes on one PostgreSQL, one of them killed every ten seconds under load: nothing lost, nothing doubled.

`LEADBRIDGE_KILLED=120` lets the load last for two minutes, at 500 leads per second; with `-s` it shows its figures.
"""

import dataclasses
import itertools
import os
from pathlib import Path

import pytest
import uvloop

from tests.chaos.keyed import Arrived
from tests.chaos.load import Ledger
from tests.chaos.ownership import Gaps
from tests.chaos.several import LANES, LIMITS, Result, destination_of, judge, most_in_a_window, run

SECONDS = float(os.environ.get("LEADBRIDGE_KILLED", "20"))
RATE = 500 if "LEADBRIDGE_KILLED" in os.environ else 200
EVERY = 10.0
OWNERLESS_SECONDS = 10.0

pytestmark = [pytest.mark.alone, pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")]


def test_nothing_is_lost_or_doubled_no_lane_is_left_and_no_limit_exceeded(tmp_path: Path) -> None:
    from tests.postgresql import database

    with database(migrated=False) as url:
        result = uvloop.run(run(tmp_path, url, seconds=SECONDS, rate=RATE, every=EVERY))
    print(f"{dataclasses.asdict(result)}, {result.rate:.0f} per second")
    assert not result.faults
    assert result.kills >= SECONDS // EVERY
    assert result.rate > 0.95 * RATE
    assert (result.lost, result.doubled, result.disorder) == (0, 0, 0)
    assert max(result.gaps.values()) <= OWNERLESS_SECONDS
    assert result.samples > SECONDS / EVERY
    assert all(result.windows[name] <= requests for name, (requests, _) in LIMITS.items())


def test_the_verdict_finds_what_is_wrong() -> None:
    contact = next(each for each in itertools.count() if destination_of(each) == "north")
    ledger = Ledger(sent={1, 2, 3}, acknowledged={1, 2, 3})
    whose = dict.fromkeys(ledger.sent, contact)
    arrived: dict[str, list[Arrived]] = {name: [] for name in LANES}
    good = [Arrived(1, "a", 0.0, written=False), Arrived(1, "a", 1.0, written=True), Arrived(2, "b", 2.0, written=True)]
    judged = Result()
    judge(judged, ledger, whose, {**arrived, "north": [*good, Arrived(3, "c", 3.0, written=True)]})
    assert (judged.lost, judged.doubled, judged.disorder) == (0, 0, 0)

    for bad, expected in (
        ([*good, Arrived(3, "c", 3.0, written=False)], (1, 0, 0)),
        ([*good, Arrived(3, "c", 3.0, written=True), Arrived(2, "d", 4.0, written=True)], (0, 1, 0)),
        ([Arrived(3, "c", 0.0, written=True), *good], (0, 0, 2)),
    ):
        judged = Result()
        judge(judged, ledger, whose, {**arrived, "north": bad})
        assert (judged.lost, judged.doubled, judged.disorder) == expected


def test_the_fullest_window_is_found() -> None:
    assert most_in_a_window([], 1.0) == 0
    assert most_in_a_window([5.0, 0.0, 0.5, 1.0, 0.9], 1.0) == 3


def test_a_gap_lasts_from_the_last_owner_to_the_next() -> None:
    gaps = Gaps(["north", "south"], 0.0)
    gaps.note(1.0, ["north"])
    gaps.note(2.0, [])
    gaps.note(4.0, ["north", "south"])
    gaps.note(4.1, ["south"])
    assert gaps.longest == {"north": 3.0, "south": 4.0}
