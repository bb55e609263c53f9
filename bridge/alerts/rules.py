"""Rules that find problems in the observed state of a bridge. Pure.

Texts contain only names of the configuration, numbers, times and fixed reasons. Texts of a destination or an operator
may contain personal data, and an alert passes through other people's servers.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.alerts.notifier import GROWN, Key, Trouble
from bridge.event import Room, timestamp
from bridge.ingress.signature import SignatureFault
from bridge.store.interface import Pause
from bridge.store.statistics import COUNT_LIMIT, AlertStatistics, Backlog, DeadLetters
from connectors.base import Quota, Reason

REFUSALS_LIMIT = 5
"""Number of refused requests of one chatbot within `REFUSALS_SECONDS` that is a problem. A lead is sent three times."""
REFUSALS_SECONDS = 600.0
QUOTA_LEFT = 10
"""A quota is nearly used up at this fraction of it (1 / QUOTA_LEFT), or at the reserve if that is more."""
LONG_QUOTA_SECONDS = 60.0
"""Quotas that are renewed within this time are not reported, since they are used up all the time."""

NAMES_LIMIT = 10
"""Maximum number of names in one message."""
SPOOL_NEARLY_FULL = 0.9
"""Fraction of the spool's limit from which it is reported again without waiting."""

(
    _DEAD,
    _UNRECOGNISED,
    _KEYS,
    _OLDEST,
    _PAUSED,
    _QUOTA,
    _REFUSED,
    _CONFIGURATION,
    _HELD,
    _LEFT_OUT,
    _STORE,
    _SPOOL,
    _FAILING,
) = (
    "dead",
    "unrecognised",
    "keys",
    "oldest",
    "paused",
    "quota",
    "refused",
    "configuration",
    "held",
    "left_out",
    "store",
    "spool",
    "failing",
)
_OF_THE_STORE = {_DEAD, _UNRECOGNISED, _KEYS, _OLDEST}
_OF_DESTINATIONS = {_DEAD, _OLDEST, _PAUSED, _QUOTA}

_MOVED, _UNPRUNED, _FAULTY = "moved", "unpruned", "faulty"

_TOGETHER = 30.0  # seconds: dead letters that come together are told together
_PASSING = 120.0  # seconds: what often passes by itself
_REPLAYED = 60.0  # seconds: a lead of last week that is replayed is old at once, and gone soon
_STORE_PATIENCE = 30.0  # seconds: a failover

