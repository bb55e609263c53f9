"""Which troubles are told, when, and in which words."""

from collections.abc import Sequence
from typing import Any

import pytest

from bridge.alerts.notifier import CALM_SECONDS, GROWN, Key, Known, Message, Trouble, tell
from bridge.alerts.rules import REFUSALS_LIMIT, Seen, Spooled, is_elsewhere, troubles, unsure
from bridge.ingress.signature import SignatureFault
from bridge.store.interface import Pause
from bridge.store.statistics import AlertStatistics, Backlog, DeadLetters
from connectors.base import Quota, Reason
from tests.building import NOW

REPEAT = 4 * 3600.0
PAUSED = Trouble(Key("paused", "crm"), "crm: the lane has paused", "it cannot be reached")


class Teller:
    """Tells what it is given, and remembers."""

    def __init__(self) -> None:
        self.now = NOW
        self.known: dict[Key, Known] = {}

    def __call__(self, *found: Trouble, after: float = 0.0, unsure: Sequence[Key] = ()) -> list[str]:
        self.now += after
        messages, self.known = tell(self.known, found, frozenset(unsure), self.now, repeat=REPEAT, begun_at=NOW - 60.0)
        return [each.text for each in messages]


@pytest.fixture
def teller() -> Teller:
    return Teller()


def test_a_trouble_is_told_once_and_again_after_a_while(teller: Teller) -> None:
    assert teller(PAUSED) == ["crm: the lane has paused: it cannot be reached"]
    assert teller(PAUSED, after=REPEAT - 1) == []
    assert teller(PAUSED, after=1) == ["still: crm: the lane has paused: it cannot be reached"]
    assert teller(PAUSED, after=1) == []


def test_that_it_is_over_is_told_when_it_has_been_gone_for_a_while(teller: Teller) -> None:
    teller(PAUSED)
    assert teller(after=10) == []
    assert teller(after=CALM_SECONDS - 1) == []
    assert teller(after=1) == ["over: crm: the lane has paused"]
    assert teller(after=1000) == []
    assert teller(PAUSED) != []


def test_what_comes_and_goes_is_one_trouble(teller: Teller) -> None:
    told = teller(PAUSED)
    for _ in range(20):
        told += teller(after=CALM_SECONDS / 2) + teller(PAUSED, after=CALM_SECONDS / 2)
    assert len(told) == 1


def test_what_passes_in_time_is_not_told_nor_that_it_is_over(teller: Teller) -> None:
    patient = Trouble(Key("paused", "crm"), "crm", "it fails", patience=120.0)
    assert teller(patient) + teller(patient, after=119) + teller(after=1) + teller(after=CALM_SECONDS) == []
    assert teller(patient) == []
    assert teller(patient, after=120) != []


def test_many_are_told_together_and_again_for_new_ones_only(teller: Teller) -> None:
    def dead(size: int, news_at: float) -> Trouble:
        return Trouble(Key("dead", "crm"), "crm: dead letters", f"{size}", size, news_at=news_at)

    assert teller(dead(2, NOW)) == ["crm: dead letters: 2"]
    assert teller(dead(3, NOW + 10), after=60) == []
    assert teller(dead(2 * GROWN, NOW + 110), after=60) == ["crm: dead letters: 20"]
    assert teller(dead(21, NOW + 200), after=REPEAT) == ["crm: dead letters: 21"]
    assert teller(dead(21, NOW + 200), after=REPEAT) == []
    assert teller() + teller(after=CALM_SECONDS) == ["over: crm: dead letters"]


def test_old_dead_letters_are_not_told_by_each_new_process(teller: Teller) -> None:
    old = Trouble(Key("dead", "crm"), "crm: dead letters", "3", 3, news_at=NOW - 3600)
    assert teller(old) + teller(old, after=REPEAT) == []
    assert teller(Trouble(old.key, old.subject, "4", 4, news_at=NOW + 1)) == ["crm: dead letters: 4"]


def test_what_cannot_be_seen_is_neither_told_again_nor_over(teller: Teller) -> None:
    teller(PAUSED)
    assert teller(after=1000, unsure=[PAUSED.key]) == []
    assert PAUSED.key in teller.known
    assert teller(after=1) == []
    assert teller(after=CALM_SECONDS) == ["over: crm: the lane has paused"]


def seen(**changes: Any) -> Seen:
    known: dict[str, Any] = {
        "stored": AlertStatistics((), (), 0, None),
        "store_commits": True,
        "pauses": {},
        "quotas": {},
        "here": frozenset({"crm"}),
    }
    return Seen(**{**known, **changes})


def texts(sight: Seen) -> list[str]:
    return [f"{each.subject}: {each.detail}" for each in troubles(sight, NOW, 900.0)]


def test_nothing_wrong_is_nothing_to_tell() -> None:
    assert texts(seen()) == []
    assert texts(seen(stored=None)) == []


def test_dead_letters_are_grouped_by_destination() -> None:
    dead = [
        DeadLetters("crm", "refused", 3, NOW),
        DeadLetters("crm", "mapping", 4, NOW - 9),
        DeadLetters("mail", "timeout", 1, NOW),
    ]
    first, second = troubles(seen(stored=AlertStatistics(dead, (), 0, None)), NOW, 900.0)
    assert (first.size, first.news_at) == (7, NOW)
    assert "7 (4 mapping, 3 refused)" in first.detail
    assert "--destination mail" in second.detail


def test_unrecognised_events_are_dead_letters_too() -> None:
    (found,) = troubles(seen(stored=AlertStatistics((), (), 2, NOW)), NOW, 900.0)
    assert (found.size, found.news_at) == (2, NOW)


