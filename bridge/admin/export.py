"""Files of leads: for the API, and for the dashboard with the filters and searches of its list."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from bridge.admin import request_schemas
from bridge.admin.api import audience, may_reveal, seconds
from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller, RequestRefusedError
from bridge.admin.endpoint import Endpoint
from bridge.admin.query_threads import QueryThreads
from bridge.config.model import Config
from bridge.operations.audit import Action, Entry
from bridge.operations.leads import (
    COLUMNS,
    CUT,
    EXPORT_LIMIT,
    Criteria,
    LeadQuery,
    csv_lines,
    export_page,
    lead_criteria,
)
from bridge.store import audit_log
from bridge.store.filter import DeliveryFilter

EXPORTS_LIMIT: Final = 2
"""Files that are written at once: each takes its turns with the pages."""
WAIT_SECONDS: Final = 10
"""Seconds after which a reader who was refused may try again."""


class LeadExports:
    """Writes files of leads. Lives in the loop's thread."""

    def __init__(self, query_threads: QueryThreads, audit: AuditLog, config: Callable[[], Config]) -> None:
        self._query_threads = query_threads
        self._audit = audit
        self._config = config
        self._running = 0

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoint."""
        return [
            Endpoint(
                "GET",
                "/api/leads.csv",
                f"Leads as a CSV file, newest first, at most {EXPORT_LIMIT}.",
                request_schemas.LeadExportRequest,
                None,
                self._export,
                scoped=True,
            )
        ]

    async def _export(self, caller: Caller, request: request_schemas.LeadExportRequest) -> AsyncGenerator[bytes, None]:
        since, until = seconds(request.since), seconds(request.until)
        query = LeadQuery(request.state, request.chatbot, request.destination, since, until)
        facts = {"state": query.state, "chatbot": query.chatbot, "destination": query.destination}
        return self.parts(caller, lead_criteria(query, caller.scope), facts, reveal=request.reveal)

    async def parts(
        self, caller: Caller, criteria: Criteria, facts: Mapping[str, str | None], *, reveal: bool
    ) -> AsyncGenerator[bytes, None]:
        """Write the parts of a file; the audit log has a file with personal data, and how many leads are in it.

        Raises RequestRefusedError, StoreUnavailableError.
        """
        may_reveal(caller, reveal=reveal)
        if self._running >= EXPORTS_LIMIT:
            raise RequestRefusedError(503, "other files are being written: try again in a moment", WAIT_SECONDS)
        self._running += 1
        entry, known = None, set[int]()
        try:
            if reveal:
                words = {name: text for name, text in facts.items() if text}
                entry = await self._audit.keep(Entry(caller.who(), Action.EXPORT, count=0, facts=words))
            lines, shown, key = csv_lines([COLUMNS]), audience(caller, reveal=reveal), self._config().store.identity_key
            while True:
                page = await self._query_threads.ask(
                    partial(export_page, criteria=criteria, audience=shown, identity_key=key, known=known)
                )
                known.update(page.seqs)
                if part := lines + page.lines:
                    yield part
                if page.next is None:
                    return
                if len(known) >= EXPORT_LIMIT:
                    yield csv_lines([[CUT]])
                    return
                lines, criteria = b"", _before(criteria, page.next)
        finally:
            self._running -= 1
            if entry is not None:
                await self._audit.count(partial(audit_log.add, entry=entry, count=len(known)))


def _before(criteria: Criteria, cursor: int) -> Criteria:
    if isinstance(criteria, DeliveryFilter):
        return replace(criteria, before=cursor)
    return [replace(each, before=cursor) for each in criteria]
