"""What a simulation runs: leads of many chatbots, the CRMs that they go to, and how often what goes wrong. Seeded."""

import bisect
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One simulation. Times are in seconds."""

    chatbots: int
    processes: int
    chatbots_per_destination: int = 10
    leads_per_day: float = 5.0
    """Of a chatbot, on average."""
    peak: float = 4.0
    """How many times the day's average the simulated hour has."""
    exponent: float = 1.0
    """Of Zipf's law, by which the leads are spread over the destinations: the second has half of the first's."""
    again: float = 0.2
    """The share of leads whose contact is that of the destination's lead before: a person who asks twice."""
    leads: int = 20_000
    """The simulated time is as long as it takes for so many to come, but not less than `least`."""
    least: float = 300.0
    kills: int = 1
    """Processes that die in the middle, at once, and do not come back."""
    away_share: float = 0.02
    """The share of destinations that cannot be reached for `away` seconds, from a third of the time on."""
    away: float = 120.0
    seed: int = 1

    @property
    def destinations(self) -> int:
        """How many there are."""
        return max(1, self.chatbots // self.chatbots_per_destination)

    @property
    def rate(self) -> float:
        """Leads per second."""
        return self.chatbots * self.leads_per_day * self.peak / DAY

    @property
    def seconds(self) -> float:
        """How long leads come."""
        return max(self.least, self.leads / self.rate)

    @property
    def killed_at(self) -> float:
        """When the processes die."""
        return self.seconds / 2

    def is_away(self, destination: int, now: float) -> bool:
        """Tell whether a destination, by its place in the order of their sizes, cannot be reached."""
        began = self.seconds / 3
        chosen = self.away_share and destination % round(1 / self.away_share) == 7
        return bool(chosen) and began <= now < began + self.away


@dataclass(frozen=True, slots=True)
class Crm:
    """How a destination answers."""

    latency: float = 0.2
    """The median; the times are log-normal, as those of services on the net are."""
    spread: float = 0.8
    """The deviation of the logarithm: one in a hundred takes 6.4 times the median."""
    failing: float = 0.005
    """The share of calls that are answered with 500."""
    batch: int = 100
    requests: int = 100
    per: float = 10.0
    """HubSpot's limit, and its batches."""

    def delay(self, chance: random.Random) -> float:
        """Draw the time of one answer."""
        return self.latency * math.exp(chance.gauss(0.0, self.spread))


@dataclass(frozen=True, slots=True)
class Arrival:
    """A lead that a chatbot sends."""

    at: float
    number: int
    destination: int
    contact: int


def arrivals(scenario: Scenario) -> Iterator[Arrival]:
    """Give the leads in the order of their times: a Poisson process, each for a destination that Zipf's law draws."""
    chance = random.Random(scenario.seed)
    sizes = cumulated(scenario.destinations, scenario.exponent)
    newest: dict[int, int] = {}
    now = 0.0
    for number in itertools.count(1):
        now += chance.expovariate(scenario.rate)
        if now >= scenario.seconds:
            return
        destination = bisect.bisect_left(sizes, chance.random() * sizes[-1])
        contact = newest.get(destination, number) if chance.random() < scenario.again else number
        newest[destination] = contact
        yield Arrival(now, number, destination, contact)


def cumulated(count: int, exponent: float) -> Sequence[float]:
    """Give the sums of the first sizes of Zipf's law."""
    return list(itertools.accumulate(1.0 / rank**exponent for rank in range(1, count + 1)))
