"""Answers of the Google Sheets API to columns, keys, outcomes and findings. Pure.

Source: the discovery document of Google Sheets v4. The texts of errors are those that users report.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from connectors.base import Blame, Finding, MappedRoute, Reason, Rejected, Retry, Severity
from connectors.google_sheets.settings import GoogleSheetsRoute
from connectors.http_client.json_api import Reply

_FORBIDDEN = 403
_NOT_FOUND = 404
_NO_RANGE = "Unable to parse range"
_BELOW_A = re.compile(r"!\$?A\$?\d")


def columns_in(reply: Reply) -> list[str] | None:
    """Return the names in the first row; None if the answer does not show a range."""
    rows = _rows(reply)
    return None if rows is None else [str(each).strip() for each in (rows[0] if rows else [])]


def keys_in(reply: Reply) -> frozenset[str] | None:
    """Return the values of a column that was read by columns; None if the answer does not show a range."""
    columns = _rows(reply)
    return None if columns is None else frozenset(map(str, columns[0] if columns else ()))


def _rows(reply: Reply) -> list[list[object]] | None:
    """Return the values of a range. An empty range has none."""
    values = reply.get("values") if isinstance(reply.document, dict) and "values" in reply.document else []
    if not isinstance(reply.get("range"), str) or not isinstance(values, list):
        return None
    return [each for each in values if isinstance(each, list)] if all(isinstance(e, list) for e in values) else None


def is_appended(reply: Reply, count: int) -> bool:
    """Return True if an answer accounts for this number of new rows."""
    rows = reply.get("updates", "updatedRows")
    return isinstance(rows, int) and not isinstance(rows, bool) and rows == count


def update_of(reply: Reply) -> dict[str, object]:
    """Return the members of the answer that describe the new rows of a batch together, without any values."""
    return {"updates": {name: reply.get("updates", name) for name in ("updatedRange", "updatedRows")}}


def shifted_warning(reply: Reply) -> str | None:
    """Return a warning if the rows do not begin in column A, because the table there is not the one with the header."""
    place = reply.get("updates", "updatedRange")
    if not isinstance(place, str) or _BELOW_A.search(place):
        return None
    return "the row does not begin in column A; remove the empty column or second table from the sheet"


def account_failure(failed: Retry | Rejected, email: str, sheet: str) -> Retry | Rejected:
    """Return the outcome of a failed call with the advice for the operator.

    Args:
        failed: Outcome by its status.
        email: Address of the service account.
        sheet: Name of the sheet.
    """
    if failed.status == _FORBIDDEN and isinstance(failed, Retry):
        what = f"{failed.detail}; share the spreadsheet with {email} as an editor, and enable the Google Sheets API"
        return replace(failed, detail=what)
    if failed.status == _NOT_FOUND:
        what = f"{failed.detail}; correct spreadsheet_id"
        return Retry(Reason.NOT_FOUND, what, Blame.DESTINATION, None, failed.status)
    if _NO_RANGE in failed.detail:
        what = f"the spreadsheet has no sheet `{sheet}`; correct `sheet`, or rename the tab"
        return Retry(Reason.NOT_FOUND, what, Blame.DESTINATION, None, failed.status)
    return failed


def unread(failed: Retry | Rejected) -> Retry:
    """Return the outcome of a failed read: no record is to blame for it."""
    if isinstance(failed, Retry):
        return failed
    return Retry(failed.reason, failed.detail, Blame.DESTINATION, None, failed.status)


def no_key_column(route: GoogleSheetsRoute) -> Retry:
    """Return the outcome for a sheet without the key column: rows could be appended twice."""
    what = f"row 1 of the sheet `{route.sheet}` has no column `{route.key_column}`; add it"
    return Retry(Reason.NOT_FOUND, what, Blame.DESTINATION)


def column_findings(columns: Sequence[str], mapped: MappedRoute, route: int) -> list[Finding]:
    """Return the differences between the mapped fields and the columns of the sheet."""
    settings = mapped.settings
    assert isinstance(settings, GoogleSheetsRoute)  # noqa: S101 - the bridge passes `route_settings`
    found = []
    if settings.key_column not in columns:
        what = f"row 1 has no column `{settings.key_column}`; add it{_hint(settings.key_column, columns)}"
        found.append(Finding(Severity.ERROR, what, route, setting=("key_column",)))
    for field in mapped.fields:
        if field.name == settings.key_column:
            what = "is the key column, which holds the id of the delivery; map another column"
            found.append(Finding(Severity.ERROR, what, route, field.name))
        elif field.name not in columns:
            what = f"row 1 has no such column{_hint(field.name, columns)}"
            found.append(Finding(Severity.ERROR, what, route, field.name))
    return found


def sheet_finding(titles: Mapping[str, object], sheet: str, route: int) -> Finding | None:
    """Return the finding for a sheet that the spreadsheet does not have, else None."""
    if sheet in titles:
        return None
    return Finding(Severity.ERROR, f"no such sheet{_hint(sheet, list(titles))}", route, setting=("sheet",))


def titles_in(reply: Reply) -> dict[str, object]:
    """Return the names of the sheets."""
    sheets = reply.get("sheets")
    found = [Reply(reply.status, each, {}).get("properties", "title") for each in sheets or ()]
    return {title: None for title in found if isinstance(title, str)}


def _hint(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f" (did you mean `{near[0]}`?)" if near else ""
