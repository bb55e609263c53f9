"""Notes, tasks and appointments of a contact: the lookup of those that exist already, and the missing ones.

The API has no batches and no upsert for them. A contact that was created just now has none yet; for any other contact
the list is read first. Notes and tasks are known by their mark, an appointment by its calendar and its start.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from yarl import URL

from connectors.activities import Activity, ActivityKind
from connectors.base import Rejected, Retry
from connectors.gohighlevel import requests
from connectors.http_client.json_api import JsonApi, Reply

ActivityResult = str | Retry | Rejected
"""Record ID of the activity, or the reason why there is none."""


class GoHighLevelActivities:
    """Writer of activities in a location. May run in parallel, never for the same contact."""

    def __init__(self, api: JsonApi, base: URL, location_id: str) -> None:
        self._api = api
        self._base = base
        self._location_id = location_id

    def planned(
        self, activity: Activity, calendar: str | None, contact_id: str, owner: str
    ) -> list[tuple[str, URL, Mapping[str, Any]]]:
        """Return the requests for an activity, in their order: name in the memo, URL and document."""
        contact = self._base / "contacts" / contact_id
        if activity.kind is ActivityKind.MEETING and calendar:
            document = requests.event(activity, calendar, contact_id, self._location_id)
            meeting = ("meeting", self._base / "calendars" / "events" / "appointments", document)
            return [meeting, ("note", contact / "notes", requests.note(activity))]
        if activity.kind is ActivityKind.NOTE:
            return [("note", contact / "notes", requests.note(activity))]
        return [("task", contact / "tasks", requests.task(activity, owner))]

    async def write(
        self, activity: Activity, calendar: str | None, contact_id: str, owner: str, *, is_new: bool
    ) -> dict[str, ActivityResult]:
        """Ensure that an activity exists, and return the ids by the names in the memo.

        A meeting becomes an appointment in the calendar, with a note that has its text; without a calendar, a task
        of the contact's owner.
        """
        contact = self._base / "contacts" / contact_id
        done: dict[str, ActivityResult] = {}
        for name, url, document in self.planned(activity, calendar, contact_id, owner):
            if is_new:
                found = None
            elif name == "meeting" and calendar:
                found = await self._event(contact, activity, calendar)
            else:
                found = await self._marked(url, f"{name}s", activity.mark)
            done[name] = found or await self._create(url, document, name, "id")
            if not isinstance(done[name], str):
                break
        return done

    async def _create(self, url: URL, document: Mapping[str, Any], *path: str) -> ActivityResult:
        reply = await self._api.call("POST", url, document)
        if not isinstance(reply, Reply):
            return reply
        if reply.status >= 300:  # noqa: PLR2004 - RFC 9110 section 15.3
            return self._api.refused(reply)
        found = reply.id_at(*path) or reply.id_at("id")
        return found or self._api.unclear(reply.status, "names no id of the activity")

    async def _listed(self, url: URL, name: str) -> list[Mapping[str, Any]] | Retry | Rejected:
        reply = await self._api.call("GET", url)
        if not isinstance(reply, Reply):
            return reply
        values = reply.get(name)
        if not isinstance(values, list):
            return self._api.refused(reply)
        return [each for each in values if isinstance(each, dict)]

    async def _marked(self, url: URL, name: str, mark: str) -> ActivityResult | None:
        """Return the note or task with a mark, None if there is none."""
        listed = await self._listed(url, name)
        if not isinstance(listed, list):
            return listed
        return next((str(each.get("id")) for each in listed if mark in str(each.get("body"))), None)

    async def _event(self, contact: URL, activity: Activity, calendar: str) -> ActivityResult | None:
        """Return the appointment of a contact in a calendar at the same time, None if there is none."""
        listed = await self._listed(contact / "appointments", "events")
        if not isinstance(listed, list):
            return listed
        for each in listed:
            if each.get("calendarId") == calendar and _moment(each.get("startTime")) == activity.start:
                return str(each.get("id"))
        return None


def _moment(value: object) -> datetime | None:
    """Return a time of the API. It lists them without their zone in some answers; these count as UTC."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
