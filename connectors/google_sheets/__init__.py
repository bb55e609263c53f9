"""The `google_sheets` connector: appends each lead as a row of a sheet, once."""

from connectors.google_sheets.connector import GoogleSheetsConnector

__all__ = ["GoogleSheetsConnector"]
