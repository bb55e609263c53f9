"""The online check: compares routes with the definitions of their properties, and checks the token. Never writes.

Sources: HubSpot's guides to the properties API and to private apps.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

from connectors.base import Blame, Finding, MappedField, MappedRoute, Rejected, Retry, Severity
from connectors.http_client.answer import Answer, Failure
from connectors.hubspot.answers import (
    is_success,
    read_definitions,
    read_list,
    read_owners,
    read_pipelines,
    success_or_retry,
)
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.errors import answer_outcome, problem_in_answer
from connectors.hubspot.requests import EMAIL, HubSpotRequest
from connectors.hubspot.settings import CONTACTS, LEADS, HubSpotDeal, HubSpotRoute, HubSpotSettings
from connectors.ownership import SettingPath

_NUMERIC = "number"
_LONGEST = 65_536
_MOST_SHOWN = 10
_SCOPED = frozenset({CONTACTS, "companies", "deals", "leads"})
_UNCHECKED = (
    "reachable, credentials accepted; HubSpot does not report which properties an administrator's rules require, "
    "and it refuses a record without one of them"
)

Definitions = Mapping[str, Mapping[str, Any]]

_STATIC = frozenset({"MANUAL", "SNAPSHOT"})
_CONTACTS = "0-1"
_NOT_FOUND = (400, 404)


class Probe:
    """Online check of an account: would it accept the records of its routes?

    Args:
        settings: Settings of the destination.
        client: Sends the requests.
    """

    def __init__(self, settings: HubSpotSettings, client: HubSpotClient) -> None:
        self._token = settings.access_token.get_secret_value() if settings.access_token else None
        self._setting = "access_token" if self._token else "oauth"
        self._client = client

    async def ask(self, mapped: Sequence[MappedRoute]) -> list[Finding]:
        """Read the properties of each object once, and the scopes of a private app's token."""
        routes = [(each, each.settings) for each in mapped if isinstance(each.settings, HubSpotRoute)]
        known: dict[str, Definitions] = {}
        findings: list[Finding] = []
        for name in dict.fromkeys(route.object for _, route in routes) or (CONTACTS,):
            outcome = await self._definitions(name)
            if isinstance(outcome, Finding):
                findings.append(outcome)
            else:
                known[name] = outcome
        for index, (each, route) in enumerate(routes):
            if route.object in known:
                findings += check_route(index, each, route, known[route.object])
        if known:
            needed = list(dict.fromkeys(scope for name in known for scope in _scopes_of(name)))
            needed += [scope for _, route in routes for scope in _scopes_of_settings(route)]
            findings += await self._scopes(list(dict.fromkeys(needed)))
            findings += await SalesProbe(self._client).ask([route for _, route in routes])
            findings.append(Finding(Severity.NOTE, _UNCHECKED))
        return findings

    async def _definitions(self, name: str) -> Definitions | Finding:
        answer = await self._client.send(self._client.requests.properties(name))
        if isinstance(answer, Failure):
            setting = answer.setting or ("base_url" if answer.outcome.status is None else self._setting,)
            return Finding(Severity.ERROR, answer.outcome.detail, setting=setting)
        if is_success(answer):
            found = read_definitions(answer)
            return found or Finding(Severity.WARNING, f"its answer on the properties of {name} cannot be read")
        outcome = answer_outcome(answer, problem_in_answer(answer, self._client.secrets), self._client.now())
        return self._refused(name, outcome)

    def _refused(self, name: str, outcome: Retry | Rejected) -> Finding:
        what = f"the properties of {name} cannot be read: {outcome.detail}"
        if outcome.status in (401, 403):
            return Finding(Severity.ERROR, f"{what}; correct it, or add the scopes to it", setting=(self._setting,))
        if isinstance(outcome, Rejected) or outcome.status == HTTPStatus.NOT_FOUND:
            return Finding(Severity.ERROR, f"{what}; correct object or api_version", setting=("api_version",))
        severity = Severity.ERROR if outcome.blame is Blame.DESTINATION and outcome.status is None else Severity.WARNING
        return Finding(severity, f"{what}; ask again later")

    async def _scopes(self, needed: Sequence[str]) -> list[Finding]:
        """Compare a token's scopes with the needed ones. The scopes of an OAuth app cannot be read."""
        if self._token is None:
            return []
        answer = await self._client.send(self._client.requests.token_info(self._token))
        try:
            document = answer.json() if not isinstance(answer, Failure) and is_success(answer) else None
        except ValueError:
            document = None
        scopes = document.get("scopes") if isinstance(document, dict) else None
        if not isinstance(scopes, list):
            return [Finding(Severity.NOTE, "the token's scopes cannot be read, so it is unknown whether it may write")]
        missing = [scope for scope in needed if scope not in scopes]
        what = f"the token lacks the scopes {', '.join(missing)}; add them to the private app or service key"
        return [Finding(Severity.ERROR, what, setting=(self._setting,))] if missing else []


