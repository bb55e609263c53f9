"""What is shown of personal data, secrets and numbers; all of it pure."""

import re
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bridge.admin.dashboard.charts import bands, days, hours, meter
from bridge.config.diagnostics import ConfigError
from bridge.config.load import load
from bridge.operations.figures import change
from bridge.operations.masking import mask_values, masked_payload, masked_words, personal
from bridge.operations.tally import TallyTotals


def test_a_masked_lead_says_who_sent_it_and_not_who_it_is() -> None:
    lead = {
        "SerialNumber": "59001",
        "Type": "Lead",
        "FirstName": "Adalbert",
        "LastName": "王",
        "Email": "ada@example.com",
        "PhoneNumber": "",
        "SessionID": 5,
        "Extra": {"deep": ["secret", 12345, True, None]},
    }
    assert masked_payload(lead) == {
        "SerialNumber": "59001",
        "Type": "Lead",
        "FirstName": "A•••",
        "LastName": "•••",
        "Email": "a•••@•••",
        "PhoneNumber": "",
        "SessionID": 5,
        "field 1": {"field 1": ["s•••", "1•••", True, None]},
    }
    assert masked_payload("no JSON at all") == "n•••"
    assert mask_values(None) is None


def test_a_field_that_does_not_hold_what_the_sender_puts_there_is_masked() -> None:
    lead = {"Type": "Adalbert", "SessionID": "ada@example.com", "CreateTime": "at noon, says Ada", "SerialNumber": [1]}
    masked_values = {"Type": "A•••", "SessionID": "a•••@•••", "CreateTime": "a•••", "SerialNumber": ["•••"]}
    assert masked_payload(lead) == masked_values
    usual = {"Type": "Appointment", "SessionID": "77", "CreateTime": "2026-11-24T10:00:00.512302Z"}
    assert masked_payload(usual) == usual


def test_a_destinations_words_are_masked_where_they_repeat_the_lead() -> None:
    known = personal(b'{"FirstName": "Ada", "Email": "ada@example.com", "Content": "call me", "Type": "Lead"}')
    text = 'field "ADA" of Ada@Example.com or other@example.org, +1 (202) 555-0123: call me (code 400)'
    assert masked_words(text, known) == 'field "•••" of A•••@••• or o•••@•••, +•••: c••• (code 400)'
    assert masked_words(None, known) is None
    assert personal(b"not JSON") == []


def test_a_long_message_is_looked_for_only_in_a_text_that_may_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern of a megabyte took seconds."""
    looked_for: list[str] = []
    sub = re.sub

    def noted(pattern: str, *given: Any, **named: Any) -> str:
        looked_for.append(pattern)
        return sub(pattern, *given, **named)

    monkeypatch.setattr(re, "sub", noted)
    assert masked_words("field `mail`: it says Adalbert", ["x" * 1_000_000, "Adalbert"]) == "field `mail`: it says A•••"
    assert looked_for == ["Adalbert"]


def test_pictures_say_what_they_show() -> None:
    drawn = hours([0, 3, 1], 23)
    assert "Leads by hour: 4 in 3 hours, 3 in the busiest one" in drawn
    assert "00:00: 3" in drawn
    assert hours([0] * 24, 0).count("<rect") == 24
    drawn = days([(date(2026, 11, 23), TallyTotals()), (date(2026, 11, 24), TallyTotals(Counter(delivered=5, dead=1)))])
    assert "Deliveries of 2 days: 5 delivered, 0 waiting, 1 not delivered" in drawn
    assert "24 Nov: 5 delivered, 0 waiting, 1 not delivered" in drawn
    assert drawn.count("<rect") == 2
    assert "Deliveries: 5 under 5 s, 1 later" in bands([5, 0, 0, 1])
    assert "none yet" in bands([0, 0, 0, 0])
    assert "&lt;daily&gt;: 5 of 100 left" in meter("<daily>", 5, 100)
    assert 'class="left low"' in meter("daily", 5, 100)
    assert 'width="0.0"' in meter("daily", 5, 0)


@pytest.mark.parametrize(
    ("server", "wrong"),
    [
        ("viewer_token: 0123456789abcdef", "needs `admin_token`"),
        ("admin_token: 0123456789abcdef, viewer_token: 0123456789abcdef", "is the same as `admin_token`"),
        ("admin_token: 0123456789abcdef, viewer_token: short", "too short"),
    ],
)
def test_a_viewers_token_is_checked(tmp_path: Path, server: str, wrong: str) -> None:
    (tmp_path / "config.yaml").write_text(f"server: {{{server}}}\n")
    with pytest.raises(ConfigError, match=wrong) as raised:
        load(tmp_path / "config.yaml", {})
    assert "0123456789abcdef" not in str(raised.value)


@pytest.mark.parametrize(
    ("number", "before", "written"),
    [(12, 10, "+20 %"), (5, 10, "-50 %"), (100, 10, "+900 %"), (101, 10, ""), (3, 0, "")],
)
def test_a_change_is_written_where_there_is_something_to_compare_with(
    number: float, before: float, written: str
) -> None:
    assert change(number, before) == written
