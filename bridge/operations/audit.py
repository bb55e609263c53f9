"""Entries of the audit log: a person, an action, a subject. Pure.

An entry holds words from closed lists, names of the configuration, ids and numbers, and refuses anything else. So it
never holds a secret or a lead's personal data, and an erasure does not have to look there: the entry of a search says
that it was by e-mail address, and not which address.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._#-]{0,99}", re.ASCII)
"""A name of the configuration, a route's too (`crm#1`); an id; a duration."""


class Action(StrEnum):
    """Actions that are recorded."""

    LOGIN = "login"
    LOGOUT = "logout"
    LOGOUT_EVERYWHERE = "logout_everywhere"
    """The end of all sessions of a user; the count is their number."""
    REFUSED_TOKEN = "refused_token"  # noqa: S105 - a word of the log
    """A wrong token, at the login or with a request; the entry does not hold it."""
    REFUSED_ACTION = "refused_action"
    """A request that the role does not allow, or that another site made the browser send."""
    SEARCH = "search"
    """A search for a person."""
    REVEAL = "reveal"
    """A view of personal data that is masked otherwise."""
    EXPORT = "export"
    """A file of leads with their personal data."""
    REPLAY = "replay"
    REPLAY_ALL = "replay_all"
    DISCARD = "discard"
    DISCARD_ALL = "discard_all"
    MOVE = "move"
    PAUSE = "pause"
    RESUME = "resume"
    RELEASE = "release"
    RELEASE_ALL = "release_all"
    CANCEL = "cancel"
    """The early end of a run or an inquiry."""
    INQUIRE = "inquire"
    """A check that destinations still hold the delivered records."""
    PLAYGROUND = "playground"
    """A dry run of an edited route."""
    BACKFILL = "backfill"
    SEND_REPORT = "send_report"
    """The sending of a report that had not reached all its receivers."""
    ACKNOWLEDGE = "acknowledge"
    """A problem was acknowledged, or is ignored for some days."""
    REOPEN = "reopen"
    """The end of an acknowledgement."""
    ERASE = "erase"
    BACKUP = "backup"
    REKEY = "rekey"
    """Encryption of the store with another key."""


class Subject(StrEnum):
    """Kinds of objects that actions are about."""

    EVENT = "event"
    DELIVERY = "delivery"
    LANE = "lane"
    REQUEST = "request"
    """A request in quarantine."""
    RUN = "run"
    INQUIRY = "inquiry"
    CHATBOT = "chatbot"
    REPORT = "report"
    PROBLEM = "problem"
    """The cause of a problem; see `bridge.operations.problems.Problem.key`."""


class Means(StrEnum):
    """Ways in which a person has shown their right to act."""

    SESSION = "session"
    """A login on the dashboard."""
    TOKEN = "token"  # noqa: S105 - a word of the log
    """A token with the request, as programs send it."""
    OPEN = "open"
    """None: no token is configured, and the listener answers to this machine only."""
    COMMAND = "command"
    """The command line, whose users can read the store anyway."""


class Who(NamedTuple):
    """The acting person."""

    role: str
    """`operator` or `viewer`."""
    means: Means
    session: str | None = None
    """A mark that distinguishes sessions, and gives no access."""
    address: str | None = None
    """Address that sent the request to the admin listener; None for a command."""
    name: str | None = None
    """Name of one of `server.users`; None for the shared tokens and for a command."""


BY_COMMAND: Final = Who("operator", Means.COMMAND)


@dataclass(frozen=True, slots=True)
class Entry:
    """An action of a person. Raises ValueError for a fact that is no word or number."""

    who: Who
    action: Action
    subject: Subject | None = None
    subject_id: str | None = None
    """Its id, or its name."""
    count: int | None = None
    """Number of objects that were changed; None where a number says nothing."""
    facts: Mapping[str, str | int] = field(default_factory=dict)
    """Details by name: the conditions of a filter, the state before."""

    def __post_init__(self) -> None:
        """Refuse texts that may hold more than a name."""
        words = [self.subject_id, *self.facts, *self.facts.values()]
        if any(isinstance(each, str) and not _WORD.fullmatch(each) for each in words):
            raise ValueError(f"audit entry {self.action}: only names, ids and numbers may stand in it")

    def line(self) -> dict[str, str | int | None]:
        """Return the fields of its log line. An event's id is `event_id`, because `event` names the line itself."""
        on = "event_id" if self.subject is Subject.EVENT else self.subject or "on"
        return {
            "action": self.action.value,
            "role": self.who.role,
            **({"user": self.who.name} if self.who.name else {}),
            "means": self.who.means.value,
            "session": self.who.session,
            "address": self.who.address,
            **({str(on): self.subject_id} if self.subject_id is not None else {}),
            **({"count": self.count} if self.count is not None else {}),
            **self.facts,
        }


@dataclass(frozen=True, slots=True)
class ActionResult:
    """A change that an operation has made."""

    lines: tuple[str, ...]
    """A sentence for each object that was changed."""
    entries: tuple[Entry, ...]
    """Its audit entries, which are in the store already."""

    @property
    def message(self) -> str:
        """The whole result in one line."""
        return "; ".join(self.lines)
