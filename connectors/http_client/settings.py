"""Settings of the network that connectors have in common, for their settings to inherit."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema, model_validator

from connectors.base import DestinationSettings

_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"(\d{1,12})\s*(|B|KiB|MiB|GiB)", re.ASCII)


def parse_size(value: object) -> object:
    """Read a size such as `256KiB` or `1MiB` as bytes; a whole number is bytes already.

    Raises:
        ValueError: it is written in no such form.
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
"""Bytes; written as a number, or as `256KiB`, `1MiB`."""


class TlsSettings(BaseModel):
    """Certificates of this destination's own. The files are read at the first call."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    ca: Path | None = Field(
        default=None,
        description="PEM file with the certificates that may sign the destination's; only these are trusted then.",
    )
    certificate: Path | None = Field(
        default=None, description="PEM file with the client certificate, and what signed it, to show the destination."
    )
    key: Path | None = Field(
        default=None, description="PEM file with the client certificate's key; default: in the same file."
    )
    key_password: SecretStr | None = Field(default=None, description="Password of the key, where it has one.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.certificate is None and (self.key or self.key_password):
            raise ValueError("key and key_password need a certificate")
        return self


class NetworkSettings(DestinationSettings):
    """What a destination may say of how it is reached."""

    allow_private: bool = Field(
        default=False,
        description="Whether the destination may be at a loopback, private or link-local address, or use plain http.",
    )
    max_answer: Size = Field(
        default=1024**2, gt=0, description="Largest answer that is read, decompressed: `256KiB`, `1MiB`."
    )
    tls: TlsSettings | None = Field(default=None, description="Private certificate authority, client certificate.")
