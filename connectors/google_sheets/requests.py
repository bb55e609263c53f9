"""Records to rows of a sheet, and the addresses of ranges. Pure.

Values are sent as RAW: a text stays a text, so `=…` is no formula and `+39…` no number. New rows are inserted, because
the other mode writes over cells below the table (developers.google.com/sheets/api, "ValueInputOption" and
"InsertDataOption").
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from yarl import URL

from connectors.base import Record
from connectors.google_sheets.settings import GoogleSheetsRoute

MAX_BATCH = 200
_LONGEST_CELL = 50_000  # characters
_EXACT = 10**15  # whole numbers of more digits lose some in a sheet
_LETTERS = 26


def sheets_route(record: Record) -> GoogleSheetsRoute:
    """Return the route settings of a record."""
    route = record.route
    assert isinstance(route, GoogleSheetsRoute)  # noqa: S101 - the bridge passes `route_settings`
    return route


def range_url(spreadsheet: URL, sheet: str, cells: str, verb: str = "") -> URL:
    """Return the address of a range of cells, such as `1:1` or `C:C`."""
    name = sheet.replace("'", "''")
    path = quote(f"'{name}'!{cells}", safe="")
    return URL(f"{spreadsheet}/values/{path}{verb}", encoded=True)


def header_url(spreadsheet: URL, sheet: str) -> URL:
    """Return the address that reads the names of the columns."""
    return range_url(spreadsheet, sheet, "1:1")


def column_url(spreadsheet: URL, sheet: str, number: int) -> URL:
    """Return the address that reads a whole column, with its header; numbers begin with 0."""
    letters = column_letters(number)
    query = {"majorDimension": "COLUMNS", "valueRenderOption": "UNFORMATTED_VALUE"}
    return range_url(spreadsheet, sheet, f"{letters}:{letters}").with_query(query)


def append_url(spreadsheet: URL, sheet: str) -> URL:
    """Return the address that appends rows to the table that begins in A1."""
    query = {"valueInputOption": "RAW", "insertDataOption": "INSERT_ROWS", "includeValuesInResponse": "false"}
    return range_url(spreadsheet, sheet, "A1", ":append").with_query(query)


def column_letters(number: int) -> str:
    """Return the letters of a column: A for 0, AA for 26."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, _LETTERS)
        letters = chr(ord("A") + rest) + letters
    return letters


def rows_document(records: Sequence[Record], columns: Sequence[str], key_column: str) -> dict[str, Any]:
    """Return the document that appends a row for each record."""
    return {"majorDimension": "ROWS", "values": [_row(record, columns, key_column) for record in records]}


def lacking_columns(record: Record, columns: Sequence[str]) -> list[str]:
    """Return the fields of a record for which the sheet has no column."""
    return [name for name in record.fields if name not in columns]


def shortened_fields(record: Record) -> list[str]:
    """Return the fields of a record that are too long for a cell."""
    return [name for name, value in record.fields.items() if len(str(_text_or_number(value))) > _LONGEST_CELL]


def _row(record: Record, columns: Sequence[str], key_column: str) -> list[Any]:
    cells: Mapping[str, Any] = {**record.fields, key_column: record.id}
    # Of two columns with one name the first gets the value. null leaves a cell empty.
    return [
        _cell(cells[name]) if name in cells and columns.index(name) == number else None
        for number, name in enumerate(columns)
    ]


def _cell(value: object) -> object:
    cell = _text_or_number(value)
    return cell[:_LONGEST_CELL] if isinstance(cell, str) else cell


def _text_or_number(value: object) -> str | float | bool:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < _EXACT):
        return value
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False, default=str)
