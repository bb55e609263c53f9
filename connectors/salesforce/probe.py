"""The online check of an org: credentials, rights, objects and fields. Only GET requests are sent."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.base import Finding, MappedField, MappedRoute, Reason, Rejected, Retry, Severity
from connectors.http_client.answer import Answer, Failure
from connectors.ownership import OwnerSettings
from connectors.salesforce.answers import read_parts, read_selection
from connectors.salesforce.client import SalesforceClient, Shapes
from connectors.salesforce.errors import call_outcome
from connectors.salesforce.records import takes_remark
from connectors.salesforce.requests import SalesforceRequests, Selection
from connectors.salesforce.schema import FieldShape, ObjectSchema
from connectors.salesforce.settings import SalesforceRoute
from connectors.salesforce.users import Users

_CREDENTIALS = "correct login_url and the credentials, and let the app and its user use the API"
_ADVICE: Mapping[Reason, str] = {
    Reason.UNAUTHORIZED: _CREDENTIALS,
    Reason.FORBIDDEN: _CREDENTIALS,
    Reason.GONE: "correct api_version",
    Reason.NOT_FOUND: "correct login_url and api_version",
}
_PASSING = frozenset({Reason.SERVER_ERROR, Reason.RATE_LIMITED, Reason.TIMEOUT})
_NUMBERS = frozenset({"currency", "double", "int", "long", "percent"})
_TEXTS = frozenset({"address", "base64", "boolean", "date", "datetime", "time"}) | _NUMBERS
"""Types that do not accept any text."""
_OWN_KEY = 41
"""Length of a key made from the event's id and the route's mark, for a mapping without one."""
_FALLBACK_FIELDS: Mapping[str, frozenset[str]] = {
    "contact": frozenset({"lastname"}),
    "lead": frozenset({"company", "lastname"}),
}
"""Required fields that the connector fills if the mapping does not, by object."""


class Prober:
    """Online check of an org. Used once, in a process that delivers nothing."""

    def __init__(self, client: SalesforceClient, requests: SalesforceRequests, shapes: Shapes, users: Users) -> None:
        self._client = client
        self._requests = requests
        self._shapes = shapes
        self._users = users

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Return the problems of credentials, rights, objects and fields."""
        trouble = await self._trouble()
        if trouble is not None:
            return (trouble,)
        findings: list[Finding] = []
        for number, each in enumerate(routes):
            route: Any = each.settings  # the bridge passes the connector's own model
            shape = await self._shapes.of(route.object)
            if isinstance(shape, ObjectSchema):
                findings += about_route(number, route, each.fields, shape)
            else:
                findings.append(_undescribed(number, route, shape))
        findings += await self._about_activities(routes)
        findings += await self._about_owners(routes)
        findings += await self._about_campaigns(routes)
        if not findings:
            return (Finding(Severity.NOTE, "reachable, credentials accepted, fields match"),)
        return findings

    async def _trouble(self) -> Finding | None:
        """Read the org's limits, to check that it is reachable and accepts the credentials."""
        answer = await self._client.ask(self._requests.limits())
        outcome = answer.outcome if isinstance(answer, Failure) else self._meaning(answer)
        if outcome is None:
            return None
        severity = Severity.WARNING if outcome.reason in _PASSING else Severity.ERROR
        setting = answer.setting if isinstance(answer, Failure) else ()
        advice = _ADVICE.get(outcome.reason, "ask again later" if outcome.reason in _PASSING else _CREDENTIALS)
        return Finding(severity, f"{outcome.detail}; {advice}", setting=setting or ("login_url",))

    def _meaning(self, answer: Answer) -> Retry | Rejected | None:
        return call_outcome(answer, self._client.now(), self._client.secrets)

    async def _about_activities(self, routes: Sequence[MappedRoute]) -> list[Finding]:
        """Return findings if the user may not create the activities that appointments become."""
        findings = []
        for name in ("Event", "Task") if routes else ():
            shape = await self._shapes.of(name)
            if not isinstance(shape, ObjectSchema) or not shape.createable:
                what = f"the user may not create a {name}, which an appointment becomes; grant the right to edit them"
                findings.append(Finding(Severity.WARNING, what))
        return findings

    async def _about_owners(self, routes: Sequence[MappedRoute]) -> list[Finding]:
        """Return findings for owners that are no active users."""
        named = [
            (number, (*setting, *path), owner)
            for number, each in enumerate(routes)
            for setting, choice in _owner_settings(each.settings)
            for path, owner in (choice.people() if choice else ())
        ]
        ids = await self._users.ids(owner for _, _, owner in named)
        if isinstance(ids, Retry):
            what = f"owners were not checked: {ids.detail}; ask again later"
            return [Finding(Severity.WARNING, what, number, setting=path) for number, path, _ in named[:1]]
        what = "{} is no active user, or one that the user may not see; correct it"
        return [
            Finding(Severity.ERROR, what.format(owner), number, setting=path)
            for number, path, owner in named
            if ids[owner] is None
        ]

    async def _about_campaigns(self, routes: Sequence[MappedRoute]) -> list[Finding]:
        """Return findings for campaigns that do not exist."""
        findings = []
        for number, each in enumerate(routes):
            route: Any = each.settings  # the bridge passes the connector's own model
            if route.campaign is not None:
                answer = await self._client.call(
                    self._requests.select([Selection("Campaign", "Id", [route.campaign.id])])
                )
                parts = read_parts(answer) if isinstance(answer, Answer) else {}
                found = read_selection([parts.get("q0x0")])
                if not found:
                    what = f"there is no campaign {route.campaign.id} that the user may see; correct it, or share it"
                    findings.append(Finding(Severity.ERROR, what, number, setting=("campaign",)))
        return findings


