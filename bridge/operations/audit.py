"""What stands in the audit log: who has done what, on what. Pure.

An entry is made of closed lists, names of the configuration, ids and numbers, and refuses anything else. So no secret
and nothing that a lead says can get into it, and what is erased later does not live on in it: of a search it says what
was looked for (an e-mail address), and not which.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._#-]{0,99}", re.ASCII)
"""A name of the configuration, a route's too (`crm#1`); an id; a duration."""


class Action(StrEnum):
    """What somebody has done."""

    LOGIN = "login"
    LOGOUT = "logout"
    REFUSED_TOKEN = "refused_token"  # noqa: S105 - a word of the log
    """Showed a token that is not good, at the login or with a request; the entry does not hold it."""
    REFUSED_ACTION = "refused_action"
    """Asked for an action that their role does not allow, or that their browser was made to ask for."""
    SEARCH = "search"
    """Looked for a person."""
    REVEAL = "reveal"
    """Saw personal data that is masked otherwise."""
    REPLAY = "replay"
    REPLAY_ALL = "replay_all"
    DISCARD = "discard"
    DISCARD_ALL = "discard_all"
    MOVE = "move"
    PAUSE = "pause"
    RESUME = "resume"
    RELEASE = "release"
    CANCEL = "cancel"
    """Ended a run, or an inquiry, early."""
    INQUIRE = "inquire"
    """Asked destinations whether they still hold what was delivered."""
    PLAYGROUND = "playground"
    """Tried a route on an event."""
    BACKFILL = "backfill"
    ERASE = "erase"
    BACKUP = "backup"
    REKEY = "rekey"
    """Encrypted the store with another key."""


class Subject(StrEnum):
    """What it was done on."""

    EVENT = "event"
    DELIVERY = "delivery"
    LANE = "lane"
    REQUEST = "request"
    """One that is in quarantine."""
    RUN = "run"
    INQUIRY = "inquiry"
    CHATBOT = "chatbot"


class Means(StrEnum):
    """How somebody has shown that they may."""

    SESSION = "session"
    """Logged in on the dashboard."""
    TOKEN = "token"  # noqa: S105 - a word of the log
    """A program, with each request."""
    OPEN = "open"
    """Not at all: no token is configured, and the listener answers to this machine only."""
    COMMAND = "command"
    """The command line, by who may read the store anyway."""


class Who(NamedTuple):
    """Who has done it."""

    role: str
    """`operator` or `viewer`."""
    means: Means
    session: str | None = None
    """A mark that tells sessions apart, and is good for nothing else."""
    address: str | None = None
    """Where the request to the admin listener came from; None for a command."""


BY_COMMAND: Final = Who("operator", Means.COMMAND)


@dataclass(frozen=True, slots=True)
class Entry:
    """One action. Raises ValueError for a fact that is no word or number."""

    who: Who
    action: Action
    subject: Subject | None = None
    subject_id: str | None = None
    """Its id, or its name."""
    count: int | None = None
    """How many it was done to; None where that says nothing."""
    facts: Mapping[str, str | int] = field(default_factory=dict)
    """What else is to be known: what chose them, what state they were in."""

    def __post_init__(self) -> None:
        """Refuse what may be more than a name or a number."""
        told = [self.subject_id, *self.facts, *self.facts.values()]
        if any(isinstance(each, str) and not _WORD.fullmatch(each) for each in told):
            raise ValueError(f"audit entry {self.action}: only names, ids and numbers may stand in it")

    def line(self) -> dict[str, str | int | None]:
        """Give what the log says of it, by name. An event's id is `event_id`: `event` is the line's own name."""
        on = "event_id" if self.subject is Subject.EVENT else self.subject or "on"
        return {
            "action": self.action.value,
            "role": self.who.role,
            "means": self.who.means.value,
            "session": self.who.session,
            "address": self.who.address,
            **({str(on): self.subject_id} if self.subject_id is not None else {}),
            **({"count": self.count} if self.count is not None else {}),
            **self.facts,
        }
