"""The users and queues that own records: their ids by e-mail, user name or id, cached."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from connectors.base import Retry
from connectors.http_client.answer import Answer
from connectors.salesforce.answers import read_selection
from connectors.salesforce.client import SalesforceClient
from connectors.salesforce.errors import is_refusal, outcome, read_salesforce_problem, unreadable
from connectors.salesforce.requests import SalesforceRequests, Selection, keys_per_query

_ID = re.compile(r"(?:005|00G)(?:[A-Za-z0-9]{12}|[A-Za-z0-9]{15})", re.ASCII)
_FOUND_SECONDS = 3600.0  # until a user's change of address or activity is noticed
_MISSING_SECONDS = 600.0  # until a user is searched again who was not found


@dataclass(frozen=True, slots=True)
class _CachedUser:
    id: str | None
    until: float


class Users:
    """Finder of active users. May run in parallel.

    A user name is unique in Salesforce and an e-mail is not: of several users with one e-mail the lowest id counts,
    which is mostly the oldest.
    """

    def __init__(self, client: SalesforceClient, requests: SalesforceRequests) -> None:
        self._client = client
        self._requests = requests
        self._known: dict[str, _CachedUser] = {}

    async def ids(self, owners: Iterable[str]) -> Mapping[str, str | None] | Retry:
        """Return the record id of each owner, None for one that is no active user; or a failure that will pass.

        Args:
            owners: E-mails, user names, or ids of users and queues. An id is not checked.
        """
        owners = list(dict.fromkeys(owners))
        now = self._client.now()
        asked = [each for each in owners if not _ID.fullmatch(each) and not self._is_known(each, now)]
        if asked:
            trouble = await self._ask(asked, now)
            if trouble is not None:
                return trouble
        return {each: each if _ID.fullmatch(each) else self._known[each.casefold()].id for each in owners}

    async def _ask(self, asked: list[str], now: float) -> Retry | None:
        where = "IsActive = true"
        selections = [Selection("User", name, asked, where=where) for name in ("Username", "Email")]
        answer = await self._client.call(self._requests.select(selections))
        if isinstance(answer, Retry) and not is_refusal(answer):
            return answer
        parts = await self._client.parts(answer) if isinstance(answer, Answer) else {}
        if not isinstance(parts, dict):
            return parts if isinstance(parts, Retry) else unreadable(200)
        size = keys_per_query(selections)
        found: dict[str, str] = {}
        for at, selection in enumerate(selections):
            for name in selection.parts(at, size):
                part = parts.get(name)
                users = read_selection([part])
                if users is None and part is None and isinstance(answer, Answer):
                    return unreadable(answer.status)
                problem = read_salesforce_problem(part.body, part.status, self._client.secrets) if part else None
                meant = outcome(problem) if users is None and problem else None
                if isinstance(meant, Retry) and not is_refusal(meant):
                    return meant
                for user in sorted(users or (), key=lambda user: user.id):
                    found.setdefault(str(user.values.get(selection.field.lower())).casefold(), user.id)
        for each in asked:
            user_id = found.get(each.casefold())
            seconds = _FOUND_SECONDS if user_id else _MISSING_SECONDS
            self._known[each.casefold()] = _CachedUser(user_id, now + seconds)
        return None

    def _is_known(self, owner: str, now: float) -> bool:
        known = self._known.get(owner.casefold())
        return known is not None and now < known.until
