"""Phone numbers as visitors type them, read with the numbering plans of all countries. Pure.

A number is believed if its length is one that its country's plan allows; plans change too often to ask for more. The
plans are loaded with the first transform that needs them, since they take 20 ms and some memory.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

PHONE_LIMIT: Final = 300
"""Maximum number of characters of a text that is read."""
_NO_COUNTRY: Final = "001"
"""Region of the library for numbers of no country, such as +800."""


def known_country(code: str) -> str | None:
    """Return a two-letter country code in upper case; None if no country has it."""
    import phonenumbers  # noqa: PLC0415 - see above

    country = code.strip().upper()
    return country if country in phonenumbers.SUPPORTED_REGIONS else None


def e164_form(text: str, country: str) -> str | None:
    """Return a number as `+14155550100`; None for a text that is no number. `country` is that of numbers without one.

    An extension is removed, because the format has no place for it.
    """
    import phonenumbers  # noqa: PLC0415 - see above

    number = _read(text, country)
    return None if number is None else phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def country_of(text: str, country: str | None) -> str:
    """Return the two-letter code of a number's country; `""` if it cannot be known.

    Several countries share a code (+1, +44), so that the digits after it decide. Where they belong to none of them yet,
    `country` is assumed if the code is its own.
    """
    import phonenumbers  # noqa: PLC0415 - see above

    number = _read(text, country)
    if number is None:
        return ""
    found = phonenumbers.region_code_for_number(number)
    if found is None and country in phonenumbers.region_codes_for_country_code(number.country_code or 0):
        found = country
    return "" if found in (None, _NO_COUNTRY) else found


def _read(text: str, country: str | None) -> "PhoneNumber | None":
    import phonenumbers  # noqa: PLC0415 - see above

    if not text.strip() or len(text) > PHONE_LIMIT:
        return None
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_possible_number(number) else None
