"""Network settings that connectors share, as a base of their own settings."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema, model_validator

from connectors.base import DestinationSettings, parse_size

Size = Annotated[
    int,
    BeforeValidator(lambda value: parse_size(value) if isinstance(value, str) else value),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\d{1,9} ?(B|KiB|MiB|GiB)$"}]}
    ),
]
"""Number of bytes; written as a number, or as `256KiB`, `1MiB`."""


class TlsSettings(BaseModel):
    """Certificates of one destination. The files are read at the first call."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    ca: Path | None = Field(
        default=None,
        description="PEM file with the certificate authorities of the destination; only these are trusted.",
    )
    certificate: Path | None = Field(default=None, description="PEM file with the client certificate and its chain.")
    key: Path | None = Field(
        default=None, description="PEM file with the key of the client certificate; default: the same file."
    )
    key_password: SecretStr | None = Field(default=None, description="Password of the key, if it has one.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.certificate is None and (self.key or self.key_password):
            raise ValueError("key and key_password need a certificate")
        return self


class NetworkSettings(DestinationSettings):
    """Settings for the connection to a destination."""

    allow_private: bool = Field(
        default=False,
        description="Allow a loopback, private or link-local address, and plain http.",
    )
    max_answer: Size = Field(
        default=1024**2, gt=0, description="Maximum size of an answer, decompressed: `256KiB`, `1MiB`."
    )
    tls: TlsSettings | None = Field(default=None, description="Private certificate authority, client certificate.")
