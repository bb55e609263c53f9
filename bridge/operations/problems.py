"""Problems: everything that needs a person, grouped by its cause, each with what fixes it. Reads only."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.event import Room
from bridge.ingress.signature import fingerprint
from bridge.operations.chatbots import silent_chatbots
from bridge.operations.lanes import chatbots_by_destination
from bridge.operations.leads import person_label
from bridge.operations.masking import HELD, Audience, reason_text
from bridge.store import figures, queries
from bridge.store.figures import DeadLetterCause, Group, dead_letter_causes
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.lane_queries import LaneRow, LaneStatus, all_lanes
from bridge.store.quarantine import RoomCount, proven_keys, room_counts
from bridge.store.report_log import report_rows
from bridge.store.tally import DAY
from connectors.base import Reason

WARNED_SECONDS: Final = 86_400.0
"""Time for which a delivery with a warning is a problem."""
SAMPLES_LIMIT: Final = 50
"""Most problems with a sample: each is a payload to read."""
_WHEN_IT_WORKS: Final = "Replay them when the destination works again."
_FIXES: Final[Mapping[str, str]] = {
    Reason.CONNECTOR_ERROR: "See the log, report the fault, and replay them after an update.",
    Reason.FORBIDDEN: "Grant the account or app the missing right, then replay them.",
    Reason.GONE: "Correct the destination's address, then replay them.",
    Reason.MAPPING: "Open the lead: it names the field. Correct the route's mapping, then replay them.",
    Reason.NOT_FOUND: "Correct the address, or the record that the mapping names, then replay them.",
    Reason.REDIRECT: "Correct the destination's address, then replay them.",
    Reason.REFUSED: "Open the lead and read the destination's answer. Correct the mapping or the lead's field in the "
    "CRM's settings, then replay them.",
    Reason.TOO_LARGE: "Shorten the text in the mapping with `truncate(n)`, then replay them.",
    Reason.UNAUTHORIZED: "Put valid credentials into the configuration, then replay them.",
    Reason.UNROUTED: "Put the route back and replay them, move them to another route, or discard them.",
}
_ROOMS: Final[Mapping[Room, tuple[str, str]]] = {
    Room.MISMATCH: (
        "They look like leads, but none of the chatbot's signing keys fits their signature.",
        "Compare the signing key with the Sign Key at AI Agent. Correct it and release them, or discard a stranger's.",
    ),
    Room.STALE: (
        "The key fits, but their signature is too old or too new.",
        "Correct the clock that is wrong, then release them at any age.",
    ),
}


class ProblemKind(StrEnum):
    """Kinds of problems, the worst first."""

    CONFIGURATION = "configuration"
    PAUSED = "paused"
    UNOWNED = "unowned"
    REMOVED = "removed"
    WAITING = "waiting"
    SILENT = "silent"
    DEAD = "dead"
    QUARANTINE = "quarantine"
    UNRECOGNISED = "unrecognised"
    REPORT = "report"
    WARNED = "warned"


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the leads of a problem."""

    event: str
    person: str
    """Label of the person, masked for the audience."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A cause of trouble, and what it concerns."""

    kind: ProblemKind
    title: str
    why: str
    fix: str
    count: int
    """Number of what it concerns: leads, requests or findings."""
    chatbots: Mapping[str, int] = field(default_factory=dict)
    """Chatbots that it concerns, each with its part of the count, the largest first."""
    destination: str | None = None
    reason: str | None = None
    first_at: float | None = None
    last_at: float | None = None
    lead: int | None = None
    """Number of its newest event."""
    is_unproved: bool = False
    """True for requests whose chatbot has keys that have verified none yet."""

    @property
    def key(self) -> str:
        """Name of the cause, of letters, digits, dots and dashes; another finding is another cause."""
        reason = self.reason
        if self.kind is ProblemKind.CONFIGURATION:
            reason = hashlib.sha256(f"{self.title} {self.count} {self.why}".encode()).hexdigest()[:12]
        return "-".join(filter(None, (self.kind.value, self.destination, reason)))

    @property
    def latest_at(self) -> float | None:
        """Time of the latest case; None for a cause without times."""
        return self.first_at if self.last_at is None else self.last_at


@dataclass(frozen=True, slots=True)
class Finding:
    """Mistakes in the files of the configuration."""

    title: str
    text: str
    fix: str
    count: int


