"""Month and weekday names in English, Spanish, French, German, Portuguese, Italian, Dutch and Chinese. Pure.

The names and their abbreviations are those of the Unicode CLDR, without accents and in lower case. Each stands for the
same month or day in all these languages. Abbreviations of two letters are missing because some are words of another
language; the German ones are kept because they begin with a capital. Babel and dateparser have the same names, but need
10 MB of memory or more.
"""

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

_MONTHS = (
    "january jan enero ene janvier janv januar janeiro gennaio gen januari",
    "february feb febrero fevrier fevr februar fevereiro fev febbraio februari",
    "march mar marzo mars marz mrz marco maart mrt",
    "april apr abril abr avril avr aprile",
    "may mayo mai maio maggio mag mei",
    "june jun junio juin juni junho giugno giu",
    "july jul julio juillet juil juli julho luglio lug",
    "august aug agosto ago aout augustus",
    "september sept sep septiembre septembre setembro set settembre",
    "october oct octubre octobre oktober okt outubro out ottobre ott",
    "november nov noviembre novembre novembro",
    "december dec diciembre dic decembre dezember dez dezembro dicembre",
)
_WEEKDAYS = (
    "monday mon lunes lun lundi montag segunda-feira segunda seg lunedi maandag 一",
    "tuesday tues tue martes mar mardi dienstag terca-feira terca ter martedi dinsdag 二",
    "wednesday weds wed miercoles mie mercredi mer mittwoch quarta-feira quarta qua mercoledi woensdag 三",
    "thursday thurs thur thu jueves jue jeudi jeu donnerstag quinta-feira quinta qui giovedi gio donderdag 四",
    "friday fri viernes vie vendredi ven freitag sexta-feira sexta sex venerdi vrijdag 五",
    "saturday sat sabado sab samedi sam samstag zaterdag sabato 六",
    "sunday sun domingo dom dimanche dim sonntag domenica zondag 日 天",
)
GERMAN_WEEKDAYS = ("Mo", "Di", "Mi", "Do", "Fr", "Sa", "So")
"""German abbreviations from Monday on; in lower case some are words of other languages."""


def _numbered(names: tuple[str, ...], first: int) -> Mapping[str, int]:
    return MappingProxyType({name: number for number, line in enumerate(names, first) for name in line.split()})


MONTHS: Mapping[str, int] = _numbered(_MONTHS, 1)
"""Number of each month by its names."""
WEEKDAYS: Mapping[str, int] = _numbered(_WEEKDAYS, 0)
"""Number of each weekday by its names, Monday is 0; Chinese ones without the word for week."""


def plain_text(text: str) -> str:
    """Return a text without accents and full-width signs, with single blanks between its words."""
    parts = unicodedata.normalize("NFKD", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join("".join(each for each in parts if not unicodedata.combining(each)).split())
