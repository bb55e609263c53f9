"""The owners of records: whose turn it is, and the ids of e-mails.

Source: HubSpot's reference of the owners API. An owner's `id` belongs into `hubspot_owner_id`; `userId` is another
number. Each e-mail is looked up once and kept in this process for an hour, an unknown one for ten minutes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from connectors.base import Rejected, Retry, Vault
from connectors.hubspot.answers import read_owners
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.requests import Lead
from connectors.ownership import OwnerChoice, OwnerSettings

_KNOWN_FOR = 3600.0  # seconds
_UNKNOWN_FOR = 600.0
_NOBODY = "no active owner has the e-mail of the setting owner, so there is no owner"


class HubSpotOwners:
    """Assigner of owners in an account. May run in parallel.

    Args:
        client: Sends the requests.
        choice: Chooses by the settings.
    """

    def __init__(self, client: HubSpotClient, choice: OwnerChoice) -> None:
        self._client = client
        self._choice = choice
        self._known: dict[str, tuple[str, float]] = {}

    def open(self, vault: Vault) -> None:
        """Receive the vault in which turns are counted."""
        self._choice.open(vault)

    async def assign(self, leads: Sequence[Lead]) -> list[Lead] | Retry | Rejected:
        """Return the leads with their owners, or the outcome of a lookup that failed."""
        drawn = [
            await self._with_turns(leads, name, settings)
            for name, settings in (("owner", _owner), ("task_owner", _task_owner))
        ]
        texts = [{**one.texts, **one_turn, **other} for one, one_turn, other in zip(leads, *drawn, strict=True)]
        names = {each.get(name, "") for each in texts for name in ("owner", "task_owner")} - {""}
        ids = await self._ids(names)
        if not isinstance(ids, dict):
            return ids
        assigned = []
        for lead, named in zip(leads, texts, strict=True):
            made = replace(lead, texts=named)
            owner, task_owner = (ids.get(named.get(name, ""), "") for name in ("owner", "task_owner"))
            if any(named.get(name) and not ids[named[name]] for name in ("owner", "task_owner")):
                made = replace(made, warnings=(*made.warnings, _NOBODY))
            made = replace(made, task_owner=task_owner)
            assigned.append(made.owned(owner) if owner else made)
        return assigned

    async def find(self, email: str) -> str | Retry | Rejected | None:
        """Return the id of the active owner with an e-mail, None if there is none."""
        found = await self._ids([email])
        return found[email] or None if isinstance(found, dict) else found

    async def _with_turns(
        self, leads: Sequence[Lead], name: str, settings: Callable[[Lead], OwnerSettings | None]
    ) -> list[dict[str, str]]:
        """Return the text of each lead whose turn was drawn, by its name."""
        numbers = [number for number, lead in enumerate(leads) if settings(lead) and name not in lead.texts]
        wanted = [(made, leads[number].record.id) for number in numbers if (made := settings(leads[number]))]
        drawn = dict(zip(numbers, await self._choice.turns(wanted), strict=True))
        return [{name: drawn[number]} if number in drawn else {} for number in range(len(leads))]

    async def _ids(self, names: Iterable[str]) -> dict[str, str] | Retry | Rejected:
        """Return the ids of owners, empty for an unknown e-mail. Anything but an e-mail is an id."""
        ids = {}
        for name in names:
            email = name.strip().lower()
            known = self._known.get(email)
            if "@" not in email:
                ids[name] = email
            elif known and known[1] > self._client.now():
                ids[name] = known[0]
            else:
                answer = await self._client.result(self._client.requests.owners(email))
                found = answer if isinstance(answer, Retry) else read_owners(answer)
                if isinstance(found, Retry):
                    return replace(found, detail=f"the owner cannot be looked up: {found.detail}")
                ids[name] = next((owner_id for owner_id, held in found if held == email), "")
                self._known[email] = ids[name], self._client.now() + (_KNOWN_FOR if ids[name] else _UNKNOWN_FOR)
        return ids


def _owner(lead: Lead) -> OwnerSettings | None:
    return lead.route.owner


def _task_owner(lead: Lead) -> OwnerSettings | None:
    return lead.route.follow_up.owner if lead.route.follow_up else None
