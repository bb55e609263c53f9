"""Which conditions are reported, when, and in which words."""

from collections.abc import Sequence
from typing import Any

import pytest

from bridge.alerts.notifier import (
    CALM_SECONDS,
    GROWN,
    AlertState,
    Condition,
    ConditionKey,
    Notification,
    due_notifications,
)
from bridge.alerts.rules import REFUSALS_LIMIT, BridgeState, SpoolState, find_conditions, is_elsewhere, unobserved_keys
from bridge.ingress.signature import SignatureFault
from bridge.operations.acknowledgement import ProblemList
from bridge.operations.problems import Problem, ProblemKind
from bridge.store.interface import Pause
from bridge.store.user_state import Acknowledgement
from connectors.base import Quota, Reason
from tests.building import NOW

REPEAT = 4 * 3600.0
PAUSED = Condition(ConditionKey("paused", "crm"), "crm: the lane has paused", "it cannot be reached")


class NotifierMemory:
    """Notifier that keeps its states between calls."""

    def __init__(self) -> None:
        self.now = NOW
        self.known: dict[ConditionKey, AlertState] = {}

    def __call__(self, *found: Condition, after: float = 0.0, unobserved: Sequence[ConditionKey] = ()) -> list[str]:
        self.now += after
        messages, self.known = due_notifications(
            self.known, found, frozenset(unobserved), self.now, repeat=REPEAT, begun_at=NOW - 60.0
        )
        return [each.text for each in messages]


@pytest.fixture
def notify() -> NotifierMemory:
    return NotifierMemory()


def test_a_condition_is_reported_once_and_again_after_a_while(notify: NotifierMemory) -> None:
    assert notify(PAUSED) == ["crm: the lane has paused: it cannot be reached"]
    assert notify(PAUSED, after=REPEAT - 1) == []
    assert notify(PAUSED, after=1) == ["still: crm: the lane has paused: it cannot be reached"]
    assert notify(PAUSED, after=1) == []


def test_that_it_is_over_is_reported_when_it_has_been_gone_for_a_while(notify: NotifierMemory) -> None:
    notify(PAUSED)
    assert notify(after=10) == []
    assert notify(after=CALM_SECONDS - 1) == []
    assert notify(after=1) == ["over: crm: the lane has paused"]
    assert notify(after=1000) == []
    assert notify(PAUSED) != []


def test_what_comes_and_goes_is_one_condition(notify: NotifierMemory) -> None:
    reported = notify(PAUSED)
    for _ in range(20):
        reported += notify(after=CALM_SECONDS / 2) + notify(PAUSED, after=CALM_SECONDS / 2)
    assert len(reported) == 1


def test_what_passes_in_time_is_not_reported_nor_that_it_is_over(notify: NotifierMemory) -> None:
    patient = Condition(ConditionKey("paused", "crm"), "crm", "it fails", patience=120.0)
    assert notify(patient) + notify(patient, after=119) + notify(after=1) + notify(after=CALM_SECONDS) == []
    assert notify(patient) == []
    assert notify(patient, after=120) != []


def test_many_are_reported_together_and_again_for_new_ones_only(notify: NotifierMemory) -> None:
    def dead(size: int, news_at: float) -> Condition:
        return Condition(ConditionKey("dead", "crm"), "crm: dead letters", f"{size}", size, news_at=news_at)

    assert notify(dead(2, NOW)) == ["crm: dead letters: 2"]
    assert notify(dead(3, NOW + 10), after=60) == []
    assert notify(dead(2 * GROWN, NOW + 110), after=60) == ["crm: dead letters: 20"]
    assert notify(dead(21, NOW + 200), after=REPEAT) == ["crm: dead letters: 21"]
    assert notify(dead(21, NOW + 200), after=REPEAT) == []
    assert notify() + notify(after=CALM_SECONDS) == ["over: crm: dead letters"]


def test_old_dead_letters_are_not_reported_by_each_new_process(notify: NotifierMemory) -> None:
    old = Condition(ConditionKey("dead", "crm"), "crm: dead letters", "3", 3, news_at=NOW - 3600)
    assert notify(old) + notify(old, after=REPEAT) == []
    assert notify(Condition(old.key, old.subject, "4", 4, news_at=NOW + 1)) == ["crm: dead letters: 4"]


def test_what_cannot_be_seen_is_neither_reported_again_nor_over(notify: NotifierMemory) -> None:
    notify(PAUSED)
    assert notify(after=1000, unobserved=[PAUSED.key]) == []
    assert PAUSED.key in notify.known
    assert notify(after=1) == []
    assert notify(after=CALM_SECONDS) == ["over: crm: the lane has paused"]


def seen(**changes: Any) -> BridgeState:
    known: dict[str, Any] = {
        "stored": ProblemList((), ()),
        "store_commits": True,
        "pauses": {},
        "quotas": {},
        "here": frozenset({"crm"}),
    }
    return BridgeState(**{**known, **changes})


