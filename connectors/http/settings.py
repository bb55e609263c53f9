"""Settings of the `http` connector. The configuration's documentation and JSON Schema are generated from them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema, model_validator

from connectors.base import ExpressionError, SettingError
from connectors.http_client.settings import NetworkSettings

_RANGE = re.compile(r"([1-5]\d\d)(?:\s*-\s*([1-5]\d\d))?", re.ASCII)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class BasicAuth(_Part):
    """HTTP Basic (RFC 7617)."""

    username: str = Field(description="User name; it may not hold a colon.", pattern=r"^[^:]*$")
    password: SecretStr = Field(description="Password.")


class HeaderAuth(_Part):
    """A key in a header of its own."""

    name: str = Field(description="Name of the header, such as `X-Api-Key`.")
    value: SecretStr = Field(description="The key.")


class OAuth2(_Part):
    """OAuth 2 client credentials (RFC 6749 section 4.4)."""

    token_url: str = Field(description="URL of the token endpoint; the same rules apply as to `url`.", repr=False)
    client_id: str = Field(description="Client id.")
    client_secret: SecretStr = Field(description="Client secret.")
    scope: str | None = Field(default=None, description="Scopes to request, separated by blanks.")
    audience: str | None = Field(default=None, description="Audience to request, if the server requires one.")
    client_auth: Literal["body", "basic"] = Field(
        default="body", description="Where to send id and secret: in the form's body or in a Basic header."
    )


class Auth(_Part):
    """Credentials, in exactly one form."""

    bearer: SecretStr | None = Field(default=None, description="Token for `Authorization: Bearer …`.")
    basic: BasicAuth | None = Field(default=None, description="User name and password.")
    header: HeaderAuth | None = Field(default=None, description="A key in a header of its own.")
    oauth2: OAuth2 | None = Field(default=None, description="Client credentials; tokens are fetched and renewed.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(way is not None for way in (self.bearer, self.basic, self.header, self.oauth2)) != 1:
            raise ValueError("must be exactly one of bearer, basic, header, oauth2")
        return self


class TemplateBody(_Part):
    """A body written as a template."""

    template: str = Field(
        description="Text with `{{ }}` over the event's fields, `fields` (the mapped ones) and `record_id`. "
        "In JSON write values as `{{ Content | json }}`, which adds the quotes."
    )
    content_type: str = Field(default="application/json", description="Content-Type of the body.")


class Sign(_Part):
    """Signing by Standard Webhooks (standardwebhooks.com)."""

    secrets: tuple[SecretStr, ...] = Field(
        min_length=1, description="Secrets as `whsec_…`. During a change there may be several; each signs."
    )


def _parse_statuses(value: object) -> object:
    """Return `[200-299, 409]`, or one element of it, as a set of statuses."""
    return frozenset(
        status for each in (value if isinstance(value, list | tuple) else [value]) for status in _span(each)
    )


def _span(value: object) -> range:
    found = _RANGE.fullmatch(str(value).strip())
    if not found or isinstance(value, bool):
        raise ValueError("must be statuses such as 200 or 200-299")
    first, last = int(found[1]), int(found[2] or found[1])
    if first > last:
        raise ValueError("must have the smaller status first, such as 200-299")
    return range(first, last + 1)


Statuses = Annotated[
    frozenset[int],
    BeforeValidator(_parse_statuses),
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "integer", "minimum": 100, "maximum": 599},
                    {"type": "string", "pattern": f"^{_RANGE.pattern}$"},
                ]
            },
        }
    ),
]
"""Statuses, written as a list of numbers and ranges: `[200-299, 409]`."""

Otherwise = Literal["retry", "reject"]


class Success(_Part):
    """Conditions for the success of a call."""

    status: Statuses | None = Field(
        default=None,
        description="Success statuses, such as `[200-299, 409]`; default: all 2xx that do not require "
        "reading the body.",
    )
    when: str | None = Field(
        default=None,
        description="Expression over `answer` (the JSON), `status` and `headers` that must be true as well, "
        'such as `answer.ok` or `answer.status == "created"`.',
    )
    otherwise: Otherwise = Field(
        default="retry",
        description="What to do with a record if `when` is false: try it again, or make it a dead letter at once. "
        "If `when` cannot be evaluated, the record is always tried again.",
    )


class ResultMatch(_Part):
    """Matching of results to records where their order is not reliable."""

    record: str = Field(
        description="Expression over the record, such as `fields.email | lower`; the same names as in templates."
    )
    result: str = Field(description="Expression over `result` with the same value, such as `result.email`.")


class Results(_Part):
    """Batch mode: records are sent as a JSON array, and the answer has a result for each."""

    each: str = Field(
        default="answer",
        description="Expression over `answer`, `status` and `headers` that returns the list of results.",
    )
    ok: str = Field(description="Expression over `result` (and the same) that is true if it was written.")
    match: ResultMatch | None = Field(
        default=None, description="How to find a record's result; default: by position, one result for each record."
    )
    error: str | None = Field(
        default=None, description="Expression over `result` that returns the reason if `ok` is false."
    )
    otherwise: Otherwise = Field(
        default="reject",
        description="What to do with a record if `ok` is false: try it again, or make it a dead letter.",
    )


class HttpSettings(NetworkSettings):
    """A destination that receives HTTP requests."""

    url: str = Field(
        description="Address, with `{{ }}` in path and query; their values are percent-encoded. "
        "https, unless allow_private.",
        repr=False,
    )
    method: Literal["POST", "PUT", "PATCH", "GET"] = Field(default="POST", description="HTTP method.")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Headers by name; values may have `{{ }}`. Never shown in full."
    )
    auth: Auth | None = Field(default=None, description="Credentials; default: none.")
    body: Literal["json", "form", "event", "none"] | TemplateBody | None = Field(
        default=None,
        description="`json`: the mapped fields as one object. `form`: the same as a form. `event`: the event as it was "
        "received. `none`. Or a template. Default: json, and none for GET.",
    )
    wrap: str | None = Field(
        default=None, description="Name under which a JSON body stands in an object: `{NAME: …}`.", min_length=1
    )
    sign: Sign | None = Field(default=None, description="Standard Webhooks signature; default: none.")
    idempotency_key: Literal[False, "quoted", "bare"] = Field(
        default=False,
        description="Send the record's id as `Idempotency-Key`: in quotes, as the standard requires, or bare.",
    )
    follow: Literal["get"] | None = Field(
        default=None,
        description="`get`: read the answer of a write where its redirect (302, 303) points, with one GET without "
        "body and credentials, as Google Apps Script requires. Needs `success.when`. Default: a redirect is a failure.",
    )
    follow_hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts to which such a redirect may point; default: `script.googleusercontent.com`.",
        examples=[["answers.example.com"]],
    )
    success: Success = Field(default=Success(), description="Conditions for the success of a call.")
    results: Results | None = Field(default=None, description="Batch mode, and how to read its answers.")
    remote_id: str | None = Field(
        default=None,
        description="Expression over `answer`, `status`, `headers` (and `result` in batch mode) that returns the id of "
        "the written record.",
    )
    remote_url: str | None = Field(
        default=None, description="Expression over the same that returns a link for people, https or http."
    )


@contextmanager
def setting(*path: str | int) -> Iterator[None]:
    """Convert errors inside the block to errors of the setting at this path.

    Raises:
        SettingError: in place of a ValueError, or of an `ExpressionError`, that the block raises.
    """
    try:
        yield
    except ExpressionError as error:
        where = f" (line {error.line} of it)" if error.line > 1 else ""
        raise SettingError(path, error.message + where) from None
    except ValueError as error:
        raise SettingError(path, str(error)) from None
