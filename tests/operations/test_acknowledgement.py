"""Acknowledged problems: how long they stay so, and for whom."""

import pytest
from sqlalchemy import Connection

from bridge.errors import ConflictError, NotFoundError
from bridge.operations.acknowledgement import acknowledge, named_problem, reopen, sort_problems
from bridge.operations.audit import BY_COMMAND, Means, Who
from bridge.operations.problems import Problem, ProblemKind
from bridge.store import audit_log, user_state
from bridge.store.filter import EVERYTHING, Scope

NOW, DAY = 1_800_000_000.0, 86_400.0
MARIA = Who("operator", Means.TOKEN, None, "127.0.0.1", "maria")


def dead(last_at: float = NOW - 10, destination: str = "crm") -> Problem:
    return Problem(ProblemKind.DEAD, "crm: refused", "why", "fix", 3, {}, destination, "refused", NOW - 100, last_at)


def paused(since: float = NOW - 50) -> Problem:
    return Problem(ProblemKind.PAUSED, "crm: nothing is delivered", "why", "fix", 3, {}, "crm", first_at=since)


def still_open(
    connection: Connection,
    problem: Problem,
    reader: Scope = EVERYTHING,
    scope: Scope = EVERYTHING,
    at: float = NOW,
) -> bool:
    found = sort_problems(connection, [problem], reader, scope, at)
    assert len(found.open) + len(found.acknowledged) == 1
    return bool(found.open)


def test_the_next_case_of_a_cause_shows_it_again(connection: Connection) -> None:
    assert still_open(connection, dead())
    said = acknowledge(connection, MARIA, dead(), EVERYTHING, NOW)
    assert said.message == "crm: refused: acknowledged until its next case"
    assert not still_open(connection, dead())
    assert not still_open(connection, dead(), at=NOW + 100 * DAY)
    assert not still_open(connection, dead(NOW - 20)), "the newest one was discarded"
    assert still_open(connection, dead(NOW - 5)), "it came before the click, and was not on the page"
    assert still_open(connection, dead(destination="other")), "another cause"
    ((_, given),) = sort_problems(connection, [dead()], EVERYTHING, EVERYTHING, NOW).acknowledged
    assert (given.user, given.at, given.until) == ("maria", NOW, None)


def test_another_pause_of_a_destination_is_another_case(connection: Connection) -> None:
    acknowledge(connection, BY_COMMAND, paused(), EVERYTHING, NOW)
    assert not still_open(connection, paused())
    assert still_open(connection, paused(NOW + 60))


def test_an_ignored_cause_stays_so_for_its_days_whatever_comes(connection: Connection) -> None:
    said = acknowledge(connection, MARIA, dead(), EVERYTHING, NOW, days=7)
    assert said.message == "crm: refused: ignored for 7 days"
    assert not still_open(connection, dead(NOW + 3 * DAY), at=NOW + 4 * DAY)
    assert still_open(connection, dead(), at=NOW + 7 * DAY)
    acknowledge(connection, MARIA, dead(NOW + 7 * DAY), EVERYTHING, NOW + 7 * DAY)
    assert not still_open(connection, dead(NOW + 7 * DAY), at=NOW + 8 * DAY)


def test_a_cause_is_acknowledged_for_the_chatbots_of_the_person(connection: Connection) -> None:
    acme, both = Scope(frozenset({"acme"})), Scope(frozenset({"acme", "hotel"}))
    acknowledge(connection, MARIA, dead(), acme, NOW, reader=acme)
    assert not still_open(connection, dead(), acme, acme)
    assert still_open(connection, dead(), EVERYTHING, acme), "a client hides nothing from the agency"
    for reader in (EVERYTHING, both, Scope(frozenset({"hotel"}))):
        assert still_open(connection, dead(), reader, reader)
    acknowledge(connection, MARIA, dead(), EVERYTHING, NOW)
    assert not still_open(connection, dead(), EVERYTHING, Scope(frozenset({"hotel"})))
    assert still_open(connection, dead(), both, both)


def test_the_agency_hides_no_part_of_a_problem_from_its_client(connection: Connection) -> None:
    acme = Scope(frozenset({"acme"}))
    acknowledge(connection, BY_COMMAND, dead(), acme, NOW)
    assert not still_open(connection, dead(), EVERYTHING, acme)
    assert still_open(connection, dead(), acme, acme)
    with pytest.raises(ConflictError):
        reopen(connection, MARIA, dead().key, {acme}, NOW, reader=acme)
    assert not still_open(connection, dead(), EVERYTHING, acme), "a client's user opens nothing of the agency's"
    acknowledge(connection, MARIA, dead(), acme, NOW, reader=acme)
    reopen(connection, BY_COMMAND, dead().key, {EVERYTHING, acme}, NOW)
    assert still_open(connection, dead(), EVERYTHING, acme)
    assert not still_open(connection, dead(), acme, acme)


def test_another_text_of_a_finding_is_another_cause(connection: Connection) -> None:
    def finding(text: str) -> Problem:
        return Problem(ProblemKind.CONFIGURATION, "Warnings", text, "Correct the file.", 1, reason="Warnings")

    acknowledge(connection, MARIA, finding("a.yaml:1:1: one."), EVERYTHING, NOW)
    assert not still_open(connection, finding("a.yaml:1:1: one."), at=NOW + DAY)
    assert still_open(connection, finding("a.yaml:2:1: another."))


def test_a_reopened_cause_is_open_and_both_are_in_the_audit_log(connection: Connection) -> None:
    acknowledge(connection, MARIA, dead(), EVERYTHING, NOW, days=1)
    reopen(connection, MARIA, dead().key, {EVERYTHING}, NOW + 1)
    assert still_open(connection, dead())
    with pytest.raises(ConflictError, match="nobody has acknowledged this"):
        reopen(connection, MARIA, dead().key, {EVERYTHING}, NOW + 2)
    entries = [(each.action, each.user, each.subject, each.subject_id, dict(each.facts)) for each in _log(connection)]
    assert entries == [
        ("reopen", "maria", "problem", "dead-crm-refused", {}),
        ("acknowledge", "maria", "problem", "dead-crm-refused", {"days": 1}),
    ]
    with pytest.raises(NotFoundError, match="no such problem"):
        named_problem([dead()], "dead-crm-unknown")


def test_acknowledgements_of_former_causes_go(connection: Connection) -> None:
    acknowledge(connection, MARIA, dead(destination="former"), EVERYTHING, NOW)
    acknowledge(connection, MARIA, dead(), EVERYTHING, NOW + 181 * DAY)
    assert [each.cause for each in user_state.acknowledged(connection, [""])] == ["dead-crm-refused"]


def _log(connection: Connection) -> list[audit_log.AuditRow]:
    return list(audit_log.list_entries(connection, None, None, 10))
