from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.appointments import MONTHS, WEEKDAYS, AppointmentTimes, start_of, times_of

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


@pytest.mark.parametrize(
    "text",
    [
        "Cita: miércoles 25 de noviembre de 2026 a las 10:00.",
        "miércoles, 25 de noviembre de 2026, a las 10:00 horas",
        "25 de nov. de 2026, 10:00 a. m.",
        "25 de noviembre de 2026 a las 10 de la mañana",
        "25/11/2026 a las 10",
        "rendez-vous le mercredi 25 novembre 2026 à 10h00",
        "MERCREDI 25 NOVEMBRE 2026 À 10 H",
        "25 nov. 2026 de 10h à 11h",
        "25 novembre 2026 à 10 heures",
        "25 novembre 2026 à 10 heures du matin",
        "Termin am Mittwoch, den 25. November 2026 um 10:00 Uhr",
        "Mi., 25.11.2026 um 10 Uhr",
        "25. Nov. 2026, 10.00 Uhr MEZ",
        "25. 11. 2026 von 10 bis 11 Uhr",
        "quarta-feira, 25 de novembro de 2026, às 10h",
        "quarta 25 nov 2026 às 10:00",
        "25 de novembro de 2026 às 10 da manhã",
        "mercoledì 25 novembre 2026 alle 10",
        "mer 25 nov 2026 alle ore 10:00",
        "woensdag 25 november 2026 om 10.00 uur",
        "25 november 2026 om 10 uur 's ochtends",
        "2026年11月25日 10:00",
        "2026年11月25日（星期三）上午10点",
        "2026年11月25日周三上午10：00",
        "2026 年 11 月 25 日 10点00分",
        "２０２６年１１月２５日１０：００",
    ],
)
def test_names_are_read_in_eight_languages(text: str) -> None:
    assert start_of(text, CREATED, MADRID) == AT_NINE


@pytest.mark.parametrize(
    "text",
    [
        "25 de noviembre de 2026 a las 3:30 de la tarde",
        "25 de noviembre de 2026, 3:30 p. m.",
        "25 novembre 2026 à 15h30",
        "25 novembre 2026 à 15 heures 30",
        "25 novembre 2026 à 3h30 de l’après-midi",
        "25. November 2026 um 15 Uhr 30",
        "25. November 2026 um 3:30 Uhr nachmittags",
        "25 de novembro de 2026 às 3:30 da tarde",
        "25 novembre 2026 alle 15:30",
        "25 novembre 2026 alle 3:30 del pomeriggio",
        "25 november 2026 om 15.30 uur",
        "2026年11月25日下午3点半",
        "2026年11月25日下午3点30分",
        "November 25, 2026 at 3:30 in the afternoon",
    ],
)
def test_halves_of_the_day_and_hours_with_a_word_are_read(text: str) -> None:
    assert start_of(text, CREATED, MADRID) == datetime(2026, 11, 25, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "martes 25 de noviembre de 2026 a las 10:00",  # a Wednesday
        "Di, 25. November 2026 um 10 Uhr",
        "2026年11月25日（星期二）上午10点",
        "25 de noviembre de 2026 a las 3:00",  # morning or afternoon
        "25 de noviembre de 2026 a las 10 y media",
        "25 de noviembre de 2026 a las 10 y 30",
        "25 de noviembre de 2026 a las 12 de la noche",
        "25 de noviembre de 2026 a las 1 de la noche",
        "25 de noviembre de 2026 a las 10 o a las 11:00",
        "25. November 2026 um 3 Uhr",
        "25. November 2026 um 15 Uhr 30 Personen",
        "25. November 2026 um 10 Uhr oder 11 Uhr",
        "25. November 2026 um 10 Uhr Berliner Zeit",
        "25 novembre 2026 à 10h (heure de Montréal)",
        "25 novembre 2026 vers 10h",  # about
        "2026年11月25日中午11点",
        "2026年11月25日3点",
        "05/11/2027 a las 10:00",  # May or November
        "25. November 2026 10 Personen",
        "25 de noviembre a las 10:00",  # which year?
    ],
)
def test_nothing_is_guessed_in_any_language(text: str) -> None:
    assert start_of(text, CREATED, MADRID) is None


def test_a_weekday_decides_between_day_and_month() -> None:
    assert start_of("Friday 05/11/2027 10:00", CREATED, UTC) == datetime(2027, 11, 5, 10, tzinfo=UTC)
    assert start_of("Tuesday 05/11/2027 10:00", CREATED, UTC) == datetime(2027, 5, 11, 10, tzinfo=UTC)
    assert start_of("Monday 05/11/2027 10:00", CREATED, UTC) is None


def test_an_end_is_read_if_it_is_stated() -> None:
    end = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
    for text in (
        "2026-11-25 10:00 - 11:30",
        "25 novembre 2026 de 10h à 11h30",
        "25. November 2026 von 10 bis 11.30 Uhr",
        "25 de noviembre de 2026 de 10:00 a 11:30",
        "2026年11月25日上午10点至11点半",
    ):
        assert times_of(text, CREATED, MADRID) == AppointmentTimes(AT_NINE, end)
    assert times_of("2026-11-25 10:00", CREATED, MADRID) == AppointmentTimes(AT_NINE)


def test_without_the_time_of_its_making_any_stated_time_is_read() -> None:
    assert start_of("2020-01-01 10:00", None, UTC) == datetime(2020, 1, 1, 10, tzinfo=UTC)


def test_a_name_stands_for_one_month_or_weekday() -> None:
    for number in range(1, 13):
        assert sum(each == number for each in MONTHS.values()) > 4
    assert set(WEEKDAYS.values()) == set(range(7))
