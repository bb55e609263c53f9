"""Online check of owners, pipelines, stages and lists, each at its line of the configuration."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from connectors.base import Finding, Retry, Severity
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.hubspot.answers import is_success, read_list, read_owners, read_pipelines, success_or_retry
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.requests import HubSpotRequest, HubSpotRequests
from connectors.hubspot.settings import HubSpotDeal, HubSpotRoute
from connectors.ownership import SettingPath

_STATIC = frozenset({"MANUAL", "SNAPSHOT"})
_CONTACTS = "0-1"
_NOT_FOUND = (400, 404)


class SalesProbe:
    """Online check of what goes with records.

    Args:
        client: Sends the requests.
        requests: Builds them.
        secrets: Masks HubSpot's messages.
        now: Seconds since the epoch.
    """

    def __init__(
        self, client: HubSpotClient, requests: HubSpotRequests, secrets: Secrets, now: Callable[[], float]
    ) -> None:
        self._client = client
        self._requests = requests
        self._secrets = secrets
        self._now = now

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
        request = self._requests.owners(person) if "@" in person else self._requests.owner(person)
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
        answer = await self._read(self._requests.pipelines(), "pipelines")
        return read_pipelines(answer) if isinstance(answer, Answer) else answer

    async def _list(self, list_id: str) -> Finding | None:
        answer = await self._read(self._requests.static_list(list_id), "list")
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
        outcome = success_or_retry(answer, self._secrets, self._now())
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
