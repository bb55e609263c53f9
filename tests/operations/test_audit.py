"""What may stand in the audit log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.operations.audit import BY_COMMAND, Action, Entry, Means, Subject, Who
from tests.building import lead

PERSONAL = [value for value in lead(PhoneNumber="+1 202 555 0123").values() if "@" in str(value) or " " in str(value)]


@pytest.mark.parametrize("said", [*PERSONAL, "", "García", "two words", "a\nb", "{}", "x" * 101, "-x"])
def test_what_is_no_name_is_refused(said: str) -> None:
    for facts, subject_id in (({"reason": said}, "1"), ({said: 1}, "1"), ({}, said)):
        with pytest.raises(ValueError, match="only names, ids and numbers") as raised:
            Entry(BY_COMMAND, Action.PAUSE, Subject.LANE, subject_id, facts=facts)
        assert not said or said not in str(raised.value).replace("audit entry pause: ", "")


@given(st.emails() | st.text().filter(lambda text: " " in text or "@" in text))
def test_no_address_and_no_sentence_gets_in(said: str) -> None:
    with pytest.raises(ValueError, match="only names"):
        Entry(BY_COMMAND, Action.SEARCH, facts={"by": said})


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(#[0-9])?", fullmatch=True), st.integers())
def test_names_of_the_configuration_and_numbers_do(name: str, number: int) -> None:
    entry = Entry(
        BY_COMMAND, Action.MOVE, Subject.DELIVERY, str(abs(number) % 10**18), facts={"to": name, "of": number}
    )
    assert entry.line() == {
        "action": "move",
        "role": "operator",
        "means": "command",
        "session": None,
        "address": None,
        "delivery": str(abs(number) % 10**18),
        "to": name,
        "of": number,
    }


def test_the_line_of_the_log_keeps_its_own_names() -> None:
    who = Who("viewer", Means.SESSION, "0123abcd", "127.0.0.1")
    line = Entry(who, Action.REVEAL, Subject.EVENT, "006b", 2).line()
    assert (line["event_id"], line["count"], line["session"], line["address"]) == ("006b", 2, "0123abcd", "127.0.0.1")
    assert "event" not in line
