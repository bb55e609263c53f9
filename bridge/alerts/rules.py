"""Rules: the conditions that need a person, found in the state of a bridge. Pure.

Texts contain only names of the configuration, numbers, times and fixed reasons. Texts of a destination or an operator
may contain personal data, and an alert passes through other people's servers.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bridge.alerts.notifier import GROWN, Condition, ConditionKey
from bridge.event import timestamp
from bridge.ingress.signature import SignatureFault
from bridge.operations.acknowledgement import ProblemList
from bridge.operations.problems import Problem, ProblemKind
from bridge.store.figures import NEWEST
from bridge.store.interface import Pause
from connectors.base import Quota, Reason

REFUSALS_LIMIT = 5
"""Number of refused requests of one chatbot within `REFUSALS_SECONDS` that is reported. A lead is sent three times."""
REFUSALS_SECONDS = 600.0
QUOTA_LEFT = 10
"""A quota is nearly used up at this fraction of it (1 / QUOTA_LEFT), or at the reserve if that is more."""
LONG_QUOTA_SECONDS = 60.0
"""Quotas that are renewed within this time are not reported, since they are used up all the time."""

NAMES_LIMIT = 10
"""Maximum number of names in one message."""
SPOOL_NEARLY_FULL = 0.9
"""Fraction of the spool's limit from which it is reported again without waiting."""


class Rule(StrEnum):
    """Rules, each with the word that identifies its conditions."""

    CONFIGURATION = "configuration"
    DEAD = "dead"
    FAILING = "failing"
    FAULTY = "faulty"
    KEYS = "keys"
    MOVED = "moved"
    OLDEST = "oldest"
    PAUSED = "paused"
    QUOTA = "quota"
    REFUSED = "refused"
    SPOOL = "spool"
    STORE = "store"
    UNRECOGNISED = "unrecognised"
    WARNED = "warned"


_OF_ALL = {ProblemKind.UNRECOGNISED, ProblemKind.QUARANTINE, ProblemKind.WARNED}
_OF_THE_STORE = {Rule.DEAD, Rule.UNRECOGNISED, Rule.KEYS, Rule.OLDEST, Rule.WARNED}
_OF_DESTINATIONS = {Rule.DEAD, Rule.OLDEST, Rule.PAUSED, Rule.QUOTA}

_GROUP_PATIENCE = 30.0  # seconds: dead letters that follow each other share a message
_PAUSE_PATIENCE = 120.0  # seconds: many pauses end by themselves
_BACKLOG_PATIENCE = 60.0  # seconds: a replayed lead of last week is old at once, and delivered soon
_STORE_PATIENCE = 30.0  # seconds: a failover

_PAUSE_REASONS: Mapping[str, str] = {
    Reason.BAD_ANSWER: "its answers cannot be understood",
    Reason.CONNECTOR_ERROR: "its connector fails; see the log",
    Reason.FORBIDDEN: "its credentials do not allow what is needed; give the account or app the right",
    Reason.GONE: "its address has been retired; correct it",
    Reason.NOT_FOUND: "its address does not exist; correct it",
    Reason.RATE_LIMITED: "it takes no more requests for now, or its quota is used up",
    Reason.REDIRECT: "it points to another address; correct it",
    Reason.SERVER_ERROR: "it fails (5xx)",
    Reason.TIMEOUT: "it does not answer in time",
    Reason.UNAUTHORIZED: "it refuses the credentials; put valid ones in the configuration",
    Reason.UNREACHABLE: "it cannot be reached",
}
_PERMANENT = {Reason.FORBIDDEN, Reason.GONE, Reason.NOT_FOUND, Reason.REDIRECT, Reason.UNAUTHORIZED}
"""Reasons for a pause that only a person can end."""
_SIGNATURE_FAULTS: Mapping[str, str] = {
    SignatureFault.MISMATCH: "a wrong signature: was the Sign Key changed?",
    SignatureFault.STALE: "too old or too new: is a clock wrong?",
    SignatureFault.MISSING: "no signature: is a Sign Key set at the sender?",
    SignatureFault.MALFORMED: "no readable signature: does a proxy change the header?",
}