def _scopes_of(name: str) -> list[str]:
    """Return the scopes for records of an object; a lead belongs to a contact."""
    names = [name, CONTACTS] if name == LEADS else [name]
    return [f"crm.objects.{each}.{right}" for each in names if each in _SCOPED for right in ("read", "write")]


def _scopes_of_settings(route: HubSpotRoute) -> list[str]:
    """Return the scopes for what goes with a record."""
    owned = route.owner or (route.follow_up and route.follow_up.owner)
    needs = (
        (owned, ["crm.objects.owners.read"]),
        (route.deal, _scopes_of("deals")),
        (route.company, _scopes_of("companies")),
        (route.static_list, ["crm.lists.read", "crm.lists.write"]),
    )
    return [scope for is_needed, scopes in needs if is_needed for scope in scopes]


def check_route(index: int, mapped: MappedRoute, route: HubSpotRoute, known: Definitions) -> Iterator[Finding]:
    """Compare a route with the definitions of its object's properties. Pure."""
    for each in mapped.fields:
        definition = known.get(each.name)
        problem = _unknown(each.name, known) if definition is None else _misfit(each, definition)
        if problem is not None:
            yield Finding(problem[0], problem[1], index, each.name)
    yield from _check_match(index, mapped, route, known)


def _check_match(index: int, mapped: MappedRoute, route: HubSpotRoute, known: Definitions) -> Iterator[Finding]:
    definition = known.get(route.match)
    if definition is None:
        yield Finding(*_unknown(route.match, known), route=index, setting=("match",))
    elif definition.get("hasUniqueValue") is not True and not (route.match == EMAIL and route.object == CONTACTS):
        what = f"{route.match} is not a property with unique values; choose one that was created with them"
        yield Finding(Severity.ERROR, what, index, setting=("match",))
    names = {each.name for each in mapped.fields}
    if route.match not in names:
        # A contact without e-mail is still found by its phone; any other key must be mapped.
        severity = Severity.WARNING if route.match == EMAIL else Severity.ERROR
        what = f"no field maps {route.match}, so no record can be found by it; map it, or change match"
        yield Finding(severity, what, index, setting=("match",))


def _unknown(name: str, known: Definitions) -> tuple[Severity, str]:
    near = get_close_matches(name, known, 1)
    return Severity.ERROR, "no such property" + (f" (did you mean `{near[0]}`?)" if near else "; create it in HubSpot")


def _misfit(field: MappedField, definition: Mapping[str, Any]) -> tuple[Severity, str] | None:
    """Return the reason why a property does not accept the values of a field."""
    change = definition.get("modificationMetadata")
    read_only = isinstance(change, Mapping) and change.get("readOnlyValue") is True
    if read_only or definition.get("calculated") is True:
        return Severity.ERROR, "HubSpot sets this property itself; take the field out"
    kind = definition.get("type")
    if kind == "enumeration" and definition.get("externalOptions") is not True:
        return _not_options(field, definition)
    if kind == _NUMERIC and any(not _is_number(each) for each in field.values):
        return Severity.ERROR, "the property takes numbers only"
    if kind in (_NUMERIC, "date", "datetime", "bool") and field.text and not field.values:
        return Severity.WARNING, f"the property is of type {kind}, and other text will be left out"
    if field.longest is not None and field.longest > _LONGEST:
        return Severity.WARNING, f"the property takes at most {_LONGEST} characters"
    return None


def _not_options(field: MappedField, definition: Mapping[str, Any]) -> tuple[Severity, str] | None:
    listed = definition.get("options")
    options = [str(each.get("value")) for each in listed or () if isinstance(each, Mapping)]
    wrong = [str(each) for each in field.values for part in str(each).split(";") if part not in options]
    shown = ", ".join(options[:_MOST_SHOWN]) + (", …" if len(options) > _MOST_SHOWN else "")
    if wrong:
        return Severity.ERROR, f"not one of the property's options: {', '.join(wrong)}; it takes {shown}"
    if not field.closed:
        return Severity.NOTE, f"the property takes only its options ({shown}); another value will be left out"
    return None


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


