"""Settings of the `http` connector. The configuration's documentation and JSON Schema are generated from them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from connectors.base import ExpressionError, SettingError
from connectors.http_client.settings import NetworkSettings

_RANGE = re.compile(r"([1-5]\d\d)(?:\s*-\s*([1-5]\d\d))?", re.ASCII)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class BasicAuth(_Part):
    """HTTP Basic (RFC 7617)."""

    username: str = Field(description="User name; it may not hold a colon.", pattern=r"^[^:]*$", repr=False)
    password: SecretStr | None = Field(
        default=None, description="Password. Default: none, for an API that takes its key as the user name."
    )

    def pair(self) -> tuple[str, str]:
        """Return user name and password."""
        return self.username, self.password.get_secret_value() if self.password else ""


class HeaderAuth(_Part):
    """A key in a header of its own."""

    name: str = Field(description="Name of the header, such as `X-Api-Key`.")
    value: SecretStr = Field(description="The key.")


class OAuth2(_Part):
    """OAuth 2: client credentials, a refresh token, or the assertion of a service account (JWT bearer, RFC 7523)."""

    token_url: str = Field(description="URL of the token endpoint; the same rules apply as to `url`.", repr=False)
    client_id: str = Field(
        description="Client id; with `private_key` the issuer, such as the e-mail address of a service account."
    )
    client_secret: SecretStr | None = Field(
        default=None, description="Client secret. Alone it means the client credentials grant."
    )
    refresh_token: SecretStr | None = Field(
        default=None,
        description="Refresh token. A new one that the server sends is kept in the store, and used from then on.",
    )
    private_key: SecretStr | None = Field(
        default=None,
        description="RSA key in PEM form that signs the assertion of a service account (RS256), in place of a secret.",
        examples=["${file:/run/secrets/service-account.pem}"],
    )
    key_id: str | None = Field(default=None, description="With `private_key`: its id, the header `kid`.")
    subject: str | None = Field(
        default=None, description="With `private_key`: user in whose name the service account acts, the claim `sub`."
    )
    scope: str | None = Field(default=None, description="Scopes to request, separated by blanks.")
    audience: str | None = Field(
        default=None,
        description="Audience to request, if the server requires one; with `private_key` the claim `aud`, by default "
        "`token_url`.",
    )
    client_auth: Literal["body", "basic"] = Field(
        default="body", description="Where to send id and secret: in the form's body or in a Basic header."
    )

    @model_validator(mode="after")
    def _one_grant(self) -> Self:
        if self.private_key is not None and (self.client_secret is not None or self.refresh_token is not None):
            raise ValueError("private_key stands alone: remove client_secret and refresh_token")
        if self.private_key is None and self.client_secret is None and self.refresh_token is None:
            raise ValueError("needs client_secret, refresh_token or private_key")
        if self.private_key is None and (self.key_id or self.subject):
            raise ValueError("key_id and subject need private_key")
        return self


class Auth(_Part):
    """Credentials, in exactly one form."""

    bearer: SecretStr | None = Field(default=None, description="Token for `Authorization: Bearer …`.")
    basic: BasicAuth | None = Field(default=None, description="User name and password.")
    header: HeaderAuth | None = Field(default=None, description="A key in a header of its own.")
    oauth2: OAuth2 | None = Field(default=None, description="OAuth 2; tokens are fetched and renewed.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(way is not None for way in (self.bearer, self.basic, self.header, self.oauth2)) != 1:
            raise ValueError("must be exactly one of bearer, basic, header, oauth2")
        return self


class BodyForm(_Part):
    """A body written out, as a template or as a document."""

    template: str | None = Field(
        default=None,
        description="Text with `{{ }}` over the event's fields, `fields` (the mapped ones) and `record_id`. "
        "In JSON write values as `{{ Content | json }}`, which adds the quotes.",
    )
    document: dict[str, Any] | list[Any] | None = Field(
        default=None,
        alias="json",
        description="Document as YAML, nested as the API wants it. A text with `{{ }}` is a template, over the same "
        "names; if it is one `{{ }}` and nothing else, its value keeps its type: `{{ Age | int(none) }}` is a number. "
        "Everything else is sent as written. What has no value is left out.",
        examples=[{"person": {"name": "{{ FirstName }}", "age": "{{ fields.age | int(none) }}", "tags": ["chat"]}}],
    )
    content_type: str = Field(default="application/json", description="Content-Type of the body.")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.template is None) == (self.document is None):
            raise ValueError("must have exactly one of template, json")
        return self


class _ByKind:
    """Choice of a body's form by its kind, so that a mistake in a map is reported with the keys of a map."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return alternatives as `anyOf`, as every other union has them."""
        made = handler(schema)
        return {"anyOf": made.pop("oneOf", []), **made}


_Written = Annotated[BodyForm, Tag("written")]
_BY_KIND = Discriminator(lambda value: "written" if isinstance(value, dict | BodyForm) else "name")