@dataclass(frozen=True, slots=True)
class SpoolState:
    """State of the spool while the database cannot be reached."""

    size: int
    """Number of payload bytes."""
    limit: int
    """Maximum number of payload bytes; beyond it events are answered 503."""
    refusing: str | None = None
    """Reason why events are answered 503 already, if they are."""


@dataclass(frozen=True, slots=True)
class BridgeState:
    """State of a bridge at a moment."""

    stored: ProblemList | None
    """Problems of the store; None if it could not be read."""
    store_commits: bool
    pauses: Mapping[str, Pause]
    """Pauses of the lanes that this process works, by destination."""
    quotas: Mapping[str, Sequence[Quota]]
    """Quotas of the destinations whose lanes this process works, by destination."""
    refusals: Sequence[tuple[str, str]] = ()
    """Chatbot and fault of each request that was refused within the last `REFUSALS_SECONDS`."""
    faults: Sequence[str] = ()
    """Names of the files of the configuration that have errors."""
    failing: frozenset[str] = frozenset()
    """Destinations whose lanes fail repeatedly in this process and run in no other one."""
    moved: Sequence[str] = ()
    """Open files of this process whose paths are now other files or missing."""
    faulty: Sequence[str] = ()
    """Names of background tasks that failed recently."""
    spooled: SpoolState | None = None
    """State of this process's spool; None if it is empty or there is none."""
    spools: bool = False
    """True if there is a spool, so that a store that cannot commit does not refuse events yet."""
    here: frozenset[str] = field(default=frozenset())
    """Destinations whose lanes this process works; other processes report about the others."""
    whole: bool = True
    """True if this process reports conditions that belong to no destination."""


def find_conditions(state: BridgeState, now: float) -> list[Condition]:
    """Return the current conditions."""
    found = [*_bridge(state), *_lanes(state, now), *_quotas(state, now), *_refused(state.refusals)]
    return found + (_stored(state.stored.open, state, now) if state.stored else [])


def _stored(problems: Sequence[Problem], state: BridgeState, now: float) -> list[Condition]:
    """Return the conditions of the problems that the store shows and this process reports."""
    of_kind: dict[str, list[Problem]] = {}
    for each in problems:
        if state.whole if each.kind in _OF_ALL else each.destination in state.here:
            of_kind.setdefault(each.kind, []).append(each)
    found = [*_dead(of_kind.get(ProblemKind.DEAD, ())), *_warned(of_kind.get(ProblemKind.WARNED, ()))]
    found += map(_unrecognised, of_kind.get(ProblemKind.UNRECOGNISED, ()))
    for each in of_kind.get(ProblemKind.QUARANTINE, ()):
        found += _unproved(each) if each.is_unproved else ()
    return found + [_old(each, now) for each in of_kind.get(ProblemKind.WAITING, ())]


def unobserved_keys(known: Sequence[ConditionKey], state: BridgeState, now: float) -> frozenset[ConditionKey]:
    """Return the known conditions whose presence could not be observed."""
    observed = {(name, quota.name) for name, quotas in state.quotas.items() for quota in quotas if quota.until > now}
    acknowledged = [problem for problem, _ in state.stored.acknowledged] if state.stored else []
    quiet = {each.key for each in _stored(acknowledged, state, now)}
    return frozenset(
        key
        for key in known
        if key in quiet
        or (key.rule in _OF_THE_STORE and state.stored is None)
        or (key.rule == Rule.QUOTA and tuple(key.name.split(" ", 1)) not in observed)
    )


def is_elsewhere(key: ConditionKey, state: BridgeState) -> bool:
    """Return True if another process now reports this condition."""
    if key.rule in {Rule.UNRECOGNISED, Rule.KEYS, Rule.WARNED}:
        return not state.whole
    return key.rule in _OF_DESTINATIONS and key.name.split(" ", 1)[0] not in state.here


