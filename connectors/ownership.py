"""The owner of records and activities, and the follow-up task: settings that connectors share, and the choice.

An owner is written by its id at the CRM. Each connector resolves e-mails to ids, in its own way.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from connectors.base import Record, Vault, VaultError, parse_duration
from connectors.event_text import Sources

SettingPath = tuple[str | int, ...]


def id_text(value: object) -> object:
    """Return a whole number as text, because YAML reads an id of digits as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


IdText = Annotated[str, BeforeValidator(id_text), WithJsonSchema({"type": ["string", "integer"]})]
"""An id, written as text or as a whole number."""
PositiveTime = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,9}(\.\d{1,6})? ?(ms|s|m|h|d)$", "examples": ["4h", "1d"]}),
]
"""Number of seconds, written as a duration."""


class OwnerSettings(BaseModel):
    """A person by id or e-mail: a fixed one, the result of a lookup, or several in turn."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    value: IdText | None = Field(
        default=None, description="Id or e-mail of the owner. `owner: ann@acme.com` is short for it."
    )
    source: str | None = Field(
        default=None,
        alias="from",
        description="Field of the event, or a text with `{{ }}`, that is the id or e-mail of the owner.",
        examples=["URI"],
    )
    lookup: Mapping[str, IdText] | None = Field(
        default=None,
        description="With `from`: table from its text to the owner.",
        examples=[{"acme.es": "ana@acme.com"}],
    )
    default: IdText | None = Field(
        default=None,
        description="With `from`: owner if its text is empty or not in the table.",
        examples=["ann@acme.com"],
    )
    round_robin: tuple[IdText, ...] = Field(
        default=(), description="Owners that take turns.", examples=[["ann@acme.com", "bob@acme.com"]]
    )

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, form: object) -> object:
        """Return the long form of an id or e-mail."""
        return {"value": form} if isinstance(form, str | int) and not isinstance(form, bool) else form

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.value is not None) + (self.source is not None) + bool(self.round_robin) != 1:
            raise ValueError("must be an id or e-mail, or have one of `from` and `round_robin`")
        if self.source is None and (self.lookup is not None or self.default is not None):
            raise ValueError("lookup and default need `from`")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of the long form, which the short form is an alternative to."""
        long = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": ["string", "integer"]}, dict(long)]}

    def people(self) -> Iterator[tuple[SettingPath, str]]:
        """Return the owners that are named in the settings, each with its path below them."""
        if self.value is not None:
            yield ("value",), self.value
        for number, each in enumerate(self.round_robin):
            yield ("round_robin", number), each
        for name, each in (self.lookup or {}).items():
            yield ("lookup", name), each
        if self.default is not None:
            yield ("default",), self.default


class FollowUp(BaseModel):
    """A task for a salesperson, created once for each lead."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    subject: str = Field(
        default="Follow up: {{ FirstName }} {{ LastName }}",
        description="Title of the task: a text, a field of the event, or a text with `{{ }}`.",
        examples=["Call {{ FirstName }}"],
    )
    due: PositiveTime = Field(default=86_400.0, description="When it is due, from the creation of the event.", gt=0)
    owner: OwnerSettings | None = Field(default=None, description="Whose task it is; default: the owner of the record.")
    priority: Literal["low", "medium", "high"] | None = Field(default=None, description="Priority of the task.")


class Turns:
    """Turns of people, which survive restarts.

    The number of the next person is kept in the vault of the destination. A destination has one lane and a lane has one
    process, so nothing else counts at the same time. A process that is killed may skip a person. Without a vault, or if
    the store is in trouble, a record's id decides, which is fair on average only.
    """

    def __init__(self) -> None:
        self._vault: Vault | None = None
        self._next: dict[str, int] = {}
        self._lock = asyncio.Lock()

    def open(self, vault: Vault) -> None:
        """Receive the vault, and forget the numbers, because another process may have counted."""
        self._vault = vault
        self._next.clear()

    async def take(self, people: Sequence[str], record_ids: Sequence[str]) -> list[str]:
        """Return a person for each record."""
        name = f"turn-{_digest(chr(10).join(people)):016x}"
        async with self._lock:
            first = await self._first(name)
            if first is None or self._vault is None:
                return [people[_digest(each) % len(people)] for each in record_ids]
            self._next[name] = (first + len(record_ids)) % len(people)
            with suppress(VaultError):
                await self._vault.write(name, str(self._next[name]))
        return [people[(first + number) % len(people)] for number in range(len(record_ids))]

    async def _first(self, name: str) -> int | None:
        """Return the number of the next person, None if it cannot be read."""
        if name not in self._next:
            if self._vault is None:
                return None
            try:
                stored = await self._vault.read(name)
            except VaultError:
                return None
            self._next[name] = int(stored) if stored and stored.isdecimal() else 0
        return self._next[name]


class OwnerChoice:
    """Choice of the owners of records. May run in parallel.

    Args:
        sources: Compiles the texts of the settings.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._turns = Turns()

    def open(self, vault: Vault) -> None:
        """Receive the vault in which turns are counted."""
        self._turns.open(vault)

    def check(self, path: SettingPath, settings: OwnerSettings | None) -> None:
        """Raise `SettingError` for a source that cannot be compiled."""
        if settings is not None:
            self._sources.check((*path, "from"), settings.source)

    def text(self, settings: OwnerSettings, record: Record, memo: str) -> str | None:
        """Return the id or e-mail of a record's owner, empty for none; None if it is somebody's turn.

        A record keeps the person of an earlier attempt, which its memo holds under the name `memo`. Raises
        `ExpressionError` for a template that fails.
        """
        if memo in record.memo:
            return record.memo[memo]
        if settings.round_robin:
            return None
        if settings.source is None:
            return settings.value or ""
        found = self._sources.text(settings.source, record.event)
        return (found if settings.lookup is None else settings.lookup.get(found)) or settings.default or ""

    async def turns(self, wanted: Sequence[tuple[OwnerSettings, str]]) -> list[str]:
        """Return the person whose turn it is, for the settings and the id of each record."""
        chosen: dict[int, str] = {}
        for people in dict.fromkeys(settings.round_robin for settings, _ in wanted):
            numbers = [number for number, (settings, _) in enumerate(wanted) if settings.round_robin == people]
            taken = await self._turns.take(people, [wanted[number][1] for number in numbers])
            chosen |= zip(numbers, taken, strict=True)
        return [chosen[number] for number in range(len(wanted))]


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
