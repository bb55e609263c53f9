"""The generic HTTP connector: the calls, and their order."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from yarl import URL

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
    SettingError,
    Vault,
    exchange_items,
)
from connectors.http import address
from connectors.http.address import Redirects
from connectors.http.answers import Reader, ResultsReader
from connectors.http.auth import access_tokens
from connectors.http.lookup import FOUND, Lookup
from connectors.http.probe import (
    ProbeTarget,
    credentials_in,
    problem_finding,
    success_finding,
    token_finding,
    unreachable_finding,
)
from connectors.http.requests import HttpRequest, HttpRequests, preview, secrets_of
from connectors.http.settings import HttpSettings
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.session import HttpSession


class HttpConnector(Connector):
    """Writes records into any HTTP API: one request for each record, or in batch mode one for several.

    The destination must be idempotent: by its key (an upsert), by `idempotency_key`, by `webhook-id`, or by `find`,
    which looks for the record before it is created. After a crash or a lost answer the outcome is unknown, and the same
    request is sent again with the same ids.

    A whole destination:
        ```yaml
        crm:
          connector: http
          url: https://api.example.com/contacts/{{ Email }}
          method: PUT
          headers: {X-Source: "{{ chatbot }}"}
          auth: {bearer: "${CRM_TOKEN}"}
          success: {status: [200-299], when: answer.ok}
          remote_id: answer.id
        ```
    """

    destination_settings = HttpSettings
    max_batch = 100

    def __init__(self, settings: HttpSettings, context: Context) -> None:
        self._now = context.now
        self._secrets = secrets_of(settings)
        self._requests = HttpRequests(settings, context)
        self._reader = Reader(settings, context, self._requests.traits, self._secrets)
        self._results = ResultsReader(settings.results, context, self._reader) if settings.results else None
        if settings.update is not None and settings.find is None:
            raise SettingError(("update",), "needs find, which finds the record to update")
        self._redirects = Redirects(settings, per_record=self._requests.traits.per_record)
        self._session = HttpSession(settings, context)
        self._offload = context.offload
        self._credentials_in = credentials_in(settings)
        oauth2 = settings.auth.oauth2 if settings.auth else None
        self._auth = None
        if oauth2 is not None:
            allow_private = settings.allow_private
            self._auth = access_tokens(oauth2, self._session, self._now, self._secrets, allow_private=allow_private)
        self._lookup = Lookup(settings, context, self._secrets) if settings.find else None

    def open(self, vault: Vault) -> None:
        """Receive the vault in which a replaced refresh token is stored."""
        if self._auth is not None:
            self._auth.open(vault)

    def batches(self) -> bool:
        """Return True if the settings describe how to read an answer to several records."""
        return self._results is not None

    def batch_key(self, record: Record) -> Hashable:
        """Return the value that matches results to records: two records with the same value cannot be told apart."""
        return (self._results and self._results.key_of(record)) or record.id

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Send the records: in one call in batch mode, else one after the other."""
        if self._results is not None:
            return await self._deliver_batch(self._results, records)
        return [await self._deliver_one(record) for record in records]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the first request for the records (for the first one, if not in batch mode).

        Raises:
            ExpressionError: the records cannot become a request; `deliver` would return `Rejected` with its message.
        """
        now = self._now()
        if self._lookup is not None:
            return preview(self._lookup.request(records[0], now), self._secrets, bearer=self._auth is not None)
        if self._results is None:
            return preview(self._requests.request(records[0], now), self._secrets, bearer=self._auth is not None)
        parts = [self._requests.part(record) for record in records]
        request = self._requests.batch([record.id for record in records], parts, now)
        return preview(request, self._secrets, bearer=self._auth is not None)

    def related_previews(self, record: Record) -> Sequence[Preview]:
        """Return the requests that follow a search: for a new record, and for a known one."""
        if self._lookup is None:
            return ()
        now, bearer = self._now(), self._auth is not None
        made = self._requests.request(record, now)
        shown = [replace(preview(made, self._secrets, bearer=bearer), why="a new record, if `find` finds none")]
        changed = self._lookup.update_request(record, f"[{FOUND}]", now)
        if changed is not None:
            why = "`update` of the record that `find` found"
            shown.append(replace(preview(changed, self._secrets, bearer=bearer), why=why))
        return shown

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Send a HEAD, which cannot write, to check that the destination is reachable and takes the credentials."""
        token = await self._auth.source.token() if self._auth else None
        if isinstance(token, Failure):
            return (token_finding(token),)
        request = self._requests.harmless(self._now())
        target = ProbeTarget(request.url, self._requests.probes_address, self._credentials_in)
        result = await (self._call(request) if target.is_leads_address else self._send(request))
        if isinstance(result, Failure):
            return (unreachable_finding(result),)
        problem = problem_finding(target, result, self._secrets)
        return (
            problem
            or success_finding(target, result, await self._without_credentials(target), token=token is not None),
        )

    async def close(self) -> None:
        """Close the connections, and stop fetching a token."""
        if self._auth is not None:
            await self._auth.source.close()
        await self._session.close()

    async def _deliver_one(self, record: Record) -> Outcome:
        try:
            if self._lookup is not None:
                found = await self._find(self._lookup, record)
                if found is not None:
                    return await self._update(self._lookup, record, found) if isinstance(found, str) else found
            request = await self._offload(partial(self._requests.request, record, self._now()))
        except ExpressionError as error:
            return self._unsendable(error)
        result = await self._write(request)
        return self._reader.one(result, self._now()) if isinstance(result, Answer) else result

    async def _find(self, lookup: Lookup, record: Record) -> str | Outcome | None:
        """Return the id of the existing record, None if there is none, or the outcome of a failed search."""
        request = await self._offload(partial(lookup.request, record, self._now()))
        result = await self._call(request)
        return result.outcome if isinstance(result, Failure) else lookup.found(result, self._now())

    async def _update(self, lookup: Lookup, record: Record, found: str) -> Outcome:
        request = await self._offload(partial(lookup.update_request, record, found, self._now()))
        if request is None:
            return Delivered(found)
        result = await self._write(request)
        return lookup.updated(result, found, self._now()) if isinstance(result, Answer) else result

    async def _deliver_batch(self, results: ResultsReader, records: Sequence[Record]) -> Sequence[Outcome]:
        """Send the records that can be sent; a record that cannot is rejected and does not delay the others."""
        sendable = [await self._offload(partial(self._sendable, results, record)) for record in records]
        sent = [each for each in sendable if isinstance(each, _Part)]
        outcomes = iter(await self._send_batch(results, sent) if sent else ())
        return [next(outcomes) if isinstance(each, _Part) else each for each in sendable]

    async def _send_batch(self, results: ResultsReader, parts: Sequence["_Part"]) -> Sequence[Outcome]:
        records = [part.record for part in parts]
        try:
            request = self._requests.batch(
                [record.id for record in records], [part.body for part in parts], self._now()
            )
        except ExpressionError as error:
            return [self._unsendable(error)] * len(parts)
        with exchange_items((part.record.id, part.body) for part in parts) as items:
            result = await self._write(request)
        if not isinstance(result, Answer):
            return [result] * len(parts)
        return results.outcomes(result, records, self._now(), lambda record, own: items.received([(record.id, own)]))

    def _sendable(self, results: ResultsReader, record: Record) -> "_Part | Rejected":
        try:
            part = _Part(record, self._requests.part(record))
        except ExpressionError as error:
            return self._unsendable(error)
        if results.is_matching() and results.key_of(record) is None:
            return Rejected(
                Reason.MAPPING, "results.match.record is empty for this record, so its result could not be found"
            )
        return part

    async def _write(self, request: HttpRequest) -> Answer | Outcome:
        """Send a request that may write, and return its answer; follow the one redirect that the settings allow."""
        result = await self._call(request)
        if isinstance(result, Failure):
            return result.outcome
        if result.status not in address.STATUSES:
            return result
        place = self._redirects.target(result, request.url)
        if not isinstance(place, URL):
            return place
        result = await self._session.send("GET", place, {}, None)
        if isinstance(result, Failure):
            return result.outcome
        return self._redirects.unread(result, self._now()) or result

    async def _call(self, request: HttpRequest) -> Answer | Failure:
        """Send a request, with a token if one is needed."""
        if self._auth is None:
            return await self._session.send(request.method, request.url, request.headers, request.body)
        return await self._auth.source.send_with_token(lambda token: self._send(request.with_token(token.value)))

    async def _without_credentials(self, target: ProbeTarget) -> Answer | Failure | None:
        """Send the same HEAD without credentials, to learn whether they are checked. Not needed with OAuth."""
        if not target.is_leads_address or target.credentials is None or self._auth is not None:
            return None
        return await self._send(self._requests.harmless(self._now(), credentials=False))

    async def _send(self, request: HttpRequest) -> Answer | Failure:
        return await self._session.send(request.method, request.url, request.headers, request.body)

    def _unsendable(self, error: ExpressionError) -> Rejected:
        return Rejected(Reason.MAPPING, self._secrets.mask(error.message))


@dataclass(frozen=True, slots=True, repr=False)
class _Part:
    """A record of a batch, and its part of the body."""

    record: Record
    body: bytes
