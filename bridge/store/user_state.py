"""State of users: their sessions, and the problems that they acknowledged. No word of a lead is in it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from bridge.store.filter import Scope
from bridge.store.schema import acknowledgements, sessions

KEPT_SECONDS: Final = 180 * 86_400.0
"""Age at which an acknowledgement is deleted with the next one, so that those of former causes go."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One person's statement that a cause needs nobody else for now."""

    cause: str
    chatbots: str
    """Result of `scope_text`."""
    at: float
    user: str
    through: float
    """Time of the latest case that the person knew of."""
    until: float | None
    """End of an ignored cause; None if the next case ends it."""

    def covers(self, latest_at: float | None, now: float) -> bool:
        """Return True if a problem whose latest case is from a time is still acknowledged. Pure."""
        if self.until is not None:
            return now < self.until
        return latest_at is None or latest_at <= self.through


def scope_text(reader: Scope, scope: Scope) -> str:
    """Return the text that names whose acknowledgement it is, and for which part of a problem.

    Empty for all chatbots, `* acme` for a part that a user of all chatbots has acknowledged, `acme` for a user of some.
    """
    if scope.chatbots is None:
        return ""
    return " ".join([*(["*"] if reader.is_whole else []), *sorted(scope.chatbots)])


def acknowledged(connection: Connection, scopes: Iterable[str]) -> list[Acknowledgement]:
    """Read the acknowledgements for these scopes."""
    query = select(acknowledgements).where(acknowledgements.c.chatbots.in_([*scopes]))
    return [
        Acknowledgement(row.cause, row.chatbots, row.at, row.user, row.through, row.until)
        for row in connection.execute(query)
    ]


def acknowledge(connection: Connection, given: Acknowledgement) -> None:
    """Store an acknowledgement in place of an earlier one of the same cause and scope."""
    reopen(connection, given.cause, given.chatbots)
    connection.execute(delete(acknowledgements).where(acknowledgements.c.at < given.at - KEPT_SECONDS))
    row = {
        "cause": given.cause,
        "chatbots": given.chatbots,
        "at": given.at,
        "user": given.user,
        "through": given.through,
        "until": given.until,
    }
    connection.execute(insert(acknowledgements).values(row))


def reopen(connection: Connection, cause: str, scope: str) -> bool:
    """Delete an acknowledgement. Returns False if there is none."""
    chosen = acknowledgements.c.cause == cause, acknowledgements.c.chatbots == scope
    return bool(connection.execute(delete(acknowledgements).where(*chosen)).rowcount)


SESSIONS_LIMIT: Final = 100
"""Maximum number of sessions of one user. One more ends the user's oldest."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A login that is not over."""

    id: bytes
    """Hash of the cookie's value."""
    user: str
    proof: bytes
    """See `schema.sessions`."""
    until: float


def begin_session(connection: Connection, session: SessionRow, now: float) -> None:
    """Store a session; delete those that are over, and the user's oldest beyond the limit."""
    connection.execute(delete(sessions).where(sessions.c.until <= now))
    others = select(sessions.c.id).where(sessions.c.user == session.user).order_by(sessions.c.until.desc())
    surplus = connection.execute(others.offset(SESSIONS_LIMIT - 1)).scalars().all()
    connection.execute(delete(sessions).where(sessions.c.id.in_(surplus)))
    row = {"id": session.id, "user": session.user, "proof": session.proof, "until": session.until}
    connection.execute(insert(sessions).values(row))


def find_session(connection: Connection, hashed: bytes) -> SessionRow | None:
    """Return the session of a cookie by the hash of its value, also if it is over."""
    row = connection.execute(select(sessions).where(sessions.c.id == hashed)).one_or_none()
    return SessionRow(row.id, row.user, row.proof, row.until) if row else None


def end_session(connection: Connection, hashed: bytes) -> None:
    """Delete a session."""
    connection.execute(delete(sessions).where(sessions.c.id == hashed))


def end_sessions(connection: Connection, user: str) -> int:
    """Delete all sessions of a user; return their number."""
    return connection.execute(delete(sessions).where(sessions.c.user == user)).rowcount
