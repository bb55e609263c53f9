"""What is shown of personal data, secrets and numbers; all of it pure."""

from pathlib import Path

import pytest

from bridge.admin.charts import hours, meter, share
from bridge.admin.masking import masked, masked_payload, masked_words, personal
from bridge.config.load import load
from bridge.config.problems import ConfigError


def test_a_masked_lead_says_who_sent_it_and_not_who_it_is() -> None:
    lead = {
        "SerialNumber": "59001",
        "Type": "Lead",
        "FirstName": "Ada",
        "Email": "ada@example.com",
        "LastName": "",
        "SessionID": 5,
        "Extra": {"deep": ["secret", 12345, True, None]},
    }
    assert masked_payload(lead) == {
        "SerialNumber": "59001",
        "Type": "Lead",
        "FirstName": "A•••",
        "Email": "a•••@•••",
        "LastName": "",
        "SessionID": 5,
        "Extra": {"deep": ["s•••", "1•••", True, None]},
    }
    assert masked_payload("no JSON at all") == "n•••"
    assert masked(None) is None


def test_a_destinations_words_are_masked_where_they_repeat_the_lead() -> None:
    known = personal(b'{"FirstName": "Ada", "Email": "ada@example.com", "Content": "call me", "Type": "Lead"}')
    text = 'field "ADA" of Ada@Example.com or other@example.org, +1 (202) 555-0123: call me (code 400)'
    assert masked_words(text, known) == 'field "A•••" of A•••@••• or o•••@•••, +•••: c••• (code 400)'
    assert masked_words(None, known) is None
    assert personal(b"not JSON") == []


def test_pictures_say_what_they_show() -> None:
    drawn = hours([0, 3, 1], 23)
    assert "Leads by hour: 4 in 3 hours, 3 in the busiest one" in drawn
    assert "00:00: 3" in drawn
    assert hours([0] * 24, 0).count("<rect") == 24
    assert "Deliveries: 5 delivered, 1 dead" in share({"delivered": 5, "dead": 1})
    assert "none yet" in share({})
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