class HmacSignature(_Part):
    """A header that signs each request with HMAC."""

    header: str = Field(description="Name of the header.", examples=["X-Signature"])
    secret: SecretStr = Field(description="Shared secret.", examples=["${SIGNING_SECRET}"])
    algorithm: Literal["sha256", "sha1", "sha512"] = Field(default="sha256", description="Hash function.")
    encoding: Literal["hex", "base64"] = Field(default="hex", description="Form of the signature.")
    signed: str = Field(
        default="{{ body }}",
        description="The signed text: `{{ body }}`, `{{ timestamp }}` (seconds since 1970), `{{ id }}` (the record's) "
        "and any text between them.",
        examples=["{{ timestamp }}.{{ body }}"],
    )
    prefix: str = Field(
        default="",
        description="Text before the signature; it may have `{{ timestamp }}` and `{{ id }}`.",
        examples=["sha256=", "t={{ timestamp }},v1="],
    )
    timestamp_header: str | None = Field(
        default=None, description="Header that carries the timestamp.", examples=["X-Timestamp"]
    )


class Sign(_Part):
    """Signing, by Standard Webhooks (standardwebhooks.com) or with an HMAC header of the API's own."""

    secrets: tuple[SecretStr, ...] | None = Field(
        default=None,
        min_length=1,
        description="Standard Webhooks: secrets as `whsec_…`. During a change there may be several; each signs.",
    )
    hmac: HmacSignature | None = Field(default=None, description="An HMAC header of the API's own.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.secrets is None) == (self.hmac is None):
            raise ValueError("must have exactly one of secrets, hmac")
        return self


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


class Find(_Part):
    """Search for the existing record of a lead, for an API without an upsert."""

    url: str = Field(
        description="Address of the search, with `{{ }}` as in `url`.",
        repr=False,
        examples=["https://api.example.com/contacts?email={{ Email }}"],
    )
    method: Literal["GET", "POST"] = Field(default="GET", description="HTTP method of the search; it must not write.")
    body: BodyForm | None = Field(default=None, description="Body of the search, for POST.")
    id: str = Field(
        description="Expression over `answer`, `status` and `headers` that returns the id of the existing record; "
        "empty if there is none.",
        examples=["answer.contacts[0].id"],
    )
    when: str | None = Field(
        default=None,
        description="Expression over the same that is true of every good answer, also of one that found nothing. "
        "Otherwise an error would count as nothing found, and the record would be created once more.",
        examples=["answer.contacts is defined"],
    )
    missing: Statuses | None = Field(
        default=None,
        description="Statuses that mean that there is no such record. `when` or `missing` is required.",
        examples=[[404]],
    )

    @model_validator(mode="after")
    def _tells_errors_apart(self) -> Self:
        if self.when is None and self.missing is None:
            raise ValueError("needs when or missing, to tell an error from an answer that found nothing")
        if self.body is not None and self.method == "GET":
            raise ValueError("body needs method: POST")
        return self


class Update(_Part):
    """Update of the record that `find` found."""

    url: str = Field(
        description="Address of the record, with `{{ found }}` for its id.",
        repr=False,
        examples=["https://api.example.com/contacts/{{ found }}"],
    )
    method: Literal["PATCH", "PUT", "POST"] = Field(default="PATCH", description="HTTP method.")
    body: Annotated[Annotated[Literal["json", "form", "event"], Tag("name")] | _Written, _BY_KIND, _ByKind()] | None = (
        Field(default=None, description="Body, as the destination's `body`; default: the same as for a new record.")
    )
    success: Success | None = Field(
        default=None, description="Conditions for its success; default: the same as for a new record."
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
    body: (
        Annotated[Annotated[Literal["json", "form", "event", "none"], Tag("name")] | _Written, _BY_KIND, _ByKind()]
        | None
    ) = Field(
        default=None,
        description="`json`: the mapped fields as one object. `form`: the same as a form. `event`: the event as it was "
        "received. `none`. Or one written out, as `template` or `json`. Default: json, and none for GET.",
    )
    find: Find | None = Field(
        default=None,
        description="Search before each write. `url`, `method` and `body` then describe the creation of a record that "
        "was not found. Default: no search.",
    )
    update: Update | None = Field(
        default=None,
        description="With `find`: update of a record that was found. Default: it is left as it is.",
    )
    wrap: str | None = Field(
        default=None, description="Name under which a JSON body stands in an object: `{NAME: …}`.", min_length=1
    )
    sign: Sign | None = Field(default=None, description="Signature of each request; default: none.")
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


@contextmanager
def within(*path: str | int) -> Iterator[None]:
    """Prefix the path of a `SettingError` that the block raises."""
    try:
        yield
    except SettingError as error:
        raise SettingError((*path, *error.path), error.message) from None
