"""The calls to one org: with a token, to the org's own address, one renewal of the token, and the quota noted."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from yarl import URL

from connectors.base import Quota, Rejected, Retry
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import Session
from connectors.salesforce.auth import Access, OrgToken
from connectors.salesforce.errors import (
    LONG_PAUSE,
    Kind,
    SalesforceProblem,
    call_outcome,
    document_of,
    is_refusal,
    read_salesforce_problem,
)
from connectors.salesforce.requests import SalesforceRequest, SalesforceRequests
from connectors.salesforce.schema import Shape, read_shape

# "Limit Info Header" of the REST API Developer Guide: `api-usage=18/5000; per-app-api-usage=17/250(appName=x);
# api-bursts=1/750`. The last one are hours of the month in which the org has been past its daily limit, and in how many
# it may be (the guide of version 48.0; the present one shows it and says nothing of it).
_USED = re.compile(r"(?:^|[;,\s])(per-app-api-usage|api-usage|api-bursts)\s*=\s*(\d{1,12})/(\d{1,12})", re.ASCII)
_BURSTS = "api-bursts"
_OF_THE_ORG = "api-usage"
_NAMES = {_OF_THE_ORG: "daily", "per-app-api-usage": "daily of the app"}
_HEADER = "Sforce-Limit-Info"
_WHOLE = 100


class SalesforceQuotas:
    """Keeps what the last answers have said.

    Args:
        reserve: Percent of each allowance that retries leave to new leads.
    """

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve
        self._known: dict[str, Quota] = {}

    def note(self, headers: Mapping[str, str], now: float) -> None:
        """Take note of an answer's headers. `now` is in seconds since the epoch.

        The 24 hours of a limit roll, so there is no time at which it is renewed as a whole; some of it comes back all
        the time. An org that may go on past its limit is not taken to have nothing left: it answers new leads, and
        retries wait as they do at the end of any quota.
        """
        said = {name: (int(used), int(limit)) for name, used, limit in _USED.findall(headers.get(_HEADER, ""))}
        over, hours = said.pop(_BURSTS, (0, 0))
        for name, (used, most) in said.items():
            goes_on = name == _OF_THE_ORG and over < hours
            left = max(most - used, 1 if goes_on else 0)
            reserve = most * self._reserve // _WHOLE
            self._known[name] = Quota(_NAMES[name], most, left, now + LONG_PAUSE, reserve)

    def quotas(self) -> tuple[Quota, ...]:
        """Return what is known."""
        return tuple(self._known.values())


_UNAUTHORIZED = 401
_DESCRIBED_FOR = 6 * 3600.0  # seconds; an administrator's change of a length or a field is noticed after so long
_UNDESCRIBED_FOR = 600.0  # seconds until it is asked again where the user may not, or where a field is missing


class SalesforceClient:
    """Calls one org. Its methods may be called in parallel.

    Args:
        access: Gives tokens.
        session: Sends requests.
        usage: Is told what the answers say of the quota.
        secrets: Masks what Salesforce says.
        now: Seconds since the epoch.
    """

    def __init__(
        self, access: Access, session: Session, usage: SalesforceQuotas, secrets: Secrets, now: Callable[[], float]
    ) -> None:
        self.secrets = secrets
        self.now = now
        self.instance: URL | None = None
        """The org's address, once a token has been given."""
        self._access = access
        self._session = session
        self._usage = usage

    async def call(self, request: SalesforceRequest) -> Answer | Retry | Rejected:
        """Send a request; give the answer that has a result for each record, or what came of all of them.

        After a 401 it goes once more with a new token. That cannot write twice: a 401 says that nothing was done.
        """
        answer = await self.ask(request)
        if isinstance(answer, Failure):
            return answer.outcome
        return call_outcome(answer, self.now(), self.secrets) or answer

    async def write(self, request: SalesforceRequest) -> Answer | Retry | Rejected | SalesforceProblem:
        """Send a request that writes several records, as `call` does.

        Where the whole call is refused for one field, that is given: often only some of the records have it.
        """
        answer = await self.ask(request)
        if isinstance(answer, Failure):
            return answer.outcome
        meant = call_outcome(answer, self.now(), self.secrets)
        if meant is None:
            return answer
        problem = read_salesforce_problem(document_of(answer), answer.status, self.secrets)
        return replace(problem, is_whole_call=True) if problem is not None and problem.kind is Kind.FIELD else meant

    async def ask(self, request: SalesforceRequest) -> Answer | Failure:
        """Send a request; give the answer, whatever it says, or why there is none."""
        return await self._access.source.send_with_token(lambda token: self._send(request, token))

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
    shape: Shape | None
    since: float


class Shapes:
    """Keeps what the org says of its objects, each asked for once however many want it. May be called in parallel."""

    def __init__(self, client: SalesforceClient, requests: SalesforceRequests) -> None:
        self._client = client
        self._requests = requests
        self._kept: dict[str, _Kept] = {}
        self._asking: dict[str, asyncio.Task[Shape | Retry | None]] = {}

    async def of(
        self, name: str, fields: Iterable[str] = (), *, within: float = _DESCRIBED_FOR
    ) -> Shape | Retry | None:
        """Return an object's shape.

        Args:
            name: The object's.
            fields: What is to be written. Where one is missing, it may have been made meanwhile, so it is asked again
                sooner.
            within: How many seconds old the answer may be.

        None where the org refuses to tell it: leads go without being checked then. `Retry` where it cannot be asked
        for now, for a lead that goes unchecked may be refused for nothing but its length.
        """
        kept = self._kept.get(name)
        if kept is not None and self._client.now() < kept.since + min(within, _life(kept.shape, fields)):
            return kept.shape
        if name not in self._asking:
            self._asking[name] = asyncio.get_running_loop().create_task(self._ask(name))
        return await asyncio.shield(self._asking[name])

    async def close(self) -> None:
        """Stop asking. A second call does nothing."""
        for each in self._asking.values():
            each.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, name: str) -> Shape | Retry | None:
        try:
            answer = await self._client.ask(self._requests.describe(name))
            if isinstance(answer, Failure):
                return answer.outcome
            shape = read_shape(document_of(answer))
            meant = call_outcome(answer, self._client.now(), self._client.secrets)
            if isinstance(meant, Retry) and not is_refusal(meant):
                return meant
            self._kept[name] = _Kept(shape, self._client.now())
            return shape
        finally:
            del self._asking[name]


def _life(shape: Shape | None, fields: Iterable[str]) -> float:
    known = shape is not None and all(shape.field(name) for name in fields)
    return _DESCRIBED_FOR if known else _UNDESCRIBED_FOR
