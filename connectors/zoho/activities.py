"""Notes, events and tasks: the lookup of those that exist already, and the creation of the missing ones.

Zoho has no upsert for them. A record that was created just now has none yet; for any other record its related list is
read first, one call for each, and searched for the mark.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.activities import Activity
from connectors.base import Delivered, Outcome, exchange_items
from connectors.zoho.client import ZohoClient
from connectors.zoho.requests import ACTIVITIES, activity_fields, activity_text

_AT_ONCE = 5  # parallel calls; the smallest plans allow five
_NEWEST = 200  # rows of one page


@dataclass(frozen=True, slots=True, repr=False)
class ZohoActivity:
    """An activity that a record should have."""

    record_id: str
    """Id of the record."""
    name: str
    """Name in the record's memo."""
    activity: Activity
    module: str
    remote_id: str
    """Record ID of the lead or contact."""
    is_new: bool
    """True if that record was created just now."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Further fields, such as the owner."""

    @property
    def key(self) -> tuple[str, str]:
        """Return what tells it from all others."""
        return self.record_id, self.name


class ZohoActivities:
    """Writer of activities. `write` may run in parallel, never for the same person."""

    def __init__(self, client: ZohoClient) -> None:
        self._client = client

    async def write(self, due: Sequence[ZohoActivity]) -> dict[tuple[str, str], Outcome]:
        """Ensure that each of these activities exists, and return the outcomes by key."""
        done: dict[tuple[str, str], Outcome] = {}
        few = asyncio.Semaphore(_AT_ONCE)

        async def look(each: ZohoActivity) -> None:
            with exchange_items([(each.record_id, None)]):
                async with few:
                    found = await self._found(each)
            if found is not None:
                done[each.key] = found

        async with asyncio.TaskGroup() as group:
            for each in due:
                if not each.is_new:
                    group.create_task(look(each))
        for kind, module in ACTIVITIES.items():
            missing = [each for each in due if each.activity.kind is kind and each.key not in done]
            if missing:
                rows = [
                    {**activity_fields(each.activity, each.module, each.remote_id), **each.details} for each in missing
                ]
                document = {"data": rows, "trigger": []}
                owners = [each.record_id for each in missing]
                answered = await self._client.write("POST", self._client.base / module, document, owners)
                done |= zip([each.key for each in missing], answered.outcomes, strict=True)
        return done

    async def _found(self, each: ZohoActivity) -> Outcome | None:
        """Return the existing activity as `Delivered`, None if there is none, or the outcome of a failed lookup."""
        text = activity_text(each.activity.kind)
        url = self._client.base / each.module / each.remote_id / ACTIVITIES[each.activity.kind]
        query = {"fields": text, "per_page": str(_NEWEST), "sort_by": "Created_Time", "sort_order": "desc"}
        rows = await self._client.rows("GET", url.with_query(query))
        if not isinstance(rows, list):
            return rows
        return next((Delivered(str(row.get("id"))) for row in rows if each.activity.mark in str(row.get(text))), None)