_WHY: Mapping[str, str] = {
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
_AT_ONCE = {Reason.FORBIDDEN, Reason.GONE, Reason.NOT_FOUND, Reason.REDIRECT, Reason.UNAUTHORIZED}
"""Reasons for a pause that only a person can end."""
_FAULTS: Mapping[str, str] = {
    SignatureFault.MISMATCH: "a wrong signature: was the Sign Key changed?",
    SignatureFault.STALE: "too old or too new: is a clock wrong?",
    SignatureFault.MISSING: "no signature: is a Sign Key set at the sender?",
    SignatureFault.MALFORMED: "no readable signature: does a proxy change the header?",
}


@dataclass(frozen=True, slots=True)
class Spooled:
    """State of the spool while the database cannot be reached."""

    size: int
    """Number of payload bytes."""
    limit: int
    """Maximum number of payload bytes; beyond it events are answered 503."""
    refusing: str | None = None
    """Reason why events are answered 503 already, if they are."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Observed state of a bridge at a moment."""

    stored: AlertStatistics | None
    """None if the store could not be read."""
    store_commits: bool
    pauses: Mapping[str, Pause]
    """Pauses of the lanes that this process works, by destination."""
    quotas: Mapping[str, Sequence[Quota]]
    """Quotas of the destinations whose lanes this process works, by destination."""
    refusals: Sequence[tuple[str, str]] = ()
    """Chatbot and fault of each request that was refused within the last `REFUSALS_SECONDS`."""
    keys: Mapping[str, bytes] = field(default_factory=dict)
    """Fingerprints of the signing keys in the configuration, by chatbot."""
    problems: int = 0
    """Number of problems in the configuration on disk."""
    failing: frozenset[str] = frozenset()
    """Destinations whose lanes fail repeatedly in this process and run in no other one."""
    moved: Sequence[str] = ()
    """Open files of this process whose paths are now other files or missing."""
    unpruned: bool = False
    """True if nothing is pruned because the clock may be wrong."""
    faulty: Sequence[str] = ()
    """Names of background tasks that failed recently."""
    held: Sequence[str] = ()
    """Parts of the configuration whose change waits for a confirmation, such as `chatbots.acme`."""
    left_out: Sequence[str] = ()
    """Names of the files that are not in use because of their errors."""
    spooled: Spooled | None = None
    """State of this process's spool; None if it is empty or there is none."""
    spools: bool = False
    """True if there is a spool, so that a store that cannot commit does not refuse events yet."""
    here: frozenset[str] = field(default=frozenset())
    """Destinations whose lanes this process works; other processes report about the others."""
    whole: bool = True
    """True if this process reports problems that belong to no destination."""


def troubles(seen: Seen, now: float, oldest: float) -> list[Trouble]:
    """Return the current problems; `oldest` is the number of seconds that a lead may wait."""
    found = [*_bridge(seen), *_lanes(seen, now), *_quotas(seen, now), *_refused(seen.refusals)]
    if seen.stored:
        found += _dead(seen.stored.dead)
        found += _unrecognised(seen.stored)
        found += _unproved(seen.stored, seen.keys)
        found += (_old(each, now) for each in seen.stored.backlogs if now - each.oldest_at > oldest)
    return found


def unsure(known: Sequence[Key], seen: Seen, now: float) -> frozenset[Key]:
    """Return the known problems whose presence could not be observed."""
    told = {(name, quota.name) for name, quotas in seen.quotas.items() for quota in quotas if quota.until > now}
    return frozenset(
        key
        for key in known
        if (key.kind in _OF_THE_STORE and seen.stored is None)
        or (key.kind == _QUOTA and tuple(key.whom.split(" ", 1)) not in told)
    )


def is_elsewhere(key: Key, seen: Seen) -> bool:
    """Return True if another process now reports this problem."""
    if key.kind in {_UNRECOGNISED, _KEYS}:
        return not seen.whole
    return key.kind in _OF_DESTINATIONS and key.whom.split(" ", 1)[0] not in seen.here


def _bridge(seen: Seen) -> Iterator[Trouble]:
    if not seen.store_commits:
        refused = "events are answered 503, and their sender tries for some four minutes only"
        kept = "events are kept on this machine meanwhile (store.spool), and nothing is delivered"
        detail = f"{kept if seen.spools else refused}; see the disk's free space or the database server, and the log"
        yield Trouble(Key(_STORE), "the store cannot commit", detail, patience=_STORE_PATIENCE)
    for name in seen.moved:
        detail = (
            "events are answered 503; it was renamed, removed or replaced. Put the very same file back under its name, "
            "with the -wal file beside it; killed before that, the bridge may lose leads that it has acknowledged"
        )
        yield Trouble(Key(_MOVED, name), f"{name}: the store's file is not in its place", detail)
    if seen.unpruned:
        detail = (
            "the clock is far beyond the newest event, so nothing is deleted for a day of running time; if the clock "
            "is wrong, correct it before that"
        )
        yield Trouble(Key(_UNPRUNED), "pruning is held back", detail)
    for name in seen.faulty:
        detail = "it failed and was begun again; see the log, and report the fault"
        yield Trouble(Key(_FAULTY, name), f"{name}: a background task fails", detail)
    if seen.spooled:
        yield _spool(seen.spooled)
    if seen.problems:
        detail = (
            f"{seen.problems} problem{_s(seen.problems)}; the files that have some are in use as they were before; "
            "run `leadbridge check`"
        )
        yield Trouble(Key(_CONFIGURATION), "the configuration on disk is broken", detail)
    if seen.held:
        detail = (
            f"{_names(seen.held)}; the files stay in use as they were. If the change is meant, send SIGHUP to the "
            "process; if not, put the files back"
        )
        yield Trouble(Key(_HELD), "a change of the configuration is held", detail, len(seen.held))
    if seen.left_out:
        detail = (
            f"{_names(seen.left_out)}: their chatbots are not served, and their events are kept; run `leadbridge "
            "check`, fix the files, then `leadbridge deliveries replay` and `leadbridge quarantine release`"
        )
        yield Trouble(Key(_LEFT_OUT), "files of the configuration are left out", detail, len(seen.left_out))


def _spool(spooled: Spooled) -> Trouble:
    if spooled.refusing:
        refused = (
            f"events are answered 503, and their sender tries for some four minutes only: {spooled.refusing}. Make "
            "room on the disk of store.spool, and see the database server: once that is back, what waits is moved "
            "(which needs no room here), and events are taken again"
        )
        return Trouble(Key(_SPOOL), "the spool takes no more", refused, size=GROWN)
    share = spooled.size / spooled.limit
    then = "nearly full: beyond it events are answered 503, and lost after some four minutes"
    detail = (
        f"{_size(spooled.size)} of {_size(spooled.limit)} wait on this machine (store.spool_limit), "
        f"{then if share >= SPOOL_NEARLY_FULL else 'and nothing is lost until it is full'}; see the database server "
        "and the network to it. They are moved over when it is back; keep this machine's spool until then"
    )
    grown = GROWN if share >= SPOOL_NEARLY_FULL else 1
    return Trouble(Key(_SPOOL), "the spool is in use", detail, size=grown, patience=_STORE_PATIENCE)


def _dead(dead: Sequence[DeadLetters]) -> Iterator[Trouble]:
    for name in dict.fromkeys(each.destination for each in dead):
        of_it = sorted((each for each in dead if each.destination == name), key=lambda each: -each.count)
        count = sum(each.count for each in of_it)
        reasons = ", ".join(f"{each.count} {each.reason}" for each in of_it)
        detail = (
            f"{_many(count)} ({reasons}); see `leadbridge deliveries list --state dead --destination {name}`, fix the "
            "cause, then `leadbridge deliveries replay`"
        )
        news_at = max(each.latest_at for each in of_it)
        yield Trouble(Key(_DEAD, name), f"{name}: dead letters", detail, count, _TOGETHER, news_at)


def _unrecognised(stored: AlertStatistics) -> Iterator[Trouble]:
    if not stored.unrecognised:
        return
    detail = (
        f"{_many(stored.unrecognised)}, authentic, but of an unknown chatbot or shape; see `leadbridge events list "
        "--state unrecognised`, fix the configuration, then `leadbridge deliveries replay`"
    )
    yield Trouble(
        Key(_UNRECOGNISED),
        "events that were not recognised",
        detail,
        stored.unrecognised,
        _TOGETHER,
        stored.unrecognised_at,
    )


def _unproved(stored: AlertStatistics, keys: Mapping[str, bytes]) -> Iterator[Trouble]:
    """Yield chatbots whose leads are refused and whose keys have never verified a request."""
    for each in stored.quarantined:
        if each.room is not Room.MISMATCH or stored.proven_keys.get(each.chatbot) == keys.get(each.chatbot):
            continue
        detail = (
            f"{each.count:,} in quarantine, and no signature has held yet under these signing_keys. Compare them with "
            "the Sign Key at AI Agent, correct them, then run `leadbridge quarantine release`; if they are right and "
            "these requests are a stranger's, run `leadbridge quarantine discard`"
        )
        subject = f"{each.chatbot}: its signing key may be mistyped"
        yield Trouble(Key(_KEYS, each.chatbot), subject, detail, each.count, news_at=each.latest_at)


def _old(backlog: Backlog, now: float) -> Trouble:
    name = backlog.destination
    minutes = int((now - backlog.oldest_at) // 60)
    detail = (
        f"the oldest of {_many(backlog.count)} has waited for {minutes:,} min, since {timestamp(backlog.oldest_at)}; "
        "see `leadbridge lanes list`"
    )
    return Trouble(Key(_OLDEST, name), f"{name}: a lead waits too long", detail, patience=_REPLAYED)


def _lanes(seen: Seen, now: float) -> Iterator[Trouble]:
    for name in sorted(seen.failing):
        detail = (
            "it stops with a fault of Leadbridge each time that it begins, and nothing is delivered; nothing is lost, "
            "its leads wait. See lane_fault in the log and report it; a restart may help"
        )
        yield Trouble(Key(_FAILING, name), f"{name}: the lane fails", detail)
    for name, pause in seen.pauses.items():
        if pause.by != "lane":
            # An operator paused it and knows; a lead that waits too long is reported.
            continue
        again = f"; it tries again at {timestamp(pause.until)}" if pause.until and pause.until > now else ""
        why = _WHY.get(pause.reason, pause.reason)
        detail = f"{why}; nothing is lost, its leads wait{again}"
        patience = 0.0 if pause.reason in _AT_ONCE else _PASSING
        yield Trouble(Key(_PAUSED, name), f"{name}: the lane has paused", detail, patience=patience)


def _quotas(seen: Seen, now: float) -> Iterator[Trouble]:
    for name, quotas in seen.quotas.items():
        for quota in quotas:
            nearly = max(quota.reserve, quota.limit // QUOTA_LEFT)
            if quota.remaining > nearly or quota.until - now <= LONG_QUOTA_SECONDS:
                continue
            detail = f"{quota.remaining:,} of {quota.limit:,} calls are left; retries wait so that new leads can go"
            key = Key(_QUOTA, f"{name} {quota.name}")
            yield Trouble(key, f"{name}: the quota ({quota.name}) is nearly used", detail)


def _refused(refusals: Sequence[tuple[str, str]]) -> Iterator[Trouble]:
    for chatbot, count in Counter(chatbot for chatbot, _ in refusals).items():
        if count < REFUSALS_LIMIT:
            continue
        fault = Counter(each for name, each in refusals if name == chatbot).most_common(1)[0][0]
        detail = (
            f"{count:,} within {REFUSALS_SECONDS / 60:g} min, most of them with {_FAULTS.get(fault, fault)} Correct "
            "it, then see `leadbridge quarantine list` and `leadbridge quarantine release`"
        )
        yield Trouble(Key(_REFUSED, chatbot), f"{chatbot}: requests are refused", detail, count)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_LIMIT])
    return shown if len(names) <= NAMES_LIMIT else f"{shown} and {len(names) - NAMES_LIMIT} more"


def _size(count: int) -> str:
    return f"{count / 1024**2:,.1f} MiB" if count >= 1024**2 else f"{count / 1024:,.1f} KiB"


def _many(count: int) -> str:
    return f"{count:,} or more" if count >= COUNT_LIMIT else f"{count:,}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
