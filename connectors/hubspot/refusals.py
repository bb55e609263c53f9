"""Whether a 400 that names no category is the trouble of a record or of the whole destination. Pure.

HubSpot gives a category to whatever it has against a record (page on error handling). A 400 without one comes from
something that did not even read the record: JSON of a form that it does not take, or a firewall with a page for people.
Such an answer is the same for each record if the fault lies in the connector, its settings or the way to HubSpot, and
for one record only if something in it sets off a filter. Only other records can tell.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from connectors.answers import Answer
from connectors.base import Blame, Rejected, Retry
from connectors.hubspot.problems import Problem, outcome_of

_BAD_REQUEST = 400
_REFUSALS = (_BAD_REQUEST, 409)
_ENOUGH = 2
_MOST = 10_000
_HELD = "it names no category, so it may be the same for all: look at base_url, api_version and proxies on the way"


class Refusals:
    """Judges the refusals of one kind of call, with what has been seen of others.

    A batch that is refused so is split by the lane until its records stand alone. A record that is refused alone is
    tried again and holds the destination, which pauses and is reported; the lane then tries other records too. If one
    of those is understood meanwhile and this one is refused once more, it is the record's trouble, and it is dead. So a
    fault of all kills nobody, and a fault of one delays the others by a pause. A record that is alone in the queue is
    held in nobody's way, until another one comes or somebody acts. A restart forgets, and begins anew.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._understood = 0
        self._refused: dict[str, int] = {}
        self._in_a_row = 0

    def understood(self) -> None:
        """Note an answer that shows that such calls are read."""
        self._understood += 1
        self._in_a_row = 0

    def outcome(self, answer: Answer, problem: Problem, records: Sequence[str]) -> Retry | Rejected:
        """Say what an answer other than success means for the records of the call, given by their ids."""
        outcome = outcome_of(answer, problem, self._now())
        if answer.status not in _REFUSALS or isinstance(outcome, Retry):
            return outcome
        if answer.status != _BAD_REQUEST or problem.category or problem.refused:
            self.understood()
            return outcome
        held = Retry(outcome.reason, f"{outcome.detail}; {_HELD}", Blame.DESTINATION, None, answer.status)
        if len(records) > 1:
            # Splitting would only ask the same once more for each record.
            return held if self._in_a_row >= _ENOUGH else outcome
        (record,) = records
        before = self._refused.pop(record, None)
        if before is not None and before < self._understood:
            return replace(outcome, blame=Blame.RECORD)
        self._refused[record] = self._understood
        if len(self._refused) > _MOST:
            del self._refused[next(iter(self._refused))]
        self._in_a_row += 1
        return held