def find_problems(
    connection: Connection,
    config: Config,
    now: float,
    findings: Iterable[Finding] = (),
    scope: Scope = EVERYTHING,
) -> list[Problem]:
    """Return all problems, the worst kind first.

    Args:
        connection: Connection to the store.
        config: The configuration in use.
        now: The time.
        findings: Findings about the files of the configuration.
        scope: Chatbots whose problems are read, with their part of each.
    """
    names = [name for name in config.chatbots if scope.sees(name)]
    lanes = all_lanes(connection, list(config.destinations), now)
    found = [_finding(each) for each in findings] if scope.is_whole else []
    waiting = figures.waiting_groups(connection, scope)
    found += _lanes(lanes, waiting, config, scope)
    found += _waiting(lanes, waiting, now - config.alerts.oldest, scope)
    found += [_silent(name, day) for name, day in silent_chatbots(connection, names, now)]
    causes = dead_letter_causes(connection) if scope.is_whole else []
    found += _dead(figures.dead_groups(connection, scope), causes)
    proven = proven_keys(connection)
    unproved = {name for name in names if proven.get(name) != fingerprint(config.chatbots[name].signing_keys)}
    rooms = [row for row in room_counts(connection) if scope.sees(row.chatbot)]
    found += [each for row in rooms for each in _quarantined(row, is_unproved=row.chatbot in unproved)]
    found += _unrecognised(figures.unrecognised_groups(connection, scope))
    found += _unsent_reports(connection, config, now) if scope.is_whole else []
    found += _warned(figures.warned_groups(connection, now - WARNED_SECONDS, scope))
    order = list(ProblemKind)
    return sorted(found, key=lambda each: (order.index(each.kind), -each.count, each.title))


def sampled(connection: Connection, problems: Sequence[Problem], audience: Audience) -> dict[str, Sample]:
    """Read one lead of each of the first `SAMPLES_LIMIT` problems that have any, by the problem's key."""
    wanted = {each.key: each.lead for each in problems[:SAMPLES_LIMIT] if each.lead is not None}
    seqs = sorted(set(wanted.values()))
    rows = {each.seq: each.id for each in queries.events_in(connection, seqs)}
    texts = queries.payloads(connection, seqs)
    return {
        key: Sample(rows[seq], person_label(texts[seq], audience))
        for key, seq in wanted.items()
        if seq in rows and seq in texts
    }


def _finding(finding: Finding) -> Problem:
    why, fix = finding.text, finding.fix
    return Problem(ProblemKind.CONFIGURATION, finding.title, why, fix, finding.count, reason=finding.title)


def _lanes(lanes: Sequence[LaneRow], waiting: Sequence[Group], config: Config, scope: Scope) -> Iterable[Problem]:
    by_name: dict[str, Counter[str]] = {}
    for each in waiting:
        by_name.setdefault(each.destination, Counter())[each.chatbot or ""] += each.number
    configured = chatbots_by_destination(config, scope)
    for lane in lanes:
        kind, why, fix = _lane_trouble(lane)
        own = dict(by_name.get(lane.name, {}))
        own = dict.fromkeys(configured.get(lane.name, ()), 0) | own
        if kind is None or (not scope.is_whole and not own):
            continue
        yield Problem(
            kind,
            f"{lane.name}: {_LANE_TITLES[kind]}",
            why,
            fix,
            lane.pending if scope.is_whole else sum(own.values()),
            _ordered(own),
            lane.name,
            first_at=lane.pause.since if lane.pause else lane.oldest_pending_at,
        )


def _waiting(lanes: Sequence[LaneRow], waiting: Sequence[Group], before: float, scope: Scope) -> Iterable[Problem]:
    """Describe the destinations for which a lead has waited since before a time."""
    groups: dict[str, list[Group]] = {}
    for each in waiting:
        groups.setdefault(each.destination, []).append(each)
    for lane in lanes:
        own = groups.get(lane.name, [])
        # Another client's lead may have waited longer.
        oldest_at = lane.oldest_pending_at if scope.is_whole else min((each.first_at for each in own), default=None)
        if lane.configured and oldest_at is not None and oldest_at < before:
            yield Problem(
                ProblemKind.WAITING,
                f"{lane.name}: a lead waits too long",
                "The oldest lead has waited for longer than `alerts.oldest` says.",
                "See if the destination is paused, slow, or limited by its rate limit or quota.",
                lane.pending if scope.is_whole else sum(each.number for each in own),
                _ordered(_counts(own)),
                lane.name,
                first_at=oldest_at,
            )


_LANE_TITLES: Final[Mapping[ProblemKind, str]] = {
    ProblemKind.PAUSED: "nothing is delivered",
    ProblemKind.UNOWNED: "no process works this destination",
    ProblemKind.REMOVED: "no longer configured, and leads wait for it",
}


