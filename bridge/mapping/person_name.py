"""Splitting of a person's full name as a visitor types it. Pure.

The first name and the rest are always the whole name: a CRM has two fields, and no word may be lost between them. So a
second name, a second surname, a nickname and a suffix belong to the rest, and a title stands at its end. Names in
Chinese characters are family names first, mostly without a space: 王小明 is Xiaoming Wang, and 欧阳 is one surname.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nameparser import ParsedName, Parser

NAME_LIMIT: Final = 300
"""Maximum number of characters of a text that is split."""
_SHORT_HAN: Final = 3
"""Characters of a name of one surname of one character. A longer one without a compound surname may be Japanese."""


@dataclass(frozen=True, slots=True, repr=False)
class PersonName:
    """A full name in two parts."""

    first: str = ""
    """The first name; empty if it cannot be known."""
    rest: str = ""
    """Everything else."""
    last: str = ""
    """The last name alone, which is a part of the rest."""


def split_name(text: str) -> PersonName:
    """Return the parts of a full name; a text without a recognisable first name is all rest."""
    if len(text) > NAME_LIMIT:
        return PersonName(rest=text)
    whole = " ".join(text.split())
    parsed = _parsed(whole)
    at = _position(whole, parsed.given)
    if at is None:
        return PersonName(rest=whole, last=parsed.family)
    before = whole[:at].strip(" ,")
    after = whole[at + len(parsed.given) :].strip(" ,")
    return PersonName(parsed.given, _rest(before, after, whole, parsed), parsed.family)


def _rest(before: str, after: str, whole: str, parsed: "ParsedName") -> str:
    """Return the words around the first name in the order in which a CRM shows them."""
    if not before or not after:
        return before or after
    if " " not in whole:  # 王小明先生
        return before + after
    if before == parsed.title:
        return f"{after}, {before}"
    return f"{after} {before}" if "," in whole else f"{before} {after}"


def _position(whole: str, first: str) -> int | None:
    """Return the index of the first name as a word of its own, else anywhere in the text."""
    if not first:
        return None
    padded = f" {whole.replace(',', ' ')} "
    at = padded.find(f" {first} ")
    at = at if at >= 0 else whole.find(first)
    return at if at >= 0 else None


def _parsed(whole: str) -> "ParsedName":
    parsed = _parser().parse(whole)
    if parsed.given or " " in whole:
        return parsed
    chinese = _parser(chinese=True).parse(whole)
    is_chinese = len(chinese.family) > 1 or len(chinese.family + chinese.given) <= _SHORT_HAN
    return chinese if chinese.given and is_chinese else parsed


@lru_cache
def _parser(*, chinese: bool = False) -> "Parser":
    from nameparser import locales, parser_for  # noqa: PLC0415 - 30 ms and 2 MB that only those who use it should pay

    return parser_for(locales.ZH) if chinese else parser_for()
