"""The Google Sheets connector: the header, after doubt the keys, then the new rows."""

import asyncio
from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime

import orjson
from yarl import URL

from connectors.base import (
    Connector,
    Context,
    Delivered,
    Finding,
    MappedRoute,
    Outcome,
    Preview,
    Record,
    Rejected,
    RemoteRecord,
    Retry,
    SettingError,
    Severity,
    Vault,
    exchange_items,
)
from connectors.google_sheets import answers, requests
from connectors.google_sheets.auth import account_tokens, read_account
from connectors.google_sheets.settings import GoogleSheetsRoute, GoogleSheetsSettings
from connectors.http_client.address_guard import check_url
from connectors.http_client.answer import Failure
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import MASK, Secrets
from connectors.http_client.session import HttpSession

_UNAUTHORIZED = 401
_CLOCKS = 60.0  # seconds by which the clocks of two machines may differ


class GoogleSheetsConnector(Connector):
    """Appends each lead as a row of a sheet, once. The key column holds the ids of the deliveries.

    Fields have the names of the columns in the first row, in any order. The key column is read, once for a batch, where
    a record may have been appended before: after a lost answer, and for events that are older than this lane. A row
    that people have moved or sorted is still found; a row that they have deleted is appended again by a replay only.
    """

    destination_settings = GoogleSheetsSettings
    route_settings = GoogleSheetsRoute
    max_batch = requests.MAX_BATCH
    rate_limit = (60, 60.0)
    """Requests of one user to read, or to write, in a minute (Google Sheets API, "Usage limits"); this counts both."""

    def __init__(self, settings: GoogleSheetsSettings, context: Context) -> None:
        account = read_account(settings)
        try:
            base = URL(settings.base_url)
            check_url(base, allow_private=settings.allow_private)
        except ValueError as error:
            raise SettingError(("base_url",), str(error)) from None
        self._email = account.email
        self._id = settings.spreadsheet_id
        self._spreadsheet = base / "v4" / "spreadsheets" / settings.spreadsheet_id
        secrets = Secrets(settings.service_account.get_secret_value(), account.assertion.private_key)
        self._session = HttpSession(settings, context)
        self._tokens = account_tokens(account, self._session, context.now, secrets)
        self._api = JsonApi(self._session, secrets, context.now)
        self._now = context.now
        self._since: float | None = None
        self._unsure: set[str] = set()
        self._appending = asyncio.Lock()

    def open(self, vault: Vault) -> None:
        """Note when the lane began: until then another process may have appended rows."""
        self._since = self._now()

    def batch_group(self, record: Record) -> Hashable:
        """Return sheet and key column: records that share them share a call."""
        return requests.sheets_route(record)

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Append a row for each record that has none."""
        route = requests.sheets_route(records[0])
        columns = await self._columns(route)
        if not isinstance(columns, list):
            return [columns] * len(records)
        held: frozenset[str] = frozenset()
        if any(map(self._is_in_doubt, records)):
            keys = await self._keys(route, columns)
            if not isinstance(keys, frozenset):
                return [keys] * len(records)
            held = keys
        missing = [record for record in records if record.id not in held]
        appended = await self._append(route, columns, missing) if missing else None
        self._unsure -= held
        return [
            Delivered(record.id, self._link) if record.id in held else self._outcome(record, columns, appended)
            for record in records
        ]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the request that appends the records, with the mapped fields as the columns."""
        route = requests.sheets_route(records[0])
        columns = [route.key_column, *dict.fromkeys(name for record in records for name in record.fields)]
        document = requests.rows_document(records, columns, route.key_column)
        headers = {"Authorization": f"Bearer {MASK}", "Content-Type": "application/json"}
        url = str(requests.append_url(self._spreadsheet, route.sheet))
        return Preview("POST", url, headers, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Get a token, and compare the routes with the sheets and their columns. Reads only."""
        token = await self._tokens.source.token()
        if isinstance(token, Failure):
            return (Finding(Severity.ERROR, token.outcome.detail, setting=("service_account",)),)
        reply = await self._call("GET", self._spreadsheet.with_query(fields="sheets.properties.title"))
        if not isinstance(reply, Reply):
            failed = answers.account_failure(reply, self._email, "")
            return (Finding(Severity.ERROR, failed.detail, setting=("spreadsheet_id",)),)
        titles = answers.titles_in(reply)
        findings: list[Finding] = []
        for number, each in enumerate(routes):
            route = each.settings
            assert isinstance(route, GoogleSheetsRoute)  # noqa: S101 - the bridge passes `route_settings`
            unknown = answers.sheet_finding(titles, route.sheet, number)
            columns = await self._columns(route, needs_key=False) if unknown is None else []
            if unknown is not None:
                findings.append(unknown)
            elif isinstance(columns, list):
                findings += answers.column_findings(columns, each, number)
            else:
                findings.append(Finding(Severity.WARNING, columns.detail, number, setting=("sheet",)))
        limit = "whether the service account may write cannot be checked without a write"
        return findings or (Finding(Severity.NOTE, f"reachable, sheets and columns known; {limit}"),)

    async def holds(self, records: Sequence[RemoteRecord]) -> Sequence[bool | None]:
        """Look for the keys of the records in their sheets."""
        keys: dict[GoogleSheetsRoute, frozenset[str] | None] = {}
        for record in records:
            route = record.route
            if isinstance(route, GoogleSheetsRoute) and route not in keys:
                columns = await self._columns(route)
                found = await self._keys(route, columns) if isinstance(columns, list) else None
                keys[route] = found if isinstance(found, frozenset) else None
        held = [keys.get(each.route) if isinstance(each.route, GoogleSheetsRoute) else None for each in records]
        return [None if known is None else each.remote_id in known for each, known in zip(records, held, strict=True)]

    async def close(self) -> None:
        """Close the connections, and stop fetching a token."""
        await self._tokens.source.close()
        await self._session.close()

    @property
    def _link(self) -> str:
        return f"https://docs.google.com/spreadsheets/d/{self._id}"

    def _is_in_doubt(self, record: Record) -> bool:
        """Return True if the record may have been appended before."""
        if record.is_repeat or record.id in self._unsure or self._since is None:
            return True
        received = _received(record)
        return received is None or not self._since + _CLOCKS < received <= self._now() + _CLOCKS

    async def _columns(self, route: GoogleSheetsRoute, *, needs_key: bool = True) -> list[str] | Retry:
        """Return the names of the columns. They are read for each batch, because people move columns."""
        reply = await self._call("GET", requests.header_url(self._spreadsheet, route.sheet))
        if not isinstance(reply, Reply):
            return answers.unread(answers.account_failure(reply, self._email, route.sheet))
        columns = answers.columns_in(reply)
        if columns is None:
            return self._api.unclear(reply.status, "does not show the first row")
        return answers.no_key_column(route) if needs_key and route.key_column not in columns else columns

    async def _keys(self, route: GoogleSheetsRoute, columns: Sequence[str]) -> frozenset[str] | Retry:
        url = requests.column_url(self._spreadsheet, route.sheet, list(columns).index(route.key_column))
        reply = await self._call("GET", url)
        if not isinstance(reply, Reply):
            return answers.unread(answers.account_failure(reply, self._email, route.sheet))
        keys = answers.keys_in(reply)
        return self._api.unclear(reply.status, "does not show the key column") if keys is None else keys

    async def _append(
        self, route: GoogleSheetsRoute, columns: Sequence[str], records: Sequence[Record]
    ) -> Reply | Retry | Rejected:
        """Append rows, one call after the other: it is not documented that two at once keep out of each other's way."""
        document = requests.rows_document(records, columns, route.key_column)
        ids = {record.id for record in records}
        async with self._appending:
            self._unsure |= ids
            with exchange_items(zip([record.id for record in records], document["values"], strict=True)) as items:
                reply = await self._call("POST", requests.append_url(self._spreadsheet, route.sheet), document)
        if not isinstance(reply, Reply):
            return answers.account_failure(reply, self._email, route.sheet)
        if not answers.is_appended(reply, len(records)):
            return self._api.unclear(reply.status, "does not account for the new rows")
        self._unsure -= ids
        items.received((record.id, answers.update_of(reply)) for record in records)
        return reply

    def _outcome(self, record: Record, columns: Sequence[str], appended: Reply | Retry | Rejected | None) -> Outcome:
        if not isinstance(appended, Reply):
            assert appended is not None  # noqa: S101 - there is an answer where a row is missing
            return appended
        return Delivered(record.id, self._link, _warning(record, columns, appended), appended.status)

    async def _call(self, method: str, url: URL, document: object = None) -> Reply | Retry | Rejected:
        result = await self._tokens.source.send_with_token(
            lambda token: self._api.call(method, url, document, {"Authorization": f"Bearer {token.value}"}),
            lambda reply: reply.status == _UNAUTHORIZED,
        )
        return result.outcome if isinstance(result, Failure) else result


def _warning(record: Record, columns: Sequence[str], appended: Reply) -> str | None:
    lacking, long = requests.lacking_columns(record, columns), requests.shortened_fields(record)
    parts: Iterable[str | None] = (
        f"left out because the sheet has no such column: {', '.join(lacking)}" if lacking else None,
        f"shortened to what a cell can hold: {', '.join(long)}" if long else None,
        answers.shifted_warning(appended),
    )
    return "; ".join(filter(None, parts)) or None


def _received(record: Record) -> float | None:
    """Return when the event was received, in seconds since the epoch; None if it does not say."""
    about = record.event.get("event")
    try:
        return datetime.fromisoformat(str(about["received_at"])).timestamp() if isinstance(about, dict) else None
    except (KeyError, ValueError):
        return None
