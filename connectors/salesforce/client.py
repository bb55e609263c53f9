"""The calls to one org: with a token, to the org's address; the quotas in its answers; and its cached shapes."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yarl import URL

from connectors.base import Blame, Quota, Reason, Rejected, Retry, exchange_items
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.salesforce.answers import Part, Verdict, own_results, read_collection, read_parts
from connectors.salesforce.auth import Access, OrgToken
from connectors.salesforce.errors import (
    LONG_PAUSE,
    call_outcome,
    document_of,
    is_refusal,
    read_salesforce_problem,
    unreadable,
)
from connectors.salesforce.requests import SalesforceRequest, SalesforceRequests
from connectors.salesforce.schema import ObjectSchema, read_shape
from connectors.salesforce.status_codes import ErrorKind

# "Limit Info Header" of the REST API Developer Guide: `api-usage=18/5000; per-app-api-usage=17/250(appName=x);
# api-bursts=1/750`. The last one counts the hours of the month in which the org exceeded its daily limit, out of those
# allowed (guide of version 48.0; the current guide shows it without explanation).
_USED = re.compile(r"(?:^|[;,\s])(per-app-api-usage|api-usage|api-bursts)\s*=\s*(\d{1,12})/(\d{1,12})", re.ASCII)
_BURSTS = "api-bursts"
_OF_THE_ORG = "api-usage"
_NAMES = {_OF_THE_ORG: "daily", "per-app-api-usage": "daily of the app"}
_HEADER = "Sforce-Limit-Info"
_WHOLE = 100
_FIRST_ERROR = 400
_UNAUTHORIZED = 401
_FURTHER_PAGES = 4  # after the first one: 10,000 records in all
_TOO_MANY = "{count} records of Salesforce match, too many to read; correct the value that they share, then replay"
_SHAPE_SECONDS = 6 * 3600.0  # seconds until an administrator's change of a length or a field is noticed
_MISSING_SHAPE_SECONDS = 600.0  # seconds until the next try if access is denied, or a field is missing


class SalesforceQuotas:
    """The allowances that the last answers reported.

    Args:
        reserve: Percent of each allowance that is reserved for new leads.
    """

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve
        self._known: dict[str, Quota] = {}

    def note(self, headers: Mapping[str, str], now: float) -> None:
        """Read the headers of an answer. `now` is in seconds since the epoch.

        The 24 hours of a limit roll, so there is no moment when it is renewed as a whole; some calls become available
        all the time. An org that may exceed its limit is never taken to have nothing left: it accepts new leads, and
        retries wait as they do at the end of any quota.
        """
        usage = {name: (int(used), int(limit)) for name, used, limit in _USED.findall(headers.get(_HEADER, ""))}
        over, hours = usage.pop(_BURSTS, (0, 0))
        for name, (used, most) in usage.items():
            may_exceed = name == _OF_THE_ORG and over < hours
            left = max(most - used, 1 if may_exceed else 0)
            reserve = most * self._reserve // _WHOLE
            self._known[name] = Quota(_NAMES[name], most, left, now + LONG_PAUSE, reserve)

    def quotas(self) -> tuple[Quota, ...]:
        """Return the last reported allowances."""
        return tuple(self._known.values())


class SalesforceClient:
    """Client of one org. Its methods may run in parallel.

    Args:
        access: Provides tokens.
        session: Sends requests.
        usage: Receives the quotas in answers.
        secrets: Masks Salesforce's messages.
        now: Seconds since the epoch.
    """

    def __init__(
        self, access: Access, session: HttpSession, usage: SalesforceQuotas, secrets: Secrets, now: Callable[[], float]
    ) -> None:
        self.secrets = secrets
        self.now = now
        self.instance: URL | None = None
        """Address of the org; None until there is a token."""
        self._access = access
        self._session = session
        self._usage = usage

    async def call(self, request: SalesforceRequest) -> Answer | Retry | Rejected:
        """Send a request, and return the answer with a result for each record, or the outcome of all of them.

        If the token is refused, the request is sent once more with a new one. It cannot write twice: a refused token
        means that nothing was done.
        """
        answer = await self.ask(request)
        if isinstance(answer, Failure):
            return answer.outcome
        return call_outcome(answer, self.now(), self.secrets) or answer

    async def write(
        self, calls: Sequence[tuple[SalesforceRequest, Sequence[str]]], requests: SalesforceRequests
    ) -> list[Verdict]:
        """Send collections, several of them as parts of one call, and return the verdict of each record in order.

        Args:
            calls: Collections, each with the ids of the bridge's records that its rows belong to.
            requests: Builder of the call.
        """
        several = len(calls) > 1
        owners = [record_id for _, ids in calls for record_id in ids]
        rows = [row for request, _ in calls for row in request.rows]
        with exchange_items(zip(owners, rows, strict=True)) as items:
            answer = await self.ask(requests.together([each for each, _ in calls]) if several else calls[0][0])
        if isinstance(answer, Failure):
            return [answer.outcome] * len(owners)
        refused = call_outcome(answer, self.now(), self.secrets)
        if several and refused is not None:
            return [refused] * len(owners)
        parts = read_parts(answer) if several else {"0": Part(answer.status, document_of(answer))}
        verdicts: list[Verdict] = []
        results: list[tuple[str, object]] = []
        for at, (_, ids) in enumerate(calls):
            part = parts.get(str(at))
            verdicts += read_collection(part, len(ids), self.secrets, None if several else refused)
            results += zip(ids, own_results(part, len(ids)), strict=False)
        items.received(results)
        return verdicts

    async def parts(self, answer: Answer) -> dict[str, Part] | Retry | Rejected:
        """Return the parts of a composite by name, queries with all of their pages.

        A query with too many records is rejected, because a lead is not written into a record that was guessed.
        """
        parts = read_parts(answer)
        for name, part in parts.items():
            whole = await self._whole(part)
            if not isinstance(whole, Part):
                return whole
            parts[name] = whole
        return parts

    async def _whole(self, part: Part) -> Part | Retry | Rejected:
        """Return a part with the records of its further pages."""
        body: Any = part.body
        if not part.is_good or not isinstance(body, dict) or body.get("done") is not False:
            return part
        records, page = list(body.get("records") or ()), body
        for _ in range(_FURTHER_PAGES):
            path = page.get("nextRecordsUrl")
            if not isinstance(path, str) or not path.startswith("/services/data/"):
                return unreadable(part.status)
            answer = await self.call(SalesforceRequest("GET", path))
            if not isinstance(answer, Answer):
                # A page that is refused has expired: the next attempt reads from the beginning.
                return answer if isinstance(answer, Retry) else unreadable(answer.status or part.status)
            page = document_of(answer)
            if not isinstance(page, dict) or not isinstance(page.get("records"), list):
                return unreadable(answer.status)
            records += page["records"]
            if page.get("done") is not False:
                return Part(part.status, {**body, "done": True, "records": records})
        count = body.get("totalSize")
        shown = count if isinstance(count, int) else f"more than {len(records)}"
        return Rejected(Reason.CONFLICT, _TOO_MANY.format(count=shown), Blame.BATCH, part.status)

    async def ask(self, request: SalesforceRequest) -> Answer | Failure:
        """Send a request, and return the answer of any status, or the failure."""
        return await self._access.source.send_with_token(lambda token: self._send(request, token), self._is_refused)

    def _is_refused(self, answer: Answer | Failure) -> bool:
        """Return True if the token was refused: by a 401, or by an error code with any other status."""
        if not isinstance(answer, Answer) or answer.status < _FIRST_ERROR:
            return False
        problem = read_salesforce_problem(document_of(answer), answer.status, self.secrets)
        return answer.status == _UNAUTHORIZED or (problem is not None and problem.kind is ErrorKind.SESSION)

    async def _send(self, request: SalesforceRequest, token: OrgToken) -> Answer | Failure:
        self.instance = token.instance
        url = URL(f"{token.instance}".rstrip("/") + request.path, encoded=True)
        headers = {**request.headers, "Authorization": f"Bearer {token.value}"}
        answer = await self._session.send(request.method, url, headers, request.body)
        if isinstance(answer, Answer):
            self._usage.note(answer.headers, self.now())
        return answer


@dataclass(frozen=True, slots=True)
class _Kept:
    shape: ObjectSchema | None
    since: float


class Shapes:
    """Cache of the org's object descriptions, each fetched once for all waiting calls. May be used in parallel."""

    def __init__(self, client: SalesforceClient, requests: SalesforceRequests) -> None:
        self._client = client
        self._requests = requests
        self._kept: dict[str, _Kept] = {}
        self._asking: dict[str, asyncio.Task[ObjectSchema | Retry | None]] = {}

    async def of(
        self, name: str, fields: Iterable[str] = (), *, within: float = _SHAPE_SECONDS
    ) -> ObjectSchema | Retry | None:
        """Return an object's shape.

        None if the org refuses to describe it: leads are then sent unchecked. `Retry` if the description cannot be read
        at the moment, because an unchecked lead may be refused merely for the length of a value.

        Args:
            name: Name of the object.
            fields: Fields to write. If one is missing, it may have been created meanwhile, so the shape is fetched
                again sooner.
            within: Maximum age of the shape in seconds.
        """
        kept = self._kept.get(name)
        if kept is not None and self._client.now() < kept.since + min(within, _life(kept.shape, fields)):
            return kept.shape
        if name not in self._asking:
            self._asking[name] = asyncio.get_running_loop().create_task(self._ask(name))
        return await asyncio.shield(self._asking[name])

    async def close(self) -> None:
        """Stop fetching. A second call does nothing."""
        for each in self._asking.values():
            each.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, name: str) -> ObjectSchema | Retry | None:
        try:
            answer = await self._client.ask(self._requests.describe(name))
            if isinstance(answer, Failure):
                return answer.outcome
            shape = read_shape(document_of(answer))
            outcome = call_outcome(answer, self._client.now(), self._client.secrets)
            if isinstance(outcome, Retry) and not is_refusal(outcome):
                return outcome
            self._kept[name] = _Kept(shape, self._client.now())
            return shape
        finally:
            del self._asking[name]


def _life(shape: ObjectSchema | None, fields: Iterable[str]) -> float:
    known = shape is not None and all(shape.field(name) for name in fields)
    return _SHAPE_SECONDS if known else _MISSING_SHAPE_SECONDS
