"""What a run has shown: the ledger of the senders held against what the CRMs hold. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.load import Ledger

_NAMED = 5
"""How many leads of a kind are named."""


@dataclass
class Result:
    """One run."""

    seed: int
    store: str
    """Where its store was."""
    seconds: float = 0.0
    kills: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    cuts: int = 0
    """Connections cut in the middle."""
    faults: int = 0
    """Calls that the CRMs failed."""
    sent: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    """Requests that got no whole answer, so that the sender had to come again without knowing."""
    delivered: int = 0
    lost: int = 0
    doubled: int = 0
    findings: list[str] = field(default_factory=list)
    """What must not be; a good run has none."""


def judge(result: Result, ledger: Ledger, held: Mapping[str, Counter[int]], states: Mapping[str, int]) -> None:
    """Compare what was acknowledged with what each CRM holds, and add what is wrong to the result.

    Args:
        result: Gets the numbers and the findings.
        ledger: Of the senders.
        held: By CRM, how many records of each lead it holds.
        states: How many deliveries the store says are in which state.
    """
    result.sent, result.acknowledged = len(ledger.sent), len(ledger.acknowledged)
    result.unanswered = ledger.answers["none"]
    result.delivered = sum(map(len, held.values()))
    for crm, records in held.items():
        lost = ledger.acknowledged - records.keys()
        doubled = {number for number, count in records.items() if count > 1}
        strange = records.keys() - ledger.sent
        result.lost += len(lost)
        result.doubled += len(doubled)
        for what, numbers in (("lost", lost), ("doubled", doubled), ("never sent", strange)):
            if numbers:
                result.findings.append(f"{crm}: {len(numbers)} {what}: {_some(sorted(numbers))}")
    if states.keys() - {"delivered"}:
        result.findings.append(f"deliveries that are not delivered: {dict(states)}")
    if ledger.wrong:
        result.findings.append(f"{len(ledger.wrong)} answers outside the contract, such as {ledger.wrong[0]}")


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:_NAMED])) + (", ..." if len(numbers) > _NAMED else "")
