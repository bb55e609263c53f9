"""`leadbridge tail`, and what it asks of the store."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from bridge.store import activity
from bridge.store.interface import QuarantinedRequest
from connectors.base import Delivered, Reason, Rejected
from tests.building import NOW, lead
from tests.cli.conftest import Place, failed

Step = Callable[[], None]


@pytest.fixture
def follow(leadbridge: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Runs the command; what is to happen between two looks happens where it would wait."""

    def run(*steps: Step, options: tuple[object, ...] = ()) -> list[dict[str, Any]]:
        left = list(steps)

        def wait(_: float) -> None:
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        with monkeypatch.context() as patched:
            patched.setattr(time, "sleep", wait)
            result = leadbridge("tail", "--json", *options)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run


def whats(lines: list[dict[str, Any]]) -> list[str]:
    return [line["what"] for line in lines]


def test_what_happens_as_it_happens(leadbridge: Place, follow: Any) -> None:
    lines = follow(
        lambda: leadbridge.receive(lead(), lead()),
        lambda: leadbridge.settle("crm", {1: Delivered("17"), 2: failed()}, NOW + 2),
        lambda: leadbridge.settle("crm", {2: Rejected(Reason.REFUSED, "ada@example.com is no name")}, NOW + 90),
    )
    assert whats(lines) == ["received", "received", "delivered", "again", "dead"]
    assert lines[2]["detail"] == "delivery 1: after 2.2 s"
    assert lines[3]["detail"].startswith("delivery 2: conflict, due 2026-11-")
    assert lines[4]["detail"] == "delivery 2: refused"
    assert {line["chatbot"] for line in lines} == {"acme"}


def test_it_begins_with_the_last_events(leadbridge: Place, follow: Any) -> None:
    leadbridge.receive(*(lead() for _ in range(4)))
    leadbridge.settle("crm", dict.fromkeys((1, 2, 3), Delivered("17")))
    assert whats(follow(options=("--back", 2))) == ["received", "received", "delivered"]
    assert whats(follow()) == ["received"] * 4 + ["delivered"] * 3
    assert follow(options=("--back", 0)) == []


def test_what_was_pending_before_is_followed(leadbridge: Place, follow: Any) -> None:
    leadbridge.receive(*(lead() for _ in range(3)))
    lines = follow(lambda: leadbridge.settle("crm", {1: Delivered("17")}), options=("--back", 0))
    assert [(line["what"], line["detail"][:10]) for line in lines] == [("delivered", "delivery 1")]


def test_a_dead_letter_that_is_replayed(leadbridge: Place, follow: Any) -> None:
    leadbridge.receive(lead())
    leadbridge.settle("crm", {1: Rejected(Reason.REFUSED, "no")})

    def replay() -> None:
        leadbridge("deliveries", "replay", 1)
        leadbridge.settle("crm", {1: Delivered("17")})

    assert whats(follow(replay, options=("--back", 0))) == ["delivered"]


def test_strange_events_and_refused_requests(leadbridge: Place, follow: Any) -> None:
    lines = follow(
        lambda: leadbridge.receive(
            lead(Email="test@example.com"), {"strange": 1, "SerialNumber": lead()["SerialNumber"]}
        ),
        lambda: leadbridge.quarantine(QuarantinedRequest(NOW, "acme", "t=1,v1=00", b"{}")),
    )
    assert [(line["what"], line["detail"]) for line in lines[:2]] == [
        ("received", "test"),
        ("received", "unrecognised"),
    ]
    assert lines[2]["what"] == "refused"


def test_one_chatbot_or_destination(leadbridge: Place, follow: Any) -> None:
    leadbridge.receive(lead(Content="mail me"))
    leadbridge.settle("crm", {1: Delivered("17")})
    leadbridge.settle("mail", {2: Delivered("18")})
    assert follow(options=("--chatbot", "other")) == []
    lines = follow(options=("--destination", "mail"))
    assert [line["destination"] for line in lines] == [None, "mail"]


def test_many_are_shown_step_by_step(leadbridge: Place, follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "STEP", 2)
    leadbridge.receive(*(lead() for _ in range(5)))
    leadbridge.settle("crm", dict.fromkeys(range(1, 6), Delivered("17")))
    nothing = [lambda: None] * 3
    assert sorted(whats(follow(*nothing))) == ["delivered"] * 5 + ["received"] * 5


def test_for_people(leadbridge: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    leadbridge.receive(lead())

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", stop)
    result = leadbridge("tail")
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert "received   acme  " in line
    assert line.endswith("  Lead")
