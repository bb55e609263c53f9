"""Settings of the `google_sheets` connector."""

from pydantic import Field, SecretStr

from connectors.base import RouteSettings
from connectors.http_client.settings import NetworkSettings, Size


class GoogleSheetsSettings(NetworkSettings):
    """A spreadsheet of Google Sheets."""

    service_account: SecretStr = Field(
        description="JSON key of a service account of Google Cloud. Enable the Google Sheets API in its project, and "
        "share the spreadsheet with its e-mail address as an editor.",
        examples=["${file:/run/secrets/service-account.json}"],
    )
    spreadsheet_id: str = Field(
        description="Id of the spreadsheet: the part of its address after `/d/`.",
        pattern=r"^[A-Za-z0-9_-]+$",
        examples=["1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms"],
    )
    base_url: str = Field(
        default="https://sheets.googleapis.com",
        description="Base URL of the API.",
        examples=["http://127.0.0.1:8090"],
        repr=False,
    )
    max_answer: Size = Field(
        default=16 * 1024**2,
        gt=0,
        description="Maximum size of an answer, decompressed: `256KiB`, `1MiB`. The key column of 400,000 rows takes "
        "16MiB.",
    )


class GoogleSheetsRoute(RouteSettings):
    """Settings of a route to a sheet. Fields have the names of the columns in its first row."""

    sheet: str = Field(default="Sheet1", description="Name of the sheet, as its tab shows it.", min_length=1)
    key_column: str = Field(
        default="Delivery",
        description="Column that holds the id of each delivery, so that no row is appended twice. It needs a column of "
        "its own; people may hide it, but must not change it.",
        min_length=1,
        examples=["Leadbridge ID"],
    )
