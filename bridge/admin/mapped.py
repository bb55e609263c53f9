"""What a delivery's event becomes under the configuration: the record, and the request that would carry it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.config.model import Config
from bridge.record import Spoiled, make_record
from bridge.store.base import Delivery
from connectors.base import Preview


@dataclass(frozen=True, slots=True, repr=False)
class Mapped:
    """What would be sent now."""

    fields: Mapping[str, Any] | None
    """The record's fields; None where there is no record."""
    request: Preview | None
    """Secrets masked; None where the connector cannot show it."""
    problem: str | None
    """Why there is no record, or no request."""


def mapped(delivery: Delivery, destination: str, config: Config) -> Mapped:
    """Map the event as the lane would, and have the connector show its request."""
    try:
        record = make_record(delivery, config.chatbots.get)
    except Spoiled as error:
        return Mapped(None, None, error.detail)
    known = config.destinations.get(destination)
    if known is None:
        return Mapped(record.fields, None, f"destination {destination} is not in the configuration any more")
    try:
        return Mapped(record.fields, known.connector.preview([record]), None)
    except Exception as error:  # noqa: BLE001 - a connector may be anybody's code
        return Mapped(
            record.fields, None, f"the connector raised {type(error).__name__} instead of showing its request"
        )