def _bridge(state: BridgeState) -> Iterator[Condition]:
    if not state.store_commits:
        refused = "events are answered 503, and their sender tries for some four minutes only"
        kept = "events are kept on this machine meanwhile (store.spool), and nothing is delivered"
        detail = f"{kept if state.spools else refused}; see the disk's free space or the database server, and the log"
        yield Condition(ConditionKey(Rule.STORE), "the store cannot commit", detail, patience=_STORE_PATIENCE)
    for name in state.moved:
        detail = (
            "events are answered 503; it was renamed, removed or replaced. Put the very same file back under its name, "
            "with the -wal file beside it; killed before that, the bridge may lose leads that it has acknowledged"
        )
        yield Condition(ConditionKey(Rule.MOVED, name), f"{name}: the store's file is not in its place", detail)
    for name in state.faulty:
        detail = "it failed and was begun again; see the log, and report the fault"
        yield Condition(ConditionKey(Rule.FAULTY, name), f"{name}: a background task fails", detail)
    if state.spooled:
        yield _spool(state.spooled)
    if state.faults:
        detail = (
            f"{_names(state.faults)}: the last good text of each file is in use, and a file without one is left out; "
            "run `leadbridge check`"
        )
        yield Condition(
            ConditionKey(Rule.CONFIGURATION), "files of the configuration have errors", detail, len(state.faults)
        )


def _spool(spooled: SpoolState) -> Condition:
    if spooled.refusing:
        refused = (
            f"events are answered 503, and their sender tries for some four minutes only: {spooled.refusing}. Make "
            "room on the disk of store.spool, and see the database server: once that is back, what waits is moved "
            "(which needs no room here), and events are taken again"
        )
        return Condition(ConditionKey(Rule.SPOOL), "the spool takes no more", refused, size=GROWN)
    share = spooled.size / spooled.limit
    then = "nearly full: beyond it events are answered 503, and lost after some four minutes"
    detail = (
        f"{_size(spooled.size)} of {_size(spooled.limit)} wait on this machine (store.spool_limit), "
        f"{then if share >= SPOOL_NEARLY_FULL else 'and nothing is lost until it is full'}; see the database server "
        "and the network to it. They are moved over when it is back; keep this machine's spool until then"
    )
    grown = GROWN if share >= SPOOL_NEARLY_FULL else 1
    return Condition(ConditionKey(Rule.SPOOL), "the spool is in use", detail, size=grown, patience=_STORE_PATIENCE)


def _dead(problems: Sequence[Problem]) -> Iterator[Condition]:
    for name in dict.fromkeys(each.destination or "" for each in problems):
        of_it = sorted((each for each in problems if each.destination == name), key=lambda each: -each.count)
        count = sum(each.count for each in of_it)
        reasons = ", ".join(f"{each.count} {each.reason}" for each in of_it)
        detail = (
            f"{count:,} ({reasons}); see `leadbridge deliveries list --state dead --destination {name}`, fix the "
            "cause, then `leadbridge deliveries replay`"
        )
        key, news_at = ConditionKey(Rule.DEAD, name), max(each.latest_at or 0.0 for each in of_it)
        yield Condition(key, f"{name}: dead letters", detail, count, _GROUP_PATIENCE, news_at)


def _unrecognised(problem: Problem) -> Condition:
    detail = (
        f"{_many(problem.count)}, authentic, but of an unknown chatbot or shape; see `leadbridge events list "
        "--state unrecognised`, fix the configuration, then `leadbridge deliveries replay`"
    )
    key, subject = ConditionKey(Rule.UNRECOGNISED), "events that were not recognised"
    return Condition(key, subject, detail, problem.count, _GROUP_PATIENCE, problem.latest_at)


def _warned(warned: Sequence[Problem]) -> Iterator[Condition]:
    """Yield one condition for the warnings of all destinations."""
    if not warned:
        return
    count = sum(each.count for each in warned)
    by_count = sorted(warned, key=lambda each: -each.count)
    detail = (
        f"{_many(count)} in the last 24 h ({_names([f'{each.count:,} to {each.destination}' for each in by_count])}); "
        "see `leadbridge deliveries list --warning`, and the warning of one in `leadbridge deliveries show`, then "
        "correct the mapping or the destination"
    )
    key, subject = ConditionKey(Rule.WARNED), "leads delivered with a warning"
    news_at = max(each.latest_at or 0.0 for each in warned)
    yield Condition(key, subject, detail, count, _GROUP_PATIENCE, news_at)


