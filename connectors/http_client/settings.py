"""Network settings that connectors share, as a base of their own settings."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema, model_validator

from connectors.base import DestinationSettings

_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"(\d{1,12})\s*(|B|KiB|MiB|GiB)", re.ASCII)


def parse_size(value: object) -> object:
    """Return a size such as `256KiB` or `1MiB` in bytes; a whole number is returned unchanged.

    Raises:
        ValueError: the text is not a size.
    """
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if not found:
        raise ValueError("must be a size such as 256KiB or 1MiB")
    return int(found[1]) * _UNITS[found[2]]


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": _SIZE.pattern}]}),
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
