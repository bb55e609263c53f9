"""The simulation runs, and shows what the program promises. docs/internals/measurements.md has a large run."""

import dataclasses

import pytest

from bridge.delivery.supervisor import LEASE_SECONDS, RENEW_SECONDS, TICK_SECONDS
from tests.simulation.run import run
from tests.simulation.world import Scenario, arrivals, cumulated

SMALL = Scenario(2_000, 5, leads_per_day=200.0, leads=1_500, least=0.0, away_share=0.1, away=20.0)


def test_everything_arrives_and_a_dead_process_is_followed_in_time() -> None:
    outcome = run(SMALL)
    assert outcome.leads > 1_000
    assert outcome.undisturbed.count + outcome.taken_over.count + outcome.away.count == outcome.leads
    assert 0.1 < outcome.undisturbed.median < 1.0
    assert outcome.taken_over.count
    assert outcome.away.count
    assert LEASE_SECONDS - RENEW_SECONDS < outcome.ownerless <= LEASE_SECONDS + TICK_SECONDS
    assert outcome.largest_share - outcome.smallest_share <= 1
    assert outcome.busiest < 0.1


@pytest.mark.thorough
def test_the_same_scenario_gives_the_same_outcome() -> None:
    outcomes = [dataclasses.replace(run(SMALL), wall=0.0) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    assert dataclasses.replace(run(dataclasses.replace(SMALL, seed=2)), wall=0.0) != outcomes[0]


def test_leads_are_spread_by_zipfs_law() -> None:
    sizes = cumulated(100, 1.0)
    found = [0] * 100
    for lead in arrivals(dataclasses.replace(SMALL, chatbots=1_000, leads=20_000)):
        found[lead.destination] += 1
    assert abs(found[0] / sum(found) - 1 / sizes[-1]) < 0.01
    assert abs(found[1] / found[0] - 0.5) < 0.05
