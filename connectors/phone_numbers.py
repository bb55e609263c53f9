"""The notations of a phone number, for CRMs that find records by the text of a phone. Pure.

People and programs write one number in many ways, and a CRM compares texts: `+34600000000` does not find
`600 000 000`. So a search names every usual notation.
"""

import re
from functools import lru_cache

_LONGEST = 40  # characters; a longer text is no phone number
_FEWEST = 7  # digits of a whole number
_NO_DIGIT = re.compile(r"[^0-9]")


def digits_of(text: str) -> str:
    """Return the digits of a phone number."""
    return _NO_DIGIT.sub("", text)


@lru_cache(maxsize=1024)
def phone_notations(text: str, region: str | None = None) -> tuple[str, ...]:
    """Return the notations in which a CRM may hold a phone number, as it was written first, each once.

    They are E.164, the international form with blanks, the national form, and the digits of each. Without a country
    code in the text, and without a region, only the text itself and its digits are known.

    Args:
        text: The number as somebody wrote it.
        region: Two-letter country of numbers without a country code.
    """
    import phonenumbers  # noqa: PLC0415 - 20 ms and some memory that only those who search by phone should pay

    text = text.strip()
    if not len(digits_of(text)) >= _FEWEST or len(text) > _LONGEST:
        return (text,) if text else ()
    written = [text]
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        number = None
    if number is not None and phonenumbers.is_possible_number(number):
        forms = phonenumbers.PhoneNumberFormat
        written += [
            phonenumbers.format_number(number, form) for form in (forms.E164, forms.INTERNATIONAL, forms.NATIONAL)
        ]
    return tuple(dict.fromkeys([*written, *map(digits_of, written)]))


def e164_notation(text: str, region: str | None = None) -> str:
    """Return a phone number in E.164, empty for a text whose country is unknown."""
    return next((each for each in phone_notations(text, region) if each.startswith("+") and each[1:].isdecimal()), "")


def is_same_phone(one: str, other: str, region: str | None = None) -> bool:
    """Return True if two texts are notations of one phone number."""
    digits = {digits_of(each) for each in phone_notations(one, region)}
    return not digits.isdisjoint(digits_of(each) for each in phone_notations(other, region))