def _owner_settings(route: Any) -> Iterator[tuple[tuple[str, ...], OwnerSettings | None]]:
    yield ("owner",), route.owner
    if route.follow_up is not None:
        yield ("follow_up", "owner"), route.follow_up.owner


def about_route(
    number: int, route: SalesforceRoute, fields: Sequence[MappedField], shape: ObjectSchema
) -> Iterator[Finding]:
    """Compare a route with its object. Pure.

    Args:
        number: Index of the route.
        route: Settings of the route.
        fields: Mapped fields.
        shape: Schema of the object.
    """
    if not (shape.createable and shape.updateable):
        what = f"the user may not create and update {route.object}; grant the right"
        yield Finding(Severity.ERROR, what, number, setting=("object",))
    yield from _about_key(number, route, fields, shape)
    yield from _about_spelling(number, fields)
    for mapped in fields:
        if mapped.name.lower() != route.external_id.lower():
            yield from (_in_field(number, mapped, finding) for finding in _about_field(mapped, shape))
    yield from _about_required(number, route, fields, shape)
    if route.remark is not None and not takes_remark(route.object, shape):
        what = f"{route.object} has no Description that can be written, so a lead's remark is left out"
        yield Finding(Severity.WARNING, what, number, setting=("remark",))


def _about_spelling(number: int, fields: Sequence[MappedField]) -> Iterator[Finding]:
    """Yield fields that are mapped twice: for Salesforce `LastName` and `lastname` are one field."""
    seen: dict[str, str] = {}
    for mapped in fields:
        first = seen.setdefault(mapped.name.lower(), mapped.name)
        if first != mapped.name:
            yield Finding(Severity.ERROR, f"is the same field as {first}; remove one", number, mapped.name)


def _about_required(
    number: int, route: SalesforceRoute, fields: Sequence[MappedField], shape: ObjectSchema
) -> Iterator[Finding]:
    always = {mapped.name.lower(): mapped.always for mapped in fields}
    given = _FALLBACK_FIELDS.get(route.object.lower(), frozenset()) | {route.external_id.lower()}
    for name, known in shape.fields.items():
        if not known.required or name in given or always.get(name):
            continue
        if name in always:
            what = "required for a new record, but leads may lack it; set a default"
            yield Finding(Severity.WARNING, what, number, field=known.name)
        else:
            yield Finding(Severity.ERROR, "required for a new record and not mapped", number, field=known.name)