def test_a_lead_that_waits_too_long() -> None:
    backlogs = [Backlog("crm", NOW - 1501, 10_000), Backlog("mail", NOW - 899, 1)]
    (text,) = texts(seen(stored=AlertStatistics((), backlogs, 0, None)))
    assert "crm: a lead waits too long" in text
    assert "10,000 or more has waited for 25 min" in text


def test_why_a_lane_has_paused() -> None:
    pause = Pause("lane", Reason.UNAUTHORIZED, "Token of ada@example.com is invalid", NOW + 60)
    (found,) = troubles(seen(pauses={"crm": pause}), NOW, 900.0)
    assert "it refuses the credentials" in found.detail
    assert "ada@" not in found.detail
    assert found.patience == 0.0


def test_what_may_mend_itself_gets_some_time() -> None:
    (found,) = troubles(seen(pauses={"crm": Pause("lane", Reason.SERVER_ERROR, "", NOW + 60)}), NOW, 900.0)
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
    ("quota", "told"),
    [
        (Quota("daily", 1000, 101, NOW + 1800), False),
        (Quota("daily", 1000, 100, NOW + 1800), True),
        (Quota("daily", 1000, 150, NOW + 1800, reserve=200), True),
        (Quota("10 s", 100, 0, NOW + 10), False),
    ],
)
def test_a_quota_that_is_nearly_used(quota: Quota, told: bool) -> None:
    assert bool(texts(seen(quotas={"crm": [quota]}))) is told


def test_the_configuration_and_the_store() -> None:
    first, second = texts(seen(store_commits=False, problems=2))
    assert "cannot commit" in first
    assert "2 problems" in second


MIB = 1024**2


def test_the_spool_is_in_use() -> None:
    (text,) = texts(seen(spools=True, spooled=Spooled(3 * MIB, 256 * MIB)))
    assert text.startswith("the spool is in use: 3.0 MiB of 256.0 MiB wait on this machine")
    assert "nothing is lost until it is full" in text
    # Also where only refused requests wait, which take no room of it.
    assert len(texts(seen(spools=True, spooled=Spooled(0, 1)))) == 1
    assert texts(seen(spools=True)) == []


def test_a_spool_that_takes_no_more_is_reported_at_once() -> None:
    (found,) = troubles(seen(spools=True, spooled=Spooled(MIB, 256 * MIB, "the disk is full")), NOW, 900.0)
    assert found.subject == "the spool takes no more"
    assert "the disk is full" in found.detail
    assert found.patience == 0


def test_a_spool_that_is_nearly_full_is_told_again_at_once(teller: Teller) -> None:
    def spooled(mib: int) -> Trouble:
        (found,) = troubles(seen(spools=True, spooled=Spooled(mib * MIB, 100 * MIB)), NOW, 900.0)
        return found

    assert teller(spooled(1)) == teller(spooled(1), after=29) == []
    assert len(teller(spooled(1), after=1)) == 1
    assert teller(spooled(89), after=60) == []
    (again,) = teller(spooled(90), after=1)
    assert again.startswith("still: the spool is in use: 90.0 MiB of 100.0 MiB")
    assert "answered 503" in again
    assert teller(spooled(95), after=1) == []
    assert teller(after=1) + teller(after=CALM_SECONDS) == ["over: the spool is in use"]


def test_a_store_with_a_spool_before_it_refuses_nobody_yet() -> None:
    (alone,) = texts(seen(store_commits=False))
    (before,) = texts(seen(store_commits=False, spools=True))
    assert "answered 503" in alone
    assert "503" not in before
    assert "kept on this machine" in before


def test_what_was_not_seen() -> None:
    keys = [
        Key("dead", "crm"),
        Key("oldest", "crm"),
        Key("unrecognised"),
        Key("paused", "crm"),
        Key("quota", "crm 1 d"),
    ]
    assert unsure(keys, seen(stored=None), NOW) == frozenset(keys) - {keys[3]}
    told = seen(quotas={"crm": [Quota("1 d", 1000, 900, NOW + 1800)]})
    assert unsure(keys, told, NOW) == frozenset()
    assert unsure(keys, told, NOW + 1800) == {keys[4]}


def test_what_is_another_process_to_tell() -> None:
    elsewhere = seen(here=frozenset({"mail"}), whole=False)
    for key in (Key("dead", "crm"), Key("quota", "crm daily"), Key("paused", "crm"), Key("unrecognised")):
        assert is_elsewhere(key, elsewhere)
        assert not is_elsewhere(key, seen())
    assert not is_elsewhere(Key("refused", "crm"), elsewhere)
    # Each process has a spool of its own.
    assert not is_elsewhere(Key("spool"), elsewhere)


def test_a_message_is_good_news_only_when_something_is_over() -> None:
    messages, known = tell({}, [PAUSED], frozenset(), NOW, repeat=REPEAT, begun_at=NOW)
    _, known = tell(known, [], frozenset(), NOW, repeat=REPEAT, begun_at=NOW)
    over, _ = tell(known, [], frozenset(), NOW + CALM_SECONDS, repeat=REPEAT, begun_at=NOW)
    assert [each.good for each in (*messages, *over)] == [False, True]
    assert over == [Message("over: crm: the lane has paused", good=True)]


def test_a_lane_that_fails_again_and_again_is_told_at_once() -> None:
    seen = Seen(stored=None, store_commits=True, pauses={}, quotas={}, failing=frozenset({"crm"}))
    [found] = troubles(seen, NOW, 600.0)
    assert (found.key, found.patience) == (Key("failing", "crm"), 0.0)
    assert "nothing is lost" in found.detail