def _unproved(problem: Problem) -> Iterator[Condition]:
    """Yield chatbots whose leads are refused and whose keys have never verified a request."""
    for chatbot in problem.chatbots:
        detail = (
            f"{problem.count:,} in quarantine, and no signature has held yet under these signing_keys. Compare them "
            "with the Sign Key at AI Agent, correct them, then run `leadbridge quarantine release`; if they are right "
            "and these requests are a stranger's, run `leadbridge quarantine discard`"
        )
        subject = f"{chatbot}: its signing key may be mistyped"
        yield Condition(ConditionKey(Rule.KEYS, chatbot), subject, detail, problem.count, news_at=problem.latest_at)


def _old(problem: Problem, now: float) -> Condition:
    name, since = problem.destination or "", problem.first_at or now
    detail = (
        f"the oldest of {problem.count:,} has waited for {int((now - since) // 60):,} min, since {timestamp(since)}; "
        "see `leadbridge lanes list`"
    )
    return Condition(
        ConditionKey(Rule.OLDEST, name), f"{name}: a lead waits too long", detail, patience=_BACKLOG_PATIENCE
    )


def _lanes(state: BridgeState, now: float) -> Iterator[Condition]:
    for name in sorted(state.failing):
        detail = (
            "it stops with a fault of Leadbridge each time that it begins, and nothing is delivered; nothing is lost, "
            "its leads wait. See lane_fault in the log and report it; a restart may help"
        )
        yield Condition(ConditionKey(Rule.FAILING, name), f"{name}: the lane fails", detail)
    for name, pause in state.pauses.items():
        if pause.by != "lane":
            # An operator paused it and knows; a lead that waits too long is reported.
            continue
        again = f"; it tries again at {timestamp(pause.until)}" if pause.until and pause.until > now else ""
        why = _PAUSE_REASONS.get(pause.reason, pause.reason)
        detail = f"{why}; nothing is lost, its leads wait{again}"
        patience = 0.0 if pause.reason in _PERMANENT else _PAUSE_PATIENCE
        yield Condition(ConditionKey(Rule.PAUSED, name), f"{name}: the lane has paused", detail, patience=patience)


def _quotas(state: BridgeState, now: float) -> Iterator[Condition]:
    for name, quotas in state.quotas.items():
        for quota in quotas:
            nearly = max(quota.reserve, quota.limit // QUOTA_LEFT)
            if quota.remaining > nearly or quota.until - now <= LONG_QUOTA_SECONDS:
                continue
            detail = f"{quota.remaining:,} of {quota.limit:,} calls are left; retries wait so that new leads can go"
            key = ConditionKey(Rule.QUOTA, f"{name} {quota.name}")
            yield Condition(key, f"{name}: the quota ({quota.name}) is nearly used", detail)


def _refused(refusals: Sequence[tuple[str, str]]) -> Iterator[Condition]:
    for chatbot, count in Counter(chatbot for chatbot, _ in refusals).items():
        if count < REFUSALS_LIMIT:
            continue
        fault = Counter(each for name, each in refusals if name == chatbot).most_common(1)[0][0]
        detail = (
            f"{count:,} within {REFUSALS_SECONDS / 60:g} min, most of them with {_SIGNATURE_FAULTS.get(fault, fault)} "
            "Correct it, then see `leadbridge quarantine list` and `leadbridge quarantine release`"
        )
        yield Condition(ConditionKey(Rule.REFUSED, chatbot), f"{chatbot}: requests are refused", detail, count)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_LIMIT])
    return shown if len(names) <= NAMES_LIMIT else f"{shown} and {len(names) - NAMES_LIMIT} more"


def _size(count: int) -> str:
    return f"{count / 1024**2:,.1f} MiB" if count >= 1024**2 else f"{count / 1024:,.1f} KiB"


def _many(count: int) -> str:
    return f"{count:,} or more" if count >= NEWEST else f"{count:,}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
