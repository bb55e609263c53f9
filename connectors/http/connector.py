"""The generic HTTP connector: the calls, between the pure parts that make requests and read answers."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from connectors.base import (
    Connector,
    Context,
    ExpressionError,
    Finding,
    Outcome,
    Preview,
    Reason,
    Record,
    Rejected,
    Wanted,
)
from connectors.http.answers import Reader, ResultsReader
from connectors.http.auth import ClientCredentials, check_token_url
from connectors.http.probe import Asked, credentials_in, no_token, trouble, unreached, well
from connectors.http.requests import Request, Requests, preview, secrets_of
from connectors.http.settings import HttpSettings, setting
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.session import Session

_UNAUTHORIZED = 401


class HttpConnector(Connector):
    """Writes records into any HTTP API: one request for each record, or in batch mode one for several.

    Idempotency is the destination's: its key (an upsert), `idempotency_key`, or `webhook-id` where it is looked at. A
    crash or a lost answer leaves the record open, and the same request with the same ids comes again.

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
        self._requests = Requests(settings, context)
        self._reader = Reader(settings, context, self._requests.asked, self._secrets)
        self._results = ResultsReader(settings.results, context, self._reader) if settings.results else None
        self._session = Session(settings, context)
        self._aside = context.aside
        self._credentials_in = credentials_in(settings)
        self._auth: ClientCredentials | None = None
        if settings.auth and settings.auth.oauth2:
            with setting("auth", "oauth2", "token_url"):
                check_token_url(settings.auth.oauth2, allow_private=settings.allow_private)
            self._auth = ClientCredentials(settings.auth.oauth2, self._session, self._now, self._secrets)

    def batches(self) -> bool:
        """Whether the settings say how to read an answer to several records."""
        return self._results is not None

    def batch_key(self, record: Record) -> Hashable:
        """Give the value by which results are matched to records, for two with the same could not be told apart."""
        return (self._results and self._results.key_of(record)) or record.id

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Send the records, one call for all in batch mode, else one after the other."""
        if self._results is not None:
            return await self._deliver_batch(self._results, records)
        return [await self._deliver_one(record) for record in records]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Show the request for the records (for the first one, if not in batch mode).

        Raises:
            ExpressionError: no request can be made of them; `deliver` would give `Rejected` with its message.
        """
        now = self._now()
        if self._results is None:
            return preview(self._requests.request(records[0], now), self._secrets, bearer=self._auth is not None)
        parts = [self._requests.part(record) for record in records]
        request = self._requests.batch([record.id for record in records], parts, now)
        return preview(request, self._secrets, bearer=self._auth is not None)

    async def probe(self, wanted: Sequence[Wanted]) -> Sequence[Finding]:  # noqa: ARG002 - HTTP has no fields to ask for
        """Ask with HEAD, which cannot write, whether the destination is there and takes the credentials."""
        token = await self._auth.source.token() if self._auth else None
        if isinstance(token, Failure):
            return (no_token(token),)
        request = self._requests.harmless(self._now())
        asked = Asked(request.url, self._requests.probes_address, self._credentials_in)
        result = await (self._call(request) if asked.whole else self._send(request))
        if isinstance(result, Failure):
            return (unreached(result),)
        found = trouble(asked, result, self._secrets)
        return (found or well(asked, result, await self._without_credentials(asked), token=token is not None),)

    async def close(self) -> None:
        """Close the connections; a token that is being fetched is given up."""
        if self._auth is not None:
            await self._auth.source.close()
        await self._session.close()

    async def _deliver_one(self, record: Record) -> Outcome:
        try:
            request = await self._aside(partial(self._requests.request, record, self._now()))
        except ExpressionError as error:
            return self._unsendable(error)
        result = await self._call(request)
        return result.outcome if isinstance(result, Failure) else self._reader.one(result, self._now())

    async def _deliver_batch(self, results: ResultsReader, records: Sequence[Record]) -> Sequence[Outcome]:
        """Send what can be sent; a record that cannot be stands alone and does not keep the others."""
        sendable = [await self._aside(partial(self._sendable, results, record)) for record in records]
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
        result = await self._call(request)
        if isinstance(result, Failure):
            return [result.outcome] * len(parts)
        return results.outcomes(result, records, self._now())

    def _sendable(self, results: ResultsReader, record: Record) -> "_Part | Rejected":
        try:
            part = _Part(record, self._requests.part(record))
        except ExpressionError as error:
            return self._unsendable(error)
        if results.is_matching() and results.key_of(record) is None:
            return Rejected(Reason.MAPPING, "results.match.record gives no value, so its result could not be found")
        return part

    async def _call(self, request: Request) -> Answer | Failure:
        """Send a request, with a token where one is needed."""
        if self._auth is None:
            return await self._session.send(request.method, request.url, request.headers, request.body)
        return await self._auth.source.authorized(lambda token: self._send(request.authorized(token.value)))

    async def _without_credentials(self, asked: Asked) -> Answer | Failure | None:
        """Ask the same without credentials, to learn whether they are looked at; a token's giver has done so."""
        if not asked.whole or asked.credentials is None or self._auth is not None:
            return None
        return await self._send(self._requests.harmless(self._now(), credentials=False))

    async def _send(self, request: Request) -> Answer | Failure:
        return await self._session.send(request.method, request.url, request.headers, request.body)

    def _unsendable(self, error: ExpressionError) -> Rejected:
        return Rejected(Reason.MAPPING, self._secrets.mask(error.message))


@dataclass(frozen=True, slots=True, repr=False)
class _Part:
    """A record of a batch, and its part of the body."""

    record: Record
    body: bytes