class SalesProbe:
    """Online check of what goes with records.

    Args:
        client: Sends the requests.
    """

    def __init__(self, client: HubSpotClient) -> None:
        self._client = client

    async def ask(self, routes: Sequence[HubSpotRoute]) -> list[Finding]:
        """Read each owner and list once, and the pipelines once."""
        findings: list[Finding] = []
        owners: dict[str, Finding | None] = {}
        lists: dict[str, Finding | None] = {}
        pipelines: Mapping[str, Sequence[str]] | Finding | None = None
        for number, route in enumerate(routes):
            for path, person in _people(route):
                if person not in owners:
                    owners[person] = await self._owner(person)
                findings += _at(owners[person], number, path)
            if route.deal is not None:
                if pipelines is None:
                    pipelines = await self._pipelines()
                findings += _about_deal(route.deal, pipelines, number)
            if route.static_list is not None:
                if route.static_list not in lists:
                    lists[route.static_list] = await self._list(route.static_list)
                findings += _at(lists[route.static_list], number, ("list",))
        return findings

    async def _owner(self, person: str) -> Finding | None:
        request = self._client.requests.owners(person) if "@" in person else self._client.requests.owner(person)
        answer = await self._read(request, "owner")
        if not isinstance(answer, Answer):
            return answer
        if "@" not in person:
            return None
        found = read_owners(answer)
        if isinstance(found, Retry):
            return Finding(Severity.WARNING, f"the owner cannot be read: {found.detail}")
        is_known = any(email == person.strip().lower() for _, email in found)
        return None if is_known else Finding(Severity.ERROR, "no active owner in HubSpot has this e-mail")

    async def _pipelines(self) -> Mapping[str, Sequence[str]] | Finding:
        answer = await self._read(self._client.requests.pipelines(), "pipelines")
        return read_pipelines(answer) if isinstance(answer, Answer) else answer

    async def _list(self, list_id: str) -> Finding | None:
        answer = await self._read(self._client.requests.static_list(list_id), "list")
        if not isinstance(answer, Answer):
            return answer
        kind, processing = read_list(answer)
        if kind != _CONTACTS:
            return Finding(Severity.ERROR, "this is not a list of contacts; name one")
        if processing not in _STATIC:
            what = f"HubSpot fills this list itself ({processing}); name one of type MANUAL or SNAPSHOT"
            return Finding(Severity.ERROR, what)
        return None

    async def _read(self, request: HubSpotRequest, what: str) -> Answer | Finding:
        answer = await self._client.send(request)
        if isinstance(answer, Answer) and is_success(answer):
            return answer
        if isinstance(answer, Answer) and answer.status in _NOT_FOUND:
            return Finding(Severity.ERROR, f"there is no such {what} in the account")
        outcome = success_or_retry(answer, self._client.secrets, self._client.now())
        detail = outcome.detail if isinstance(outcome, Retry) else "no answer"
        return Finding(Severity.WARNING, f"the {what} cannot be read: {detail}; check the scopes, or ask again later")


def _people(route: HubSpotRoute) -> Iterable[tuple[SettingPath, str]]:
    settings = ((("owner",), route.owner), (("follow_up", "owner"), route.follow_up and route.follow_up.owner))
    for path, owner in settings:
        for below, person in owner.people() if owner else ():
            yield (*path, *below), person


def _about_deal(deal: HubSpotDeal, known: Mapping[str, Sequence[str]] | Finding, number: int) -> list[Finding]:
    if isinstance(known, Finding):
        return _at(known, number, ("deal",))
    if deal.pipeline not in known:
        what = f"there is no such pipeline; its ids are {', '.join(known) or 'unknown'}"
        return _at(Finding(Severity.ERROR, what), number, ("deal", "pipeline"))
    if deal.stage not in known[deal.pipeline]:
        what = f"the pipeline has no such stage; its ids are {', '.join(known[deal.pipeline])}"
        return _at(Finding(Severity.ERROR, what), number, ("deal", "stage"))
    return []


def _at(finding: Finding | None, number: int, path: SettingPath) -> list[Finding]:
    """Return a finding at a setting of a route."""
    return [] if finding is None else [Finding(finding.severity, finding.message, number, setting=path)]
