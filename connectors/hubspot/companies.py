"""The companies of contacts: search by domain, creation of the missing ones, and the association.

A domain is not unique in HubSpot, and search lags some seconds behind writes. This process therefore remembers the
companies that it has found or created. If a creation was not answered, the same domain is not searched before the lag
is over. Two companies may result if the process is killed in between and another one starts within these seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.base import Blame, Reason, Rejected, Retry
from connectors.hubspot.answers import (
    HeldRecord,
    Stored,
    is_unwritten,
    read_batch,
    read_held_records,
    read_links,
    success_or_retry,
    unclear_outcome,
)
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.errors import HubSpotProblem, record_outcome
from connectors.hubspot.settings import CONTACTS

COMPANIES = "companies"
COMPANY_UNCLEAR = "company_unclear"
"""Memo key for the time of a creation that was not answered, in seconds since the epoch."""
_LAG = 15.0  # seconds after which search is assumed to find a new company
_MOST_DOMAINS = 60
_MOST_REMEMBERED = 10_000
_MAIL_PROVIDERS = frozenset(
    [
        "126.com",
        "163.com",
        "aol.com",
        "bluewin.ch",
        "free.fr",
        "gmail.com",
        "gmx.at",
        "gmx.de",
        "gmx.net",
        "googlemail.com",
        "hotmail.com",
        "hotmail.es",
        "hotmail.fr",
        "hotmail.it",
        "icloud.com",
        "laposte.net",
        "libero.it",
        "live.com",
        "mac.com",
        "mail.com",
        "mail.ru",
        "me.com",
        "msn.com",
        "naver.com",
        "orange.fr",
        "outlook.com",
        "outlook.es",
        "proton.me",
        "protonmail.com",
        "qq.com",
        "rediffmail.com",
        "sina.com",
        "sohu.com",
        "t-online.de",
        "uol.com.br",
        "virgilio.it",
        "wanadoo.fr",
        "web.de",
        "yahoo.co.uk",
        "yahoo.com",
        "yahoo.com.br",
        "yahoo.de",
        "yahoo.es",
        "yahoo.fr",
        "yahoo.it",
        "yandex.ru",
        "ymail.com",
        "zoho.com",
    ]
)
"""Domains of widely used mail providers, whose addresses say nothing of a company."""


@dataclass(frozen=True, slots=True, repr=False)
class PlannedCompany:
    """A company that a contact should have."""

    record_id: str
    domain: str
    name: str
    contact: str
    unclear_at: float = 0.0


def company_domain(text: str) -> str:
    """Return the domain in a domain, an e-mail or a URL, in lower case; empty if it is none of a company."""
    host = text.strip().lower().rpartition("@")[2].rpartition("//")[2]
    domain = host.partition("/")[0].partition(":")[0].removeprefix("www.").strip(".")
    is_domain = "." in domain and not any(each.isspace() for each in domain)
    return domain if is_domain and domain not in _MAIL_PROVIDERS else ""


class Companies:
    """Writer of companies in an account. `write` may run in parallel.

    A hundred contacts cost two searches, one creation and one association, fewer if the companies are remembered.

    Args:
        client: Sends the requests.
    """

    def __init__(self, client: HubSpotClient) -> None:
        self._client = client
        self._known: dict[str, str] = {}
        self._unclear: dict[str, float] = {}

    def open(self) -> None:
        """Forget the companies, because somebody may have deleted one."""
        self._known.clear()

    async def write(self, due: Sequence[PlannedCompany]) -> dict[str, str | Retry | Rejected]:
        """Ensure that each contact has its company, and return the company's id by the record's."""
        found: dict[str, str | Retry | Rejected] = {}
        names = {each.domain: each.name for each in reversed(due)}
        unclear_at = {each.domain: max(each.unclear_at, self._unclear.get(each.domain, 0.0)) for each in due}
        asked = []
        for domain in names:
            wait = min(unclear_at[domain] + _LAG - self._client.now(), _LAG)
            if domain in self._known:
                found[domain] = self._known[domain]
            elif wait > 0:
                why = "its company may have been created already, and search does not find new ones yet"
                memo = {COMPANY_UNCLEAR: str(unclear_at[domain])}
                found[domain] = Retry(Reason.CONFLICT, why, Blame.RECORD, wait, memo=memo)
            else:
                asked.append(domain)
        for start in range(0, len(asked), _MOST_DOMAINS):
            found |= await self._search(asked[start : start + _MOST_DOMAINS])
        missing = [domain for domain in asked if domain not in found]
        if missing:
            found |= await self._create({domain: names[domain] for domain in missing})
        for domain, company in found.items():
            if isinstance(company, str):
                self._remember(self._known, domain, company)
        results = {each.record_id: found[each.domain] for each in due}
        return results | await self._associate(
            {each.record_id: (company, each.contact) for each in due if isinstance(company := found[each.domain], str)}
        )

    async def _search(self, domains: Sequence[str]) -> dict[str, str | Retry | Rejected]:
        """Return the oldest company of each domain that has one."""
        await self._client.searching.acquire()
        request = self._client.requests.search_companies(domains)
        answer = await self._client.result(request)
        held = answer if isinstance(answer, Retry) else read_held_records(answer)
        if isinstance(held, Retry):
            return dict.fromkeys(domains, held)
        return {_domain(each): each.id for each in reversed(held) if _domain(each) in domains}

    async def _create(self, names: Mapping[str, str]) -> dict[str, str | Retry | Rejected]:
        inputs = [
            {"objectWriteTraceId": domain, "properties": {"name": name or domain, "domain": domain}}
            for domain, name in names.items()
        ]
        created: dict[str, str | Retry | Rejected] = {}
        is_clear = False
        try:
            answer = await self._client.send(self._client.requests.add(COMPANIES, inputs))
            is_clear = is_unwritten(answer)
            result = success_or_retry(answer, self._client.secrets, self._client.now())
            if isinstance(result, Retry):
                created = dict.fromkeys(names, result)
            else:
                found = read_batch(result, [(domain, domain) for domain in names], _domain_of, self._client.secrets)
                created = {
                    domain: _result(each, result.status)
                    or unclear_outcome(result, "says nothing of a company", Blame.RECORD)
                    for domain, each in zip(names, found, strict=True)
                }
        finally:  # also when cancelled
            if not is_clear:
                for domain in names:
                    if not isinstance(created.get(domain), str | Rejected):
                        self._remember(self._unclear, domain, self._client.now())
        if is_clear:
            return created
        memo = {COMPANY_UNCLEAR: str(self._client.now())}
        return {
            domain: replace(each, memo=memo) if isinstance(each, Retry) else each for domain, each in created.items()
        }

    async def _associate(self, pairs: Mapping[str, tuple[str, str]]) -> dict[str, Retry | Rejected]:
        """Associate companies with contacts, and return the failures by record id."""
        if not pairs:
            return {}
        request = self._client.requests.link(COMPANIES, list(pairs.values()), CONTACTS)
        answer = await self._client.result(request)
        if isinstance(answer, Retry):
            return dict.fromkeys(pairs, answer)
        trouble = read_links(answer, list(pairs.values()), self._client.secrets)
        for pair in pairs.values():
            if pair in trouble:  # the company may have been deleted
                self._known = {domain: company for domain, company in self._known.items() if company != pair[0]}
        return {record_id: trouble[pair] for record_id, pair in pairs.items() if pair in trouble}

    def _remember(self, memory: dict[str, Any], domain: str, value: object) -> None:
        memory.pop(domain, None)
        memory[domain] = value
        if len(memory) > _MOST_REMEMBERED:
            del memory[next(iter(memory))]


def _domain(record: HeldRecord) -> str:
    return record.values.get("domain", "").lower()


def _domain_of(properties: Mapping[str, Any]) -> str | None:
    found = properties.get("domain")
    return found if isinstance(found, str) else None


def _result(found: Stored | HubSpotProblem | None, status: int) -> str | Retry | Rejected | None:
    if isinstance(found, HubSpotProblem):
        return record_outcome(found, status)
    return found.id if found else None