def _about_key(
    number: int, route: SalesforceRoute, fields: Sequence[MappedField], shape: ObjectSchema
) -> Iterator[Finding]:
    setting = ("external_id",)
    known = shape.field(route.external_id)
    if known is None:
        what = f"{route.object} has no field {route.external_id} that the user may see{_near(route.external_id, shape)}"
        yield Finding(Severity.ERROR, f"{what}; create it as a unique External ID", number, setting=setting)
        return
    if not known.external_id:
        what = f"{known.name} is not an External ID; mark it as one"
        yield Finding(Severity.ERROR, what, number, setting=setting)
    if not (known.createable and known.updateable):
        what = f"the user may not write {known.name}; grant the right to edit the field"
        yield Finding(Severity.ERROR, what, number, setting=setting)
    if not known.unique:
        what = f"{known.name} is not unique, so two records can get the same value; mark it as unique"
        yield Finding(Severity.WARNING, what, number, setting=setting)
    mapped = next((mapped for mapped in fields if mapped.name.lower() == known.name.lower()), None)
    longest = mapped.longest if mapped is not None else _OWN_KEY
    if known.length is not None and longest is not None and longest > known.length:
        what = f"{known.name} takes {known.length} characters, its value has up to {longest}; make it longer"
        yield Finding(Severity.ERROR, what, number, setting=setting)


def _about_field(mapped: MappedField, shape: ObjectSchema) -> Iterator[tuple[Severity, str]]:
    known = shape.field(mapped.name)
    if mapped.name.lower() == "id":
        yield Severity.ERROR, "is assigned by Salesforce; remove it, and identify records by external_id"
        return
    if known is None:
        yield Severity.ERROR, f"no such field, or not one that the user may see{_near(mapped.name, shape)}"
        return
    if not known.createable:
        yield Severity.ERROR, "cannot be written; remove it, or grant the user the right to edit it"
    elif not known.updateable:
        yield Severity.WARNING, "can be written to a new record only: an update with it is refused"
    if mapped.text and known.type in _TEXTS and not (mapped.closed and known.type not in _NUMBERS):
        yield Severity.WARNING, f"is of type {known.type}, and text is sent"
    yield from _about_values(mapped, known)


def _about_values(mapped: MappedField, known: FieldShape) -> Iterator[tuple[Severity, str]]:
    if known.values is not None:
        wrong = [str(value) for value in mapped.values if str(value) not in known.values]
        if wrong:
            allowed = ", ".join(sorted(known.values)[:10])
            yield Severity.ERROR, f"takes only the values of its picklist: {allowed}"
        elif not mapped.closed:
            yield Severity.WARNING, "takes only the values of its picklist; map to them with a lookup"
    longest = max([mapped.longest or 0, *(len(str(value)) for value in mapped.values)])
    if known.length is not None and longest > known.length:
        what = f"takes {known.length} characters, but up to {longest} are sent"
        yield Severity.WARNING, what + ("; it will be cut" if known.is_cut else "; shorten it")


def _in_field(number: int, mapped: MappedField, found: tuple[Severity, str]) -> Finding:
    severity, message = found
    return Finding(severity, message, number, mapped.name)


def _undescribed(number: int, route: SalesforceRoute, outcome: Retry | None) -> Finding:
    if outcome is None:
        what = f"{route.object} is not described: there is no such object, or the user may not see it"
        return Finding(Severity.ERROR, what, number, setting=("object",))
    return Finding(Severity.WARNING, f"fields were not checked: {outcome.detail}; ask again later", number)


def _near(name: str, shape: ObjectSchema) -> str:
    names = {field.name.lower(): field.name for field in shape.fields.values()}
    found = difflib.get_close_matches(name.lower(), names, 1)
    return f" (did you mean {names[found[0]]}?)" if found else ""