def texts(sight: BridgeState) -> list[str]:
    return [f"{each.subject}: {each.detail}" for each in find_conditions(sight, NOW)]


def problem(kind: ProblemKind, count: int, destination: str | None = None, **facts: Any) -> Problem:
    return Problem(kind, "title", "why", "fix", count, destination=destination, **facts)


def with_problems(*problems: Problem, **changes: Any) -> BridgeState:
    changes.setdefault("here", frozenset({"crm", "mail"}))
    return seen(stored=ProblemList(problems, ()), **changes)


def test_nothing_wrong_is_no_condition() -> None:
    assert texts(seen()) == []
    assert texts(seen(stored=None)) == []


def test_dead_letters_are_grouped_by_destination() -> None:
    dead = [
        problem(ProblemKind.DEAD, 3, "crm", reason="refused", last_at=NOW),
        problem(ProblemKind.DEAD, 4, "crm", reason="mapping", last_at=NOW - 9),
        problem(ProblemKind.DEAD, 1, "mail", reason="timeout", last_at=NOW),
        problem(ProblemKind.DEAD, 1, "elsewhere", reason="timeout", last_at=NOW),
    ]
    first, second = find_conditions(with_problems(*dead), NOW)
    assert (first.size, first.news_at) == (7, NOW)
    assert "7 (4 mapping, 3 refused)" in first.detail
    assert "--destination mail" in second.detail


def test_unrecognised_events_are_dead_letters_too() -> None:
    (found,) = find_conditions(with_problems(problem(ProblemKind.UNRECOGNISED, 2, last_at=NOW)), NOW)
    assert (found.size, found.news_at) == (2, NOW)


def test_warnings_are_one_trouble_of_all_destinations() -> None:
    warned = [
        problem(ProblemKind.WARNED, 3, "crm", last_at=NOW - 9),
        problem(ProblemKind.WARNED, 1_200, "mail", last_at=NOW),
    ]
    (found,) = find_conditions(with_problems(*warned), NOW)
    assert find_conditions(with_problems(*warned, whole=False), NOW) == []
    assert (found.size, found.news_at) == (1203, NOW)
    assert "1,203 in the last 24 h (1,200 to mail, 3 to crm)" in found.detail
    assert is_elsewhere(found.key, seen(whole=False))


def test_a_lead_that_waits_too_long() -> None:
    (text,) = texts(with_problems(problem(ProblemKind.WAITING, 10_000, "crm", first_at=NOW - 1501)))
    assert "crm: a lead waits too long" in text
    assert "10,000 has waited for 25 min" in text


def test_a_problem_that_is_acknowledged_is_neither_reported_nor_over(notify: NotifierMemory) -> None:
    dead = problem(ProblemKind.DEAD, 3, "crm", reason="refused", last_at=NOW)
    found = find_conditions(with_problems(dead), NOW)
    assert len(notify(*found) + notify(*found, after=31)) == 1
    given = Acknowledgement(dead.key, "", NOW, "maria", NOW, None)
    known = seen(stored=ProblemList((), [(dead, given)]))
    assert find_conditions(known, NOW) == []
    quiet = unobserved_keys(list(notify.known), known, NOW)
    assert notify(after=REPEAT, unobserved=[*quiet]) == []


def test_why_a_lane_has_paused() -> None:
    pause = Pause("lane", Reason.UNAUTHORIZED, "Token of ada@example.com is invalid", NOW + 60)
    (found,) = find_conditions(seen(pauses={"crm": pause}), NOW)
    assert "it refuses the credentials" in found.detail
    assert "ada@" not in found.detail
    assert found.patience == 0.0


def test_what_may_mend_itself_gets_some_time() -> None:
    (found,) = find_conditions(seen(pauses={"crm": Pause("lane", Reason.SERVER_ERROR, "", NOW + 60)}), NOW)
    assert found.patience > 0


def test_the_operators_own_pause_is_no_news() -> None:
    assert texts(seen(pauses={"crm": Pause("operator", "I know of ada@example.com")})) == []


def test_every_reason_of_a_pause_has_words() -> None:
    for reason in Reason:
        (text,) = texts(seen(pauses={"crm": Pause("lane", reason, None, NOW + 60)}))
        assert text


def test_many_refused_requests_of_a_chatbot() -> None:
    mismatch = [("acme", SignatureFault.MISMATCH.value)] * REFUSALS_LIMIT
    (text,) = texts(seen(refusals=[*mismatch, ("acme", "stale"), ("other", "stale")]))
    assert text.startswith("acme: requests are refused: 6 within 10 min")
    assert "was the Sign Key changed?" in text
    assert texts(seen(refusals=mismatch[1:])) == []


