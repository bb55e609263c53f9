import pytest

from connectors.phone_numbers import is_same_phone, phone_notations


def test_a_number_has_all_its_usual_notations() -> None:
    found = phone_notations("+34 600 000 000")
    assert found[0] == "+34 600 000 000"
    assert set(found) >= {"+34600000000", "+34 600 00 00 00", "600 00 00 00", "34600000000", "600000000"}
    assert set(phone_notations("(415) 555-0100", "US")) >= {"+14155550100", "+1 415-555-0100", "(415) 555-0100"}


def test_without_a_country_only_the_text_and_its_digits_are_known() -> None:
    assert phone_notations("600 111 222") == ("600 111 222", "600111222")


@pytest.mark.parametrize("text", ["", "  ", "no number", "12", "+" * 50, "1" * 50])
def test_no_number_is_only_itself(text: str) -> None:
    assert set(phone_notations(text)) <= {text.strip()}


def test_notations_of_one_number_are_the_same_phone() -> None:
    assert is_same_phone("+34 600 000 000", "600 00 00 00")
    assert is_same_phone("0034 600000000", "+34600000000", "ES")
    assert not is_same_phone("+34 600 000 000", "600 000 001")
    assert not is_same_phone("", "+34600000000")
