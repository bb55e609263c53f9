"""The Pipedrive connector: the person, then its lead or deal, then the note or activity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from yarl import URL

from connectors.activities import (
    Activity,
    ActivityKind,
    AppointmentTexts,
    activity_reason,
    appointment_texts,
    check_appointment,
    event_activity,
)
from connectors.base import (
    Connector,
    Context,
    Delivered,
    ExpressionError,
    Finding,
    MappedRoute,
    Outcome,
    Preview,
    Reason,
    Record,
    Rejected,
    Retry,
    SettingError,
    Severity,
)
from connectors.event_text import Sources
from connectors.http_client.address_guard import check_url
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import MASK, Secrets
from connectors.http_client.session import HttpSession
from connectors.pipedrive import answers, requests
from connectors.pipedrive.settings import PipedriveRoute, PipedriveSettings

_MOST = "500"
_NOT_FOUND = 404
_PERSON = "person"


@dataclass(frozen=True, slots=True, repr=False)
class _Texts:
    """The texts that a route makes from an event."""

    title: str
    remark: str
    appointment: AppointmentTexts | None


class _FailedError(Exception):
    """A call that failed, with the outcome of the record."""

    def __init__(self, outcome: Retry | Rejected) -> None:
        super().__init__()
        self.outcome = outcome


class PipedriveConnector(Connector):
    """Writes persons into Pipedrive, with a lead or deal, and a note or activity for each.

    Fields are those of a person: `name`, `email`, `phone`, and the keys of the account's own fields. Pipedrive has no
    upsert, so everything is looked for before it is created: a person by e-mail, else by phone; a lead by the id of the
    delivery; an open deal by its title; notes and activities by their mark. Ids of what was created are kept in the
    memo, because a search may find it only seconds later; so the person of the contact's last delivery comes before it.
    """

    destination_settings = PipedriveSettings
    route_settings = PipedriveRoute
    conditional_writes = True
    uses_written = True
    rate_limit = (20, 2.0)
    """Burst of one token in the smallest plan (Pipedrive's documentation, "Rate limiting")."""

    def __init__(self, settings: PipedriveSettings, context: Context) -> None:
        token = settings.api_token.get_secret_value()
        try:
            base = URL(settings.base_url)
            check_url(base, allow_private=settings.allow_private)
        except ValueError as error:
            raise SettingError(("base_url",), str(error)) from None
        if not (token.isascii() and token.isprintable() and token and " " not in token):
            raise SettingError(("api_token",), "must be letters and digits without blanks or line ends; copy it again")
        self._base = base.origin()
        self._v1, self._v2 = self._base / "api" / "v1", self._base / "api" / "v2"
        self._session = HttpSession(settings, context)
        self._api = JsonApi(self._session, Secrets(token), context.now, headers={"x-api-token": token})
        self._sources = Sources(context)
        self._context = context

    def check_route(self, settings: PipedriveRoute, fields: Sequence[str]) -> None:
        """Compile the texts, and see that a person can be found. Raises `SettingError`."""
        self._sources.check_words(("title",), settings.title)
        self._sources.check("remark", settings.remark)
        check_appointment(settings.appointment, self._sources)
        if not any(name in fields for name in requests.LISTS):
            raise SettingError(("fields",), "must map email or phone, by which a person is found again")

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the records, each with the requests that it takes."""
        return [await self._deliver_one(record) for record in records]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the first request for the first record: the search for its person."""
        terms = requests.search_terms(records[0]) or [("email", "")]
        return Preview("GET", str(self._search_url(*terms[0])), {"x-api-token": MASK}, "")

    def related_previews(self, record: Record) -> Sequence[Preview]:
        """Return the requests that create the person, its lead or deal, and the note or activity."""
        texts, route = self._texts(record), requests.pipedrive_route(record)
        person = requests.person_document(record.fields)
        shown = [_preview(self._v2 / "persons", person, "a person, if the search finds none")]
        if route.object != _PERSON:
            url, document = self._lead_or_deal_request(record, texts.title, "[person]")
            shown.append(_preview(url, document, f"a {route.object}, because the route has `object: {route.object}`"))
        activity = self._activity(record, texts)
        if activity is not None:
            parent = requests.parent_of(record, "[person]", f"[{route.object}]")
            url, document = self._activity_request(activity, parent, "[person]")
            why = activity_reason(activity.kind, activity.start, route.appointment)
            shown.append(_preview(url, document, why))
        return shown

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Check the token, the name of new persons, and the pipelines and stages of deals. Reads only."""
        reply = await self._api.call("GET", (self._v2 / "persons").with_query(limit="1"))
        if not isinstance(reply, Reply):
            return (Finding(Severity.ERROR, f"{reply.detail}; correct api_token or base_url"),)
        findings: list[Finding] = []
        for number, route in enumerate(routes):
            if "name" not in {field.name for field in route.fields}:
                what = "must be mapped: a person needs a name"
                findings.append(Finding(Severity.ERROR, what, number, "name"))
            settings = route.settings
            if isinstance(settings, PipedriveRoute):
                findings += await self._unknown_ids(settings, number)
        return findings or (Finding(Severity.NOTE, "reachable, credentials accepted"),)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _deliver_one(self, record: Record) -> Outcome:
        if not requests.search_terms(record):
            why = "it has neither email nor phone, so the person could be written twice; map one of them"
            return Rejected(Reason.MAPPING, why, memo=record.memo)
        try:
            texts = await self._context.offload(lambda: self._texts(record))
        except ExpressionError as error:
            return Rejected(Reason.MAPPING, self._api.masked(error.message), memo=record.memo)
        memo = dict(record.memo)
        try:
            outcome: Outcome = await self._write(record, texts, memo)
        except _FailedError as failed:
            outcome = failed.outcome
        # A failure after a creation must not lose its id.
        return replace(outcome, memo=memo)

    async def _write(self, record: Record, texts: _Texts, memo: dict[str, str]) -> Delivered:
        kind = requests.pipedrive_route(record).object
        person, is_new = await self._person(record, memo)
        created = person
        if kind != _PERSON:
            created, is_new = await self._lead_or_deal(record, texts.title, person, memo, is_new=is_new)
        activity = self._activity(record, texts)
        if activity is not None and activity.kind.value not in memo:
            parent = requests.parent_of(record, person, created)
            memo[activity.kind.value] = await self._attach(activity, parent, person, is_new=is_new)
        path = {"lead": "leads/inbox", "deal": "deal"}.get(kind, "person")
        return Delivered(created, f"{self._base}/{path}/{created}")

    async def _person(self, record: Record, memo: dict[str, str]) -> tuple[str, bool]:
        """Return the id of the person, and True if it was created just now."""
        held = await self._known(memo[_PERSON]) if _PERSON in memo else None
        if held is None:
            held = await self._written(record)
        if held is None:
            found = await self._find(record)
            held = await self._known(found) if found else None
        if held is None:
            reply = await self._call("POST", self._v2 / "persons", requests.person_document(record.fields))
            memo[_PERSON] = self._read(reply, answers.created_id, numeric=True)
            return memo[_PERSON], True
        memo[_PERSON] = str(held["id"])
        changes = requests.person_changes(record, held)
        if changes:
            reply = await self._call("PATCH", self._v2 / "persons" / memo[_PERSON], changes)
            self._read(reply, answers.person_in)
        return memo[_PERSON], False

    async def _written(self, record: Record) -> Mapping[str, Any] | None:
        """Return the person of the contact's last delivery, if it has what the search would look for."""
        person = record.written.memo.get(_PERSON, "") if record.written else ""
        held = await self._known(person) if person.isdecimal() else None
        return held if held and answers.is_found(held, requests.search_terms(record)) else None

    async def _find(self, record: Record) -> str | None:
        for field, term in requests.search_terms(record):
            reply = await self._call("GET", self._search_url(field, term))
            found = self._read(reply, answers.found_person, field=field, term=term)
            if found is not None:
                return str(found)
        return None

    async def _known(self, person: str) -> Mapping[str, Any] | None:
        """Return an existing person; None if it was deleted since."""
        try:
            reply = await self._call("GET", self._v2 / "persons" / person)
        except _FailedError as failed:
            if failed.outcome.status == _NOT_FOUND:
                return None
            raise
        held: Mapping[str, Any] = self._read(reply, answers.person_in)
        return None if held.get("is_deleted") is True else held

    async def _lead_or_deal(
        self, record: Record, title: str, person: str, memo: dict[str, str], *, is_new: bool
    ) -> tuple[str, bool]:
        """Return the id of the lead or deal, and True if it was created just now."""
        kind = requests.pipedrive_route(record).object
        if kind in memo:
            return memo[kind], False
        is_lead = kind == "lead"
        url, document = self._lead_or_deal_request(record, title, person)
        if not is_new:
            query = {"person_id": person, "limit": _MOST} | ({} if is_lead else {"status": "open"})
            rows = self._read(await self._call("GET", url.with_query(query)), answers.rows_in)
            found = (
                answers.same_lead(rows, record.id, document["title"])
                if is_lead
                else answers.same_title(rows, document["title"])
            )
            if found is not None:
                memo[kind] = found
                return found, False
        reply = await self._call("POST", url, document)
        memo[kind] = self._read(reply, answers.created_id, numeric=not is_lead)
        return memo[kind], True

    async def _attach(self, activity: Activity, parent: Mapping[str, Any], person: str, *, is_new: bool) -> str:
        """Return the id of the note or activity, created unless it exists."""
        url, document = self._activity_request(activity, parent, person)
        if not is_new:
            query = {**{name: str(value) for name, value in parent.items()}, "limit": _MOST}
            rows = self._read(await self._call("GET", url.with_query(query)), answers.rows_in)
            found = answers.marked(rows, activity.mark)
            if found is not None:
                return str(found)
        return str(self._read(await self._call("POST", url, document), answers.created_id, numeric=True))

    def _lead_or_deal_request(self, record: Record, title: str, person: str) -> tuple[URL, dict[str, Any]]:
        if requests.pipedrive_route(record).object == "lead":
            return self._v1 / "leads", requests.lead_document(record, title, person)
        return self._v2 / "deals", requests.deal_document(record, title, person)

    def _activity_request(
        self, activity: Activity, parent: Mapping[str, Any], person: str
    ) -> tuple[URL, dict[str, Any]]:
        if activity.kind is ActivityKind.NOTE:
            return self._v1 / "notes", requests.note_document(activity, parent)
        return self._v2 / "activities", requests.activity_document(activity, parent, person)

    async def _unknown_ids(self, settings: PipedriveRoute, number: int) -> list[Finding]:
        """Return a finding for each pipeline or stage that the account does not have."""
        findings = []
        for name, value in (("pipeline_id", settings.pipeline_id), ("stage_id", settings.stage_id)):
            if value is None:
                continue
            reply = await self._api.call("GET", self._v2 / f"{name.removesuffix('_id')}s" / str(value))
            if not isinstance(reply, Reply):
                unknown = reply.status == _NOT_FOUND
                what = f"there is no {name.removesuffix('_id')} {value}" if unknown else f"not checked: {reply.detail}"
                severity = Severity.ERROR if unknown else Severity.WARNING
                findings.append(Finding(severity, what, number, setting=(name,)))
        return findings

    def _texts(self, record: Record) -> _Texts:
        route = requests.pipedrive_route(record)
        return _Texts(
            self._sources.words(route.title, record.event),
            self._sources.text(route.remark, record.event),
            appointment_texts(route.appointment, self._sources, record.event),
        )

    def _activity(self, record: Record, texts: _Texts) -> Activity | None:
        settings, now = requests.pipedrive_route(record).appointment, self._context.now()
        return event_activity(record.id, record.event, texts.remark, "", settings, now, texts.appointment)

    def _search_url(self, field: str, term: str) -> URL:
        query = {"term": term, "fields": field, "exact_match": "true"}
        return (self._v2 / "persons" / "search").with_query(query)

    async def _call(self, method: str, url: URL, document: object = None) -> Reply:
        """Return an answer. Raises `_FailedError`."""
        reply = await self._api.call(method, url, document)
        if not isinstance(reply, Reply):
            raise _FailedError(reply)
        return reply

    def _read(self, reply: Reply, read: Any, **how: Any) -> Any:
        """Return what a reader finds in an answer. Raises `_FailedError` if it has another shape."""
        try:
            return read(reply, **how)
        except answers.UnreadableError as error:
            raise _FailedError(self._api.unclear(reply.status, str(error))) from None


def _preview(url: URL, document: Mapping[str, Any], why: str) -> Preview:
    headers = {"x-api-token": MASK, "Content-Type": "application/json"}
    return Preview("POST", str(url), headers, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode(), why)
