"""Settings of the `gohighlevel` connector."""

from pydantic import Field, SecretStr

from connectors.http_client.settings import NetworkSettings


class GoHighLevelSettings(NetworkSettings):
    """A location of HighLevel (GoHighLevel)."""

    access_token: SecretStr = Field(
        description="Private integration token of the location, with the scope `contacts.write`.",
        examples=["${HIGHLEVEL_TOKEN}"],
    )
    location_id: str = Field(
        description="Id of the location (sub-account) to write contacts to.",
        min_length=1,
        examples=["ve9EPM428h8vShlRW1KT"],
    )
    base_url: str = Field(
        default="https://services.leadconnectorhq.com",
        description="Base URL of the API.",
        examples=["http://127.0.0.1:8090"],
        repr=False,
    )
