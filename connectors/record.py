"""The record that a connector is asked to write, and the choice of the fields that are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

ValueT = TypeVar("ValueT")


class RouteSettings(BaseModel):
    """Settings of a connector for a route."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """One event under the mapping of one route, to be written by a connector."""

    id: str
    """Idempotency key: the same on every attempt of this delivery, and different for every other delivery."""
    fields: Mapping[str, Any]
    """Mapped fields by the names of the destination, in the order of the configuration, without empty ones."""
    event: Mapping[str, Any]
    """Event fields by the sender's names (`Email`, ...), plus `event` (`id`, `received_at`) and `chatbot`."""
    payload: bytes
    """The event as JSON, as it was received."""
    route: RouteSettings
    """Route settings of the connector, an instance of its `route_settings`."""
    memo: Mapping[str, str] = field(default_factory=dict)
    """Values that the outcomes of earlier attempts kept, such as ids of objects created on the way. They let an attempt
    after a crash or a lost answer avoid creating them twice."""
    is_repeat: bool = False
    """True if an attempt of this delivery has ended before: this is a retry, or a replay by an operator. False proves
    nothing about the destination, because the process may have been killed after it wrote the record."""
    create_only: frozenset[str] = frozenset()
    """Names of the fields that are written only if this write creates the record (`write: create`)."""
    if_empty: frozenset[str] = frozenset()
    """Names of the fields that are written only where the destination holds no value (`write: if_empty`)."""

    def __repr__(self) -> str:
        """Return the record's id without any of its values, because a repr ends up in logs."""
        return f"Record(id={self.id!r})"


@dataclass(frozen=True, slots=True)
class RemoteRecord:
    """A record that was delivered, for a later check that the destination still has it."""

    remote_id: str
    """Record ID at the destination (`Delivered.remote_id`)."""
    route: RouteSettings
    """Route settings of the connector, an instance of its `route_settings`."""


def writable_fields(
    fields: Mapping[str, ValueT],
    held: Mapping[str, object] | None,
    *,
    create_only: frozenset[str] = frozenset(),
    if_empty: frozenset[str] = frozenset(),
) -> dict[str, ValueT]:
    """Return the fields that a write may set.

    A connector calls this after it has read the existing record. A CRM has no conditional write, so a change between
    the read and the write is not seen.

    Args:
        fields: Fields of the record in the connector's form, by name.
        held: Values of the existing record, by name; None for a record that does not exist.
        create_only: Names of the fields for a new record only (`Record.create_only`).
        if_empty: Names of the fields for a new record, or one without a value for them (`Record.if_empty`).
    """
    if held is None:
        return dict(fields)
    return {
        name: value
        for name, value in fields.items()
        if name not in create_only and not (name in if_empty and is_filled(held.get(name)))
    }


def is_filled(value: object) -> bool:
    """Return True if a destination's value counts as one. 0 and false do; white space and an empty list do not."""
    return bool(value.strip()) if isinstance(value, str) else value is not None and value not in ([], {})
