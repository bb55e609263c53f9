"""Owners of records, and the follow-up task that an owner gets: the settings that all connectors share, and the choice.

A connector turns the chosen e-mail or id into an id of its CRM. An owner is written only into a record that is created:
otherwise each new lead of a known person would take the record away from the salesperson who has it now.
"""

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from connectors.base import parse_duration
from connectors.event_text import Sources

_REMEMBERED = 10_000  # records whose owner is kept, so that a retry within this process gets the same one

TimeSpan = Annotated[
    float,
    PlainValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,9}(\.\d{1,6})? ?(ms|s|m|h|d)$", "examples": ["1d", "4h"]}),
]
"""Number of seconds, written as a duration."""


class OwnerChoice(BaseModel):
    """The choice of one of several owners: by a table, or in turn."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)

    source: str | None = Field(
        default=None,
        alias="from",
        description="With `lookup`: the name of a field of the event, or a template, whose text chooses the owner.",
        examples=["{{ URI | url_host }}"],
    )
    lookup: Mapping[str, str] = Field(
        default={}, description="Owners (e-mail or id) by that text.", examples=[{"acme.de": "anna@acme.com"}]
    )
    default: str | None = Field(default=None, description="Owner of a record whose text is not in `lookup`.")
    round_robin: tuple[str, ...] = Field(
        default=(),
        description="Owners (e-mail or id) who get records in turn. A retry keeps the owner. After a restart the turn "
        "begins anywhere, so nobody is preferred.",
        examples=[["anna@acme.com", "ben@acme.com"]],
    )

    def __hash__(self) -> int:
        """Return a hash, by which records with equal settings share a call."""
        return hash((self.source, tuple(sorted(self.lookup.items())), self.default, self.round_robin))

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.round_robin) == bool(self.source):
            raise ValueError("needs `from` with `lookup`, or `round_robin`")
        if self.source and not self.lookup:
            raise ValueError("needs `lookup`: owners by the text of `from`")
        if self.round_robin and (self.lookup or self.default):
            raise ValueError("`round_robin` goes without `lookup` and `default`")
        return self


OwnerSetting = str | OwnerChoice
"""An e-mail or id, or the choice of one."""


class FollowUp(BaseModel):
    """A task for the salesperson, once for each lead."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    subject: str = Field(
        default="Follow up",
        description="Subject of the task: a text, or a template.",
        examples=["Call {{ FirstName }}"],
    )
    due: TimeSpan = Field(
        default="1d", validate_default=True, description="Time from the lead to the due day.", examples=["4h"]
    )
    owner: OwnerSetting | None = Field(
        default=None, description="Owner of the task: as `owner` of the route, which is the default."
    )
    priority: Literal["low", "normal", "high"] = Field(default="normal", description="Priority of the task.")


def owners_named(setting: OwnerSetting | None) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield all owners that a setting names, each with its path in the setting."""
    if isinstance(setting, str):
        yield (), setting
    elif setting is not None:
        yield from ((("round_robin", at), owner) for at, owner in enumerate(setting.round_robin))
        yield from ((("lookup", text), owner) for text, owner in setting.lookup.items())
        if setting.default is not None:
            yield ("default",), setting.default


def check_owner(setting: OwnerSetting | None, sources: Sources, path: tuple[str, ...]) -> None:
    """Raise `SettingError` if the text that chooses an owner cannot be compiled. `path` leads to the setting."""
    if isinstance(setting, OwnerChoice):
        sources.check((*path, "from"), setting.source)


def owner_text(setting: OwnerSetting | None, sources: Sources, event: Mapping[str, Any]) -> str:
    """Return the text of an event that chooses its owner, empty if none is needed. Raises `ExpressionError`."""
    return sources.text(setting.source, event) if isinstance(setting, OwnerChoice) else ""


class Owners:
    """The choice of owners for one destination.

    The turn of a round robin is kept in memory, because a lane belongs to one process at a time. It begins at a place
    that the first record decides, so restarts prefer nobody. A record keeps its owner while this process lives.
    """

    def __init__(self) -> None:
        self._turns: dict[tuple[str, ...], int] = {}
        self._given: OrderedDict[tuple[str, tuple[str, ...]], str] = OrderedDict()

    def choose(self, setting: OwnerSetting | None, text: str, record_id: str) -> str | None:
        """Return the owner of a record, as an e-mail or id; None if it has none.

        Args:
            setting: The setting.
            text: Text that chooses the owner (`owner_text`).
            record_id: Id of the record.
        """
        if setting is None or isinstance(setting, str):
            return setting
        if not setting.round_robin:
            return setting.lookup.get(text, setting.default)
        return self._next(setting.round_robin, record_id)

    def _next(self, owners: tuple[str, ...], record_id: str) -> str:
        place = (record_id, owners)
        if place not in self._given:
            turn = self._turns.get(owners, zlib.crc32(record_id.encode()))
            self._turns[owners] = turn + 1
            self._given[place] = owners[turn % len(owners)]
            if len(self._given) > _REMEMBERED:
                self._given.popitem(last=False)
        return self._given[place]