def _lane_trouble(lane: LaneRow) -> tuple[ProblemKind | None, str, str]:
    match lane.state:
        case LaneStatus.PAUSED if lane.pause and lane.pause.by == "operator":
            return ProblemKind.PAUSED, HELD, "Resume it when its leads may be delivered."
        case LaneStatus.PAUSED:
            why = reason_text(lane.pause.reason if lane.pause else None) or "The destination is in trouble."
            fix = "Its leads wait. Correct the cause: it is tried again by itself, or at once if you resume it."
            return ProblemKind.PAUSED, why, fix
        case LaneStatus.UNOWNED:
            return ProblemKind.UNOWNED, "No running bridge has this destination.", "Start the bridge, and see its log."
        case LaneStatus.REMOVED if lane.pending:
            why = "The configuration no longer has this destination, so its deliveries wait for ever."
            return (
                ProblemKind.REMOVED,
                why,
                "Put the destination back, move its deliveries with `leadbridge deliveries move`, or discard them.",
            )
    return None, "", ""


def _silent(name: str, last_day: int) -> Problem:
    return Problem(
        ProblemKind.SILENT,
        f"{name}: silent",
        "It had leads regularly, and has had none for more than twice its longest pause.",
        "Ask the client whether the chatbot still runs, and whether its webhook still points here.",
        1,
        {name: 1},
        reason=name,
        last_at=float(last_day * DAY),
    )


def _dead(groups: Sequence[Group], causes: Iterable[DeadLetterCause]) -> Iterable[Problem]:
    """Describe the causes of dead letters; `causes` counts all of them, `groups` the newest."""
    totals: dict[tuple[str, str | None], int] = {(each.destination, each.reason): each.count for each in causes}
    newest = _by_cause(groups)
    for destination, reason in dict.fromkeys([*newest, *totals]):
        own = newest.get((destination, reason), [])
        yield Problem(
            ProblemKind.DEAD,
            f"{destination}: {reason}",
            reason_text(reason) or "They were given up.",
            _FIXES.get(reason or "", _WHEN_IT_WORKS),
            totals.get((destination, reason)) or sum(each.number for each in own),
            _ordered(_counts(own)),
            destination,
            reason,
            *_times(own),
            max((each.last_seq for each in own), default=None),
        )


def _warned(groups: Sequence[Group]) -> Iterable[Problem]:
    for (destination, _), own in _by_cause(groups).items():
        yield Problem(
            ProblemKind.WARNED,
            f"{destination}: delivered with a warning",
            "In the last 24 hours the destination took these leads, but left out or changed a part of the record.",
            "Open a lead and read its warning, then correct the mapping or the destination.",
            sum(each.number for each in own),
            _ordered(_counts(own)),
            destination,
            None,
            *_times(own),
            max(each.last_seq for each in own),
        )


def _quarantined(row: RoomCount, *, is_unproved: bool) -> Iterable[Problem]:
    if row.room not in _ROOMS:
        return
    why, fix = _ROOMS[row.room]
    title = f"{row.chatbot}: requests in quarantine"
    counts = {row.chatbot: row.count}
    yield Problem(
        ProblemKind.QUARANTINE,
        title,
        why,
        fix,
        row.count,
        counts,
        reason=f"{row.chatbot}-{row.room.value}",
        first_at=row.first_at,
        last_at=row.latest_at,
        is_unproved=is_unproved and row.room is Room.MISMATCH,
    )


def _unrecognised(groups: Sequence[Group]) -> Iterable[Problem]:
    if not groups:
        return
    yield Problem(
        ProblemKind.UNRECOGNISED,
        "Events that were not recognised",
        "They are authentic, but of an unknown chatbot, type or shape, so they went to no destination.",
        "If they are leads, correct the configuration and route them again. Discard the others.",
        sum(each.number for each in groups),
        _ordered({each.chatbot: each.number for each in groups if each.chatbot}),
        first_at=min(each.first_at for each in groups),
        last_at=max(each.last_at for each in groups),
        lead=max(each.last_seq for each in groups),
    )


def _unsent_reports(connection: Connection, config: Config, now: float) -> Iterable[Problem]:
    for name, row in report_rows(connection).items():
        settings = config.reports.get(name)
        left = sorted(row.left & settings.receivers.keys()) if settings and row.is_unsent(now) else []
        if left:
            yield Problem(
                ProblemKind.REPORT,
                f"{name}: the report was not sent",
                f"It was due, and is not known to have reached {', '.join(left)}: the receiver did not take it, or "
                "the process ended meanwhile.",
                f"See that the receiver can be reached, then send it, or use `leadbridge report {name} --left`.",
                len(left),
                reason=name,
                last_at=row.due_at,
            )


def _by_cause(groups: Sequence[Group]) -> dict[tuple[str, str | None], list[Group]]:
    found: dict[tuple[str, str | None], list[Group]] = {}
    for each in groups:
        found.setdefault((each.destination, each.reason), []).append(each)
    return found


def _counts(groups: Sequence[Group]) -> dict[str, int]:
    return {each.chatbot: each.number for each in groups if each.chatbot}


def _times(groups: Sequence[Group]) -> tuple[float | None, float | None]:
    firsts, lasts = (each.first_at for each in groups), (each.last_at for each in groups)
    return min(firsts, default=None), max(lasts, default=None)


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))
