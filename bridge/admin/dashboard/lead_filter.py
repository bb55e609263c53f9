"""The filter of the list of leads: its fields in the address of the page, and the leads that it selects. Pure.

The address names no person. The days of a period are those of a time zone, which the browser's script adds; without a
script they are days of UTC, as in the numbers on Home.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bridge.admin import request_schemas
from bridge.admin.authentication import RequestRefusedError
from bridge.admin.dashboard.page import FormFields, parse_fields
from bridge.operations.leads import Criteria, LeadQuery, LeadState, lead_criteria
from bridge.store.filter import Scope

STATES: Final[Mapping[str, str]] = {
    LeadState.PENDING: "waiting",
    LeadState.DELIVERED: "in the CRM",
    LeadState.DEAD: "not delivered",
    LeadState.DISCARDED: "discarded",
    LeadState.WARNING: "with a warning",
    LeadState.TEST: "tests",
    LeadState.UNRECOGNISED: "not recognised",
}
"""States that a list of leads can be filtered by, with their names for people."""
PERIODS: Final[Mapping[str, str]] = {"1": "today", "7": "last 7 days", "30": "last 30 days"}
"""Presets, by their number of days. The last one is today."""
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
_DAY: Final = re.compile(r"[12]\d{3}-\d\d-\d\d", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z0-9_+/-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class LeadFilter:
    """A filter as somebody has chosen it."""

    state: LeadState | None = None
    chatbot: str | None = None
    destination: str | None = None
    days: int | None = None
    """A preset; None with a first or last day of its own."""
    first: date | None = None
    last: date | None = None
    zone: str = "UTC"

    @classmethod
    def of(cls, fields: FormFields) -> Self:
        """Read the fields of an address or a form. Raises RequestRefusedError."""
        state, days = fields.get("state", ""), fields.get("days", "")
        if state and state not in STATES:
            raise RequestRefusedError(400, f"state: must be one of {', '.join(STATES)}")
        if days and days not in PERIODS:
            raise RequestRefusedError(400, f"days: must be one of {', '.join(PERIODS)}")
        names = {name: fields.get(name, "") for name in ("chatbot", "destination")}
        named: request_schemas.DeliveryListRequest = parse_fields(request_schemas.DeliveryListRequest, names)
        first, last = (_day(name, fields.get(name, "").strip()) for name in ("from", "to"))
        if first and last and last < first:
            first, last = last, first
        return cls(
            LeadState(state) if state else None,
            named.chatbot,
            named.destination,
            int(days) if days and not (first or last) else None,
            first,
            last,
            _zone_name(fields.get("zone", "")),
        )

    @property
    def fields(self) -> dict[str, str]:
        """All fields with their texts, empty ones too."""
        return {
            "state": self.state or "",
            "chatbot": self.chatbot or "",
            "destination": self.destination or "",
            "days": str(self.days or ""),
            "from": self.first.isoformat() if self.first else "",
            "to": self.last.isoformat() if self.last else "",
            "zone": self.zone,
        }

    @property
    def query(self) -> dict[str, str]:
        """The fields that select something, as an address has them."""
        timed = self.days or self.first or self.last
        return {name: text for name, text in self.fields.items() if text and (timed or name != "zone")}

    def criteria(self, now: float, scope: Scope, before: int | None, limit: int) -> Criteria:
        """Return the criteria of a page of leads, of which the reader sees those of `scope`."""
        since, until = self.period(now)
        query = LeadQuery(self.state, self.chatbot, self.destination, since, until)
        return lead_criteria(query, scope, before, limit)

    def period(self, now: float) -> tuple[float | None, float | None]:
        """Return the first moment of the days, and the first after them; None without a bound."""
        zone = _zone(self.zone)
        first, last = self.first, self.last
        if self.days:
            first = datetime.fromtimestamp(now, zone).date() - timedelta(days=self.days - 1)
        return (
            _midnight(first, zone) if first else None,
            _midnight(last + timedelta(days=1), zone) if last else None,
        )


def numbers(name: str, text: str, most: int) -> list[int]:
    """Read numbers with points between them, as forms and addresses have them. Raises RequestRefusedError."""
    found = text.split(".") if text else []
    if len(found) > most or not all(map(_NUMBER.fullmatch, found)):
        raise RequestRefusedError(400, f"{name}: must be at most {most} numbers with points between them")
    return [int(each) for each in found]


def _day(name: str, text: str) -> date | None:
    if not text:
        return None
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise RequestRefusedError(400, f"{name}: write a day such as 2026-11-24")


def _midnight(day: date, zone: tzinfo) -> float:
    return datetime.combine(day, time(), zone).timestamp()


def _zone_name(text: str) -> str:
    """Return the name of a zone that is known here, otherwise UTC."""
    return text if _ZONE.fullmatch(text) and _zone(text) is not UTC else "UTC"


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
