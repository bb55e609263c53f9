from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.appointments import start_of

CREATED = datetime(2026, 11, 24, 10, tzinfo=UTC)
MADRID = ZoneInfo("Europe/Madrid")
NEW_YORK = ZoneInfo("America/New_York")
AT_NINE = datetime(2026, 11, 25, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-25T10:00",
        "2026-11-25T10:00:00+01:00",
        "2026-11-25T09:00:00Z",
        "2026-11-25T09:00:00.1234567Z",
        "2026-11-25T04:00:00-05:00",
        "2026-11-25 04:00:00-05:00",
        "2026-11-25 10:00",
        "2026/11/25 10:00",
        "2026-11-25, 10:00",
        "2026-11-25 - 10:00",
        "2026-11-25 10 AM",
        "Appointment on November 25, 2026 at 10:00 AM, please call.",
        "November 25, 2026 at 10:00 a.m.",
        "NOVEMBER 25th, 2026, 10:00am",
        "Wednesday, November 25, 2026, 10:00 AM - 10:30 AM",
        "Wed 25 Nov. 2026 10:00-10:30",
        "25 November 2026 from 10:00 to 11:00",
        "the 25th of November 2026 @ 10am",
        "25/11/2026 10:00",
        "25.11.2026 10:00 Uhr",
        "11/25/2026 10:00 AM",
        "11-25-2026 10:00",
        "2026-11-25 10:00h",
        "2026-11-25 09:00 UTC",
        "2026-11-25 09:00 (UTC)",
        "2026-11-25 10:00 AM (GMT+1)",
        "2026-11-25 10:00 UTC+01:00",
        "2026-11-25 10:00 +0100",
        "2026-11-25 10:00 - 10:30 (GMT+01:00)",
        "2026-11-25 04:00 America/New_York",
        "2026-11-25 10:00 CET",
        "2026-11-25t09:00z",
        "2026-11-25 09:00 utc",
        "2026-11-25 10:00 AM - 10:30 AM CET",
        "Date: 2026-11-25 10:00\nbooked: 2026-11-24 09:59",
        "2026-11-25 10:00, that is 2026-11-25T09:00:00Z",
        "2026-11-25 10:00. Call me.",
    ],
)
def test_an_explicit_date_with_an_explicit_time_is_read(text: str) -> None:
    assert start_of(text, CREATED, MADRID) == AT_NINE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "test",
        "tomorrow at 10:00",
        "Wednesday at 10",
        "November 25 at 10:00 AM",
        "November 25, 2026",
        "2026-11-25",
        "10:00",
        "at 10:00 AM on November 25",
        "25/11/26 10:00",
        "05/11/2027 10:00",  # May or November
        "05.11.2027 10:00",
        "2026-11-25 8:00",  # morning or evening
        "2026-11-25 08:00 de la tarde",
        "2026-11-25 08:00 in the evening",
        "2026-11-25 10",
        "2026-11-25 13:00 PM",
        "2026-11-25 0 AM",
        "2026-11-25 24:00",
        "2026-11-25 10:61",
        "2026-11-25 10:00-05:00",  # a range over night, or an offset
        "2026-11-25 10:00 - 1:00 PM",
        "2026-11-25 10:00 AM or 2:00 PM",
        "2026-11-25 10:00 / 11:00",
        "2026-11-25 10:00 EST",  # not what Madrid calls its time
        "2026-11-25 10:00 CEST",  # not in November
        "2026-11-25 10:00 Eastern Time",
        "2026-11-25 10:00 (Pacific)",
        "2026-11-25 10:00 local time",
        "2026-11-25 10:00 est",
        "2026-11-25 10:00 in New York",
        "2026-11-25 10:00 London time",
        "2026-11-25 10:00 Mars/Olympus_Mons",
        "2026-11-25 10:00 Europe/../../etc/passwd",
        "Monday, November 25, 2026 at 10:00 AM",  # a Wednesday
        "from November 25, 2026 at 10:00 AM to November 26, 2026 at 11:00 AM",
        "2026-11-25 10:00 or 05/11/2027 10:00",
        "2027-02-30 10:00",
        "2027-13-01 10:00",
        "2027-03-28 02:30",  # left out by summer time
        "2027-10-31 02:30",  # twice
        "2026-11-24 10:59",  # before it was made
        "2023-11-25 10:00",
        "2029-11-25 10:00",
        "12026-11-25 10:00",
        "id 7-2026-11-25 10:00",
        "2026-11-25 10:00:99",
        "٢٠٢٦-11-25 10:00",
    ],
)
def test_nothing_is_guessed(text: str) -> None:
    assert start_of(text, CREATED, MADRID) is None


def test_an_abbreviation_is_what_the_zone_calls_itself() -> None:
    text = "November 25, 2026 at 10:00 AM {}"
    assert start_of(text.format("EST"), CREATED, NEW_YORK) == datetime(2026, 11, 25, 15, tzinfo=UTC)
    assert start_of(text.format("EDT"), CREATED, NEW_YORK) is None


def test_without_a_zone_the_text_must_name_one() -> None:
    assert start_of("2026-11-25 10:00", CREATED, None) is None
    assert start_of("2026-11-25 10:00 - 10:30", CREATED, None) is None
    assert start_of("2026-11-25T10:00:00+01:00", CREATED, None) == AT_NINE


def test_noon_and_midnight() -> None:
    assert start_of("2026-11-25 12:30 AM UTC", CREATED, None) == datetime(2026, 11, 25, 0, 30, tzinfo=UTC)
    assert start_of("2026-11-25 12:30 PM UTC", CREATED, None) == datetime(2026, 11, 25, 12, 30, tzinfo=UTC)


def test_a_long_text_is_searched_in_no_time() -> None:
    assert start_of("2026-11-25 " * 100_000, CREATED, MADRID) is None
    assert start_of(" " * 1_000_000, CREATED, MADRID) is None
    assert start_of("Wednesday " * 100_000, CREATED, MADRID) is None


@given(st.text(alphabet="0123456789-/.:,T Z+apmNovember25atUTC", max_size=60))
def test_any_text_gives_a_start_in_the_future_or_none(text: str) -> None:
    start = start_of(text, CREATED, MADRID)
    assert start is None or start > CREATED


@given(st.datetimes(min_value=datetime(2026, 11, 25), max_value=datetime(2028, 11, 20)))  # noqa: DTZ001
def test_every_form_gives_the_same_start(moment: datetime) -> None:
    expected = moment.replace(second=0, microsecond=0, tzinfo=UTC)
    forms = ("%Y-%m-%dT%H:%MZ", "%Y-%m-%d %H:%M UTC", "%A, %B %d, %Y at %I:%M %p UTC", "%d %b %Y %H:%M UTC")
    assert [start_of(expected.strftime(form), CREATED, MADRID) for form in forms] == [expected] * len(forms)