@pytest.mark.parametrize(
    ("quota", "reported"),
    [
        (Quota("daily", 1000, 101, NOW + 1800), False),
        (Quota("daily", 1000, 100, NOW + 1800), True),
        (Quota("daily", 1000, 150, NOW + 1800, reserve=200), True),
        (Quota("10 s", 100, 0, NOW + 10), False),
    ],
)
def test_a_quota_that_is_nearly_used(quota: Quota, reported: bool) -> None:
    assert bool(texts(seen(quotas={"crm": [quota]}))) is reported


def test_the_configuration_and_the_store() -> None:
    first, second = texts(seen(store_commits=False, faults=["acme.yaml", "b.yaml"]))
    assert "cannot commit" in first
    assert "acme.yaml and b.yaml" in second or "acme.yaml, b.yaml" in second


MIB = 1024**2


def test_the_spool_is_in_use() -> None:
    (text,) = texts(seen(spools=True, spooled=SpoolState(3 * MIB, 256 * MIB)))
    assert text.startswith("the spool is in use: 3.0 MiB of 256.0 MiB wait on this machine")
    assert "nothing is lost until it is full" in text
    # Also where only refused requests wait, which take no room of it.
    assert len(texts(seen(spools=True, spooled=SpoolState(0, 1)))) == 1
    assert texts(seen(spools=True)) == []


def test_a_spool_that_takes_no_more_is_reported_at_once() -> None:
    (found,) = find_conditions(seen(spools=True, spooled=SpoolState(MIB, 256 * MIB, "the disk is full")), NOW)
    assert found.subject == "the spool takes no more"
    assert "the disk is full" in found.detail
    assert found.patience == 0


def test_a_spool_that_is_nearly_full_is_reported_again_at_once(notify: NotifierMemory) -> None:
    def spooled(mib: int) -> Condition:
        (found,) = find_conditions(seen(spools=True, spooled=SpoolState(mib * MIB, 100 * MIB)), NOW)
        return found

    assert notify(spooled(1)) == notify(spooled(1), after=29) == []
    assert len(notify(spooled(1), after=1)) == 1
    assert notify(spooled(89), after=60) == []
    (again,) = notify(spooled(90), after=1)
    assert again.startswith("still: the spool is in use: 90.0 MiB of 100.0 MiB")
    assert "answered 503" in again
    assert notify(spooled(95), after=1) == []
    assert notify(after=1) + notify(after=CALM_SECONDS) == ["over: the spool is in use"]


def test_a_store_with_a_spool_before_it_refuses_nobody_yet() -> None:
    (alone,) = texts(seen(store_commits=False))
    (before,) = texts(seen(store_commits=False, spools=True))
    assert "answered 503" in alone
    assert "503" not in before
    assert "kept on this machine" in before


def test_what_was_not_seen() -> None:
    keys = [
        ConditionKey("dead", "crm"),
        ConditionKey("oldest", "crm"),
        ConditionKey("unrecognised"),
        ConditionKey("paused", "crm"),
        ConditionKey("quota", "crm 1 d"),
    ]
    assert unobserved_keys(keys, seen(stored=None), NOW) == frozenset(keys) - {keys[3]}
    reported = seen(quotas={"crm": [Quota("1 d", 1000, 900, NOW + 1800)]})
    assert unobserved_keys(keys, reported, NOW) == frozenset()
    assert unobserved_keys(keys, reported, NOW + 1800) == {keys[4]}


def test_what_is_another_process_to_tell() -> None:
    elsewhere = seen(here=frozenset({"mail"}), whole=False)
    for key in (
        ConditionKey("dead", "crm"),
        ConditionKey("quota", "crm daily"),
        ConditionKey("paused", "crm"),
        ConditionKey("unrecognised"),
    ):
        assert is_elsewhere(key, elsewhere)
        assert not is_elsewhere(key, seen())
    assert not is_elsewhere(ConditionKey("refused", "crm"), elsewhere)
    # Each process has a spool of its own.
    assert not is_elsewhere(ConditionKey("spool"), elsewhere)


def test_a_message_is_good_news_only_when_something_is_over() -> None:
    messages, known = due_notifications({}, [PAUSED], frozenset(), NOW, repeat=REPEAT, begun_at=NOW)
    _, known = due_notifications(known, [], frozenset(), NOW, repeat=REPEAT, begun_at=NOW)
    over, _ = due_notifications(known, [], frozenset(), NOW + CALM_SECONDS, repeat=REPEAT, begun_at=NOW)
    assert [each.good for each in (*messages, *over)] == [False, True]
    assert over == [Notification("over: crm: the lane has paused", good=True)]


def test_a_lane_that_fails_again_and_again_is_reported_at_once() -> None:
    seen = BridgeState(stored=None, store_commits=True, pauses={}, quotas={}, failing=frozenset({"crm"}))
    [found] = find_conditions(seen, NOW)
    assert (found.key, found.patience) == (ConditionKey("failing", "crm"), 0.0)
    assert "nothing is lost" in found.detail
