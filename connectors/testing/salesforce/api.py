"""The REST API of the org: routing of calls to resources. Does not use the network."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from connectors.testing.contacts import Reply
from connectors.testing.salesforce import soql
from connectors.testing.salesforce.call import Call, read_target
from connectors.testing.salesforce.composite import answer_composite
from connectors.testing.salesforce.limits import Limits
from connectors.testing.salesforce.org import Org
from connectors.testing.salesforce.problems import ProblemError, not_found, refused
from connectors.testing.salesforce.records import answer_collections, answer_records

_CURSOR = re.compile(r"01g(\d{15})-(\d+)", re.ASCII)
_BODIES = ("POST", "PATCH", "PUT")


class Api:
    """The REST API for calls whose token and limits have been checked.

    Args:
        org: Holds the records.
        limits: Source of the Limits resource.
        version: The newest version, such as `68.0`.
        unread_in_row: True if an unreadable record of a collection fails alone.
    """

    def __init__(self, org: Org, limits: Limits, version: str, *, unread_in_row: bool) -> None:
        self._org = org
        self._limits = limits
        self._version = version
        self._unread_in_row = unread_in_row
        self._cursors: list[list[dict[str, Any]]] = []

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer a call. A failed call writes nothing.

        Args:
            method: Method of the request.
            target: Path and query as sent.
            headers: By name, in any case.
            body: Body of the request.
        """
        try:
            version, parts, query = read_target(target, self._version)
            document = _read(method, headers, body)
            if not version:
                listed = {"label": "Current", "url": f"/services/data/v{self._version}", "version": self._version}
                return Reply(200, [listed])
            return self._answer(Call(method, version, parts, query, headers, document))
        except ProblemError as error:
            return error.reply
        finally:
            self._org.rows.settle()

    def _answer(self, call: Call) -> Reply:
        match call.parts:
            case ():
                call.allow("GET")
                names = ("composite", "limits", "query", "sobjects")
                return Reply(200, {name: f"{call.root}/{name}" for name in names})
            case ("sobjects", *_):
                return answer_records(self._org, call)
            case ("query", *cursor):
                return self._next_page(call, cursor[0]) if cursor else self._query(call)
            case ("limits",):
                call.allow("GET")
                return Reply(200, self._limits.document())
            case ("composite",):
                return answer_composite(self._org, call, self._version, self._answer)
            case ("composite", "sobjects", *_):
                return answer_collections(self._org, call, unread_in_row=self._unread_in_row)
        raise not_found()

    def _query(self, call: Call) -> Reply:
        call.allow("GET")
        if not call.query.get("q"):
            raise refused(400, "MALFORMED_QUERY", "A query string has to be specified")
        self._cursors.append(soql.run(self._org, call.query["q"], call.version))
        return self._page(call, len(self._cursors) - 1, 0)

    def _next_page(self, call: Call, cursor: str) -> Reply:
        call.allow("GET")
        found = _CURSOR.fullmatch(cursor)
        if not found or int(found[1]) >= len(self._cursors):
            raise refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(call, int(found[1]), int(found[2]))

    def _page(self, call: Call, query: int, start: int) -> Reply:
        """Return the records of a query from `start` on, with the address of the next page if there is one."""
        records, end = self._cursors[query], start + self._org.page_size
        document: dict[str, Any] = {
            "totalSize": len(records),
            "done": end >= len(records),
            "records": records[start:end],
        }
        if end >= len(records):
            return Reply(200, document)
        return Reply(200, {**document, "nextRecordsUrl": f"{call.root}/query/01g{query:015}-{end}"})


def _read(method: str, headers: Mapping[str, str], body: bytes) -> object:
    """Parse a body as JSON; None if it is empty. Raises `ProblemError`."""
    if method not in _BODIES or not body:
        return None
    content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        message = f"Content type {content_type or 'application/octet-stream'} not supported for this resource"
        raise refused(415, "UNSUPPORTED_MEDIA_TYPE", message)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refused(400, "JSON_PARSER_ERROR", f"{error.msg} at [line:{error.lineno}, column:{error.colno}]") from None
