"""The owners of records: whose turn it is, and the ids of the users with these e-mails.

Source: zoho.com/crm/developer/docs/api/v8, "Get Users". All active users are read at once and kept in this process for
an hour; if an e-mail is unknown, they are read again after ten minutes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from connectors.base import Finding, Rejected, Retry, Severity, Vault
from connectors.ownership import OwnerChoice, OwnerSettings
from connectors.zoho.client import ZohoClient
from connectors.zoho.requests import OWNER, ZohoRow
from connectors.zoho.settings import ZohoRoute

_KNOWN_FOR = 3600.0  # seconds
_UNKNOWN_FOR = 600.0
_NOBODY = "no active user has the e-mail of the setting owner, so there is no owner"


class ZohoUsers:
    """Assigner of owners in an account. May run in parallel."""

    def __init__(self, client: ZohoClient, choice: OwnerChoice, now: Callable[[], float]) -> None:
        self._client = client
        self._choice = choice
        self._now = now
        self._ids: dict[str, str] = {}
        self._read_at = float("-inf")

    def open(self, vault: Vault) -> None:
        """Receive the vault in which turns are counted."""
        self._choice.open(vault)

    async def assign(self, rows: Sequence[ZohoRow]) -> list[ZohoRow] | Retry | Rejected:
        """Return the rows with their owners, or the outcome of a lookup that failed."""
        owners = await self._names(rows, 0, _owner)
        task_owners = await self._names(rows, 1, _task_owner)
        failed = await self._read({*owners, *task_owners} - {""})
        if failed is not None:
            return failed
        return [self._assigned(*each) for each in zip(rows, owners, task_owners, strict=True)]

    async def findings(self, route: ZohoRoute, number: int) -> list[Finding]:
        """Return a finding for each owner of a route who is no active user, at the setting."""
        follow_up = route.follow_up
        settings = ((("owner",), route.owner), (("follow_up", "owner"), follow_up.owner if follow_up else None))
        people = [((*path, *below), one) for path, owner in settings if owner for below, one in owner.people()]
        failed = await self._read({person for _, person in people})
        if failed is not None:
            return [Finding(Severity.WARNING, failed.detail, number, setting=people[0][0])]
        what = "no active user in Zoho has this e-mail"
        return [
            Finding(Severity.ERROR, what, number, setting=path)
            for path, person in people
            if person and not self._id(person)
        ]

    def _assigned(self, row: ZohoRow, name: str, task_name: str) -> ZohoRow:
        owner, task_owner = self._id(name), self._id(task_name)
        is_unknown = bool(name and not owner) or bool(task_name and not task_owner)
        made = replace(
            row, owner=owner, task_owner=task_owner, names=(name, task_name), warning=_NOBODY if is_unknown else ""
        )
        if not owner or OWNER in row.fields:
            return made
        fields = {**row.fields, OWNER: {"id": owner}}
        return replace(made, fields=fields, record=replace(row.record, create_only=row.record.create_only | {OWNER}))

    async def _names(
        self, rows: Sequence[ZohoRow], which: int, settings: Callable[[ZohoRow], OwnerSettings | None]
    ) -> list[str]:
        """Return the id or e-mail for each row, empty for none."""
        turns = [
            (number, made) for number, row in enumerate(rows) if row.names[which] is None and (made := settings(row))
        ]
        drawn = await self._choice.turns([(made, rows[number].record.id) for number, made in turns])
        people = dict(zip((number for number, _ in turns), drawn, strict=True))
        return [people.get(number, row.names[which] or "") for number, row in enumerate(rows)]

    async def _read(self, names: set[str]) -> Retry | Rejected | None:
        """Read the users if an e-mail may have changed; return the outcome of a read that failed."""
        emails = {each.strip().lower() for each in names if "@" in each}
        lifetime = _KNOWN_FOR if emails <= self._ids.keys() else _UNKNOWN_FOR
        if not emails or self._now() < self._read_at + lifetime:
            return None
        url = (self._client.base / "users").with_query(type="ActiveUsers", per_page="200")
        users = await self._client.rows("GET", url, name="users")
        if not isinstance(users, list):
            return replace(users, detail=f"the owner cannot be looked up: {users.detail}")
        self._ids = {str(each.get("email") or "").lower(): str(each.get("id")) for each in users}
        self._read_at = self._now()
        return None

    def _id(self, name: str) -> str:
        return self._ids.get(name.strip().lower(), "") if "@" in name else name


def _owner(row: ZohoRow) -> OwnerSettings | None:
    return row.route.owner


def _task_owner(row: ZohoRow) -> OwnerSettings | None:
    return row.route.follow_up.owner if row.route.follow_up else None
