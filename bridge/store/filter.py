"""Filters of the rows that people read and change: whose rows, and which of them, and what both mean in SQL."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, FromClause, Select, String, literal, true

from bridge.event import EventState
from bridge.store.interface import PAGE, DeliveryState
from bridge.store.schema import events


@dataclass(frozen=True, slots=True)
class Scope:
    """The chatbots that a reader sees, or that somebody asks for.

    Every query takes one, so that another client's rows are never read.
    """

    chatbots: frozenset[str] | None = None
    """Their names; None for all chatbots, with the rows of no known chatbot."""

    @property
    def is_whole(self) -> bool:
        """True if everything is seen."""
        return self.chatbots is None

    def sees(self, chatbot: str | None) -> bool:
        """Return True if the rows of a chatbot are seen."""
        return self.chatbots is None or chatbot in self.chatbots

    def within(self, other: "Scope") -> bool:
        """Return True if everything in this scope is in another one."""
        return other.chatbots is None or (self.chatbots is not None and self.chatbots <= other.chatbots)

    def narrowed(self, chatbot: str | None) -> "Scope":
        """Return the part of one chatbot, which is empty if it is not seen; without a name, the scope itself."""
        if not chatbot:
            return self
        return Scope(frozenset({chatbot} if self.sees(chatbot) else ()))

    def of(self, chatbot: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the condition on a column with the names of chatbots."""
        return true() if self.chatbots is None else chatbot.in_(sorted(self.chatbots))


EVERYTHING: Final = Scope()


@dataclass(frozen=True, slots=True, repr=False)
class EventFilter:
    """Filter for events. A field that is None matches every event."""

    chatbot: str | None = None
    state: EventState | None = None
    email: str | None = None
    email_part: str | None = None
    """A part of the address, at least `LEAST_PART` characters."""
    person_part: str | None = None
    """A part of the name or of the address, at least `LEAST_PART` characters."""
    phone: str | None = None
    """The whole number, or its last digits, at least `LEAST_SEARCH_DIGITS`, grouped in any way."""
    since: float | None = None
    until: float | None = None
    before: int | None = None
    """The cursor: `next` of the page before."""
    limit: int = PAGE
    scope: Scope = EVERYTHING
    """The chatbots that the reader sees."""

    def narrow(self, query: Select[Any]) -> Select[Any]:
        """Add the conditions on columns of `events` to a query."""
        query = query.where(self.scope.narrowed(self.chatbot).of(events.c.chatbot))
        if self.state is not None:
            query = query.where(in_state(events.c.state, self.state.value))
        if self.since is not None:
            query = query.where(events.c.received_at >= self.since)
        return query if self.until is None else query.where(events.c.received_at < self.until)


@dataclass(frozen=True, slots=True, repr=False)
class DeliveryFilter:
    """Filter for deliveries: of a page, or of a change to all of them. A field that is None matches every delivery."""

    chatbot: str | None = None
    destination: str | None = None
    state: DeliveryState | None = None
    reason: str | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None
    """The cursor: `next` of the page before."""
    limit: int = PAGE
    warning: bool | None = None
    """True for deliveries with a warning, False for those without."""
    scope: Scope = EVERYTHING
    """The chatbots that the reader sees, or whose deliveries the acting person may change."""

    @property
    def is_of_chatbots(self) -> bool:
        """True if the event of a delivery must be read, which has its chatbot."""
        return self.chatbot is not None or not self.scope.is_whole

    @property
    def conditions(self) -> dict[str, str]:
        """The conditions that stand in an entry of the audit log, by name."""
        state = None if self.state is None else self.state.value
        asked = {"state": state, "chatbot": self.chatbot, "destination": self.destination, "reason": self.reason}
        return {name: value for name, value in asked.items() if value is not None}

    def narrow(self, query: Select[Any], rows: FromClause) -> Select[Any]:
        """Add the conditions on chatbot, destination and reason to a query of `rows`, a part of the deliveries."""
        if self.is_of_chatbots:
            query = query.select_from(rows.join(events, events.c.seq == rows.c.event_seq))
            query = query.where(self.scope.narrowed(self.chatbot).of(events.c.chatbot))
        if self.destination is not None:
            query = query.where(rows.c.destination == self.destination)
        return query if self.reason is None else query.where(rows.c.reason == self.reason)


@dataclass(frozen=True, slots=True)
class SelectionExtent:
    """The number of selected deliveries and the id of the last one. Later deliveries are not changed."""

    count: int
    through: int


def in_state(column: Column[str], state: str) -> ColumnElement[bool]:
    """Compare a state with a literal, so that the engine can use its partial index."""
    return column == literal(state, String, literal_execute=True)
