"""Dry runs of stored deliveries: the record that the configuration in use makes, and the connector's request.

They take the steps of a lane, under the same bounds for each record. All records of one page have common bounds too:
their time, and their characters. How many run at once is bounded too (`bridge.admin.query_threads.DryRuns`).
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bridge.config.model import Config, Destination
from bridge.event import EVENT_FIELDS, decode, fields_of
from bridge.mapping.budget import Budget, spending
from bridge.mapping.mapping import FieldTrace
from bridge.mapping.record import NotConfiguredError, UnmappableError, build_record
from bridge.operations.event_dry_run import json_text, preview_request, value_text
from bridge.operations.masking import mask_values
from bridge.store.interface import Delivery
from bridge.store.queries import DeliveryDetails, EventRow
from connectors.base import ExpressionError, Preview, Record

SECONDS: Final = 1.0
"""Seconds after which no further record is made for a page; each record takes at most a tenth."""
PAGE_TEXT: Final = 2_000_000
"""Maximum number of characters of HTML for all values on one page."""

FEWER: Final = "not shown: the page would be too large"
_LATER: Final = "not shown: the records before it took too long"
_NO_RECORD: Final = "The configuration in use makes no record of this event."
_NAME: Final = re.compile(r"\w+")
_ROW: Final = 100
"""Characters of HTML around a value."""
_ESCAPED: Final = 4
"""Additional characters of a character that HTML escapes."""


@dataclass(frozen=True, slots=True, repr=False)
class FieldPath:
    """The way of one field: what the visitor sent, the steps between, and what the record gets."""

    field: str
    steps: Sequence[tuple[str, str]]
    """Label of each step and its result: a source, a transform, `lookup`, `default` or `value`."""
    value: str | None
    """Value in the record as text; None if the record does not have the field."""
    problem: str | None = None
    """Reason why there is no record."""


@dataclass(frozen=True, slots=True, repr=False)
class DryRun:
    """Record and request that would be sent now."""

    fields: Mapping[str, str] | None = None
    """The record's fields as texts; None if there is no record."""
    request: Preview | None = None
    """The request with masked secrets; None if the connector cannot show it, or personal data is not shown."""
    problem: str | None = None
    """Reason why there is no record, or no request."""
    paths: Sequence[FieldPath] = ()
    """Origins of the fields: the sources, transforms and defaults of each."""
    unused: Sequence[str] = ()
    """Fields that the visitor filled in and no field is made from."""


class PageBudget:
    """Processor time and characters that are left for one page. Created and used by one thread.

    Time that other threads and processes take does not count, so a page on a busy machine shows as much.
    """

    def __init__(self) -> None:
        self._left = PAGE_TEXT
        self._until = time.thread_time() + SECONDS

    @property
    def late(self) -> bool:
        """True if the time is over."""
        return time.thread_time() > self._until

    def takes(self, *texts: str) -> bool:
        """Take room for texts on the page; return False if there is not enough."""
        room = _ROW + sum(len(each) + _ESCAPED * sum(map(each.count, "&<>'\"")) for each in texts)
        if room > self._left:
            return False
        self._left -= room
        return True

    def facts(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Write values as texts, up to the first value without room."""
        written: dict[str, str] = {}
        for name, value in values.items():
            text = json_text(value)
            if not self.takes(name, text):
                return written | {f"{len(values) - len(written)} more": FEWER}
            written[name] = text
        return written


def dry_run_stored(
    details: DeliveryDetails, event: EventRow, payload: bytes, config: Config, allowance: PageBudget, *, reveal: bool
) -> DryRun:
    """Dry-run a stored delivery of an event."""
    row = details.row
    delivery = Delivery(
        row.id,
        row.event_id,
        row.chatbot or "",
        payload,
        event.received_at,
        row.route,
        row.attempts,
        row.failures,
        details.failing_since,
        details.memo,
        event.verified_by,
    )
    traces: list[FieldTrace] = []
    made = dry_run(delivery, row.destination, config, allowance, traces, reveal=reveal)
    return made if allowance.late else _with_paths(made, traces, payload, allowance, reveal=reveal)


def dry_run(
    delivery: Delivery,
    destination: str,
    config: Config,
    allowance: PageBudget,
    traces: list[FieldTrace] | None = None,
    *,
    reveal: bool,
) -> DryRun:
    """Map the event as the lane would, and get the connector's request if personal data is shown.

    `traces` receives the computation of each field.
    """
    if allowance.late:
        return DryRun(problem=_LATER)
    with spending(Budget()):
        try:
            record = build_record(delivery, config.chatbots.get, traces)
        except UnmappableError as error:
            return DryRun(problem=error.detail if reveal else _NO_RECORD)
        except NotConfiguredError as error:
            return DryRun(problem=str(error))
        fields = allowance.facts(record.fields if reveal else mask_values(record.fields))
        known = config.destinations.get(destination)
        if known is None:
            return DryRun(fields, problem=f"destination {destination} is not in the configuration any more")
        # Without personal data there is no request, because it may hold the record's values anywhere.
        return _previewed(record, fields, known, allowance) if reveal else DryRun(fields)


def _with_paths(
    made: DryRun, traces: Sequence[FieldTrace], payload: bytes, allowance: PageBudget, *, reveal: bool
) -> DryRun:
    """Add how each field gets its value, and which fields of the event no field is made from."""
    if not traces:
        return made
    paths = []
    for trace in traces:
        path = _path(trace, reveal=reveal)
        if not allowance.takes(path.field, path.value or "", *(text for step in path.steps for text in step)):
            break
        paths.append(path)
    used = {name for trace in traces for label in trace.sources for name in _NAME.findall(label)}
    filled = fields_of(decode(payload)) or {}
    return replace(made, paths=paths, unused=[name for name in EVENT_FIELDS if filled.get(name) and name not in used])


def _path(trace: FieldTrace, *, reveal: bool) -> FieldPath:
    steps = [(each.label, value_text(each.value if reveal else mask_values(each.value))) for each in trace.steps]
    value = None if trace.left_out else json_text(trace.value if reveal else mask_values(trace.value))
    return FieldPath(trace.field, steps, value, trace.error and (trace.error if reveal else _NO_RECORD))


def _previewed(record: Record, fields: Mapping[str, str], known: Destination, allowance: PageBudget) -> DryRun:
    try:
        request = preview_request(known, record)
    except ExpressionError as error:
        return DryRun(fields, problem=error.message)
    headers = [text for header in request.headers.items() for text in header]
    if not allowance.takes(request.method, request.url, request.body, *headers):
        return DryRun(fields, problem=f"the request is {FEWER}")
    return DryRun(fields, request)
