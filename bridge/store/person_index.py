"""The index of persons: the keys of an address or phone number on deliveries, and the events that have them.

A delivery carries keyed hashes of its event's e-mail address and phone number (`bridge.event.Event.contact` and
`phone`). A phone number is hashed as the chatbot's visitor wrote it, so a search tries every form of the number.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson
from sqlalchemy import JSON, BigInteger, BindParameter, Column, Connection, cast, func, literal, select, text

from bridge.identity import LEAST_PHONE_DIGITS, Identity
from bridge.store.person_match import number_forms
from bridge.store.schema import deliveries

SETTLED: Final = "deliveries.state != 'pending'"
"""Condition of the partial indexes."""
WHOLE_PHONE_DIGITS: Final = 10
"""Digits from which a number without a country code counts as whole. Fewer may be the end of a number."""

PersonKeys: TypeAlias = Mapping[Column[Any], Sequence[int]]
"""The keys of a person, by the column that may hold one of them."""

_NOT_DIGITS: Final = re.compile(r"\D+", re.ASCII)
_INTERNATIONAL: Final = ("+", "00")


LEAST_SEARCH_DIGITS, LEAST_PART = 6, 3
"""Fewest digits of a phone number, and fewest characters of a part of an address, to search for."""


def email_keys(identity: Identity, email: str) -> PersonKeys:
    """Return the key of an e-mail address."""
    return {deliveries.c.contact: [identity.email_contact(email)]}


def phone_keys(identity: Identity, phone: str) -> PersonKeys:
    """Return the keys of a phone number: an event without an e-mail address has it as its contact."""
    keys = [identity.phone_contact(each) for each in sorted(possible_numbers(phone))]
    return {deliveries.c.contact: keys, deliveries.c.phone: keys}


def is_searchable(part: str) -> bool:
    """Return True if a part of a name or an address is long enough: two characters of a script such as Chinese."""
    return len(part) >= (LEAST_PART if part.isascii() else LEAST_PART - 1)


def is_whole_number(phone: str) -> bool:
    """Return True if a text is a whole phone number, not only the end of one."""
    return phone.strip().startswith(_INTERNATIONAL) or len(_NOT_DIGITS.sub("", phone)) >= WHOLE_PHONE_DIGITS


def possible_numbers(phone: str) -> frozenset[str]:
    """Compute the digits that an event may have for a phone number: with and without the country's code.

    A number that is written without one may belong to any country.
    """
    written = unicodedata.normalize("NFKC", phone).strip()
    digits = _NOT_DIGITS.sub("", written)
    forms = {digits, *number_forms(written, None), *number_forms(f"+{digits}", None)}
    if not written.startswith(_INTERNATIONAL):
        forms.update(_anywhere(digits))
    forms |= {f"00{each}" for each in forms if not each.startswith("0")}
    return frozenset(each for each in forms if len(each) >= LEAST_PHONE_DIGITS)


def settled(connection: Connection, keys: PersonKeys, low: int, high: int, limit: int) -> set[int]:
    """Return the events from `low` to below `high` with settled deliveries of the person, the newest of each key."""
    found, seq = set[int](), deliveries.c.event_seq
    for column, theirs in keys.items():
        for key in theirs if len(theirs) == 1 else _present(connection, column, theirs):
            asked = select(seq).where(text(SETTLED), column == key, seq >= low, seq < high).distinct()
            found.update(connection.execute(asked.order_by(seq.desc()).limit(limit)).scalars())
    return found


def _anywhere(digits: str) -> Iterator[str]:
    """Yield a national number with the code of each country."""
    import phonenumbers  # noqa: PLC0415 - as in `number_forms`

    # A zero before a national number is left out behind a country's code, but not in Italy.
    national = digits.lstrip("0")
    yield national
    yield f"0{national}"
    for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        yield f"{code}{national}"
        yield f"{code}{digits}"


def _present(connection: Connection, column: Column[Any], keys: Sequence[int]) -> Sequence[int]:
    """Return those of many keys that a settled delivery has: one look into the index for each, whatever is planned."""
    given: BindParameter[str] = literal(orjson.dumps(list(keys)).decode())
    postgresql = connection.dialect.name == "postgresql"
    each = func.json_array_elements_text(cast(given, JSON)) if postgresql else func.json_each(given)
    key = cast(each.table_valued("value").c.value, BigInteger)
    first = select(literal(1)).where(text(SETTLED), column == key).limit(1).scalar_subquery()
    return connection.execute(select(key).where(first.is_not(None))).scalars().all()
