"""What it costs to map an event onto ten fields, three of them templates, beside a function written by hand.

And the worst that a hostile text costs, over patterns and templates that look honest.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import phonenumbers

from bridge.event import Event, restore
from bridge.mapping.budget import Budget, InlineBudget, InlineOverrun, spending
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.field_form import FieldForm
from bridge.mapping.mapping import EVENT_NAME_MEMBERS, FieldMapping, MappingError, compile_mapping, event_variables
from tests.acceptance.hostile import PATTERNS
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure

EVENTS = 2_000
"""Different leads of one burst."""
FIELDS: Mapping[str, Any] = {
    "first_name": "FirstName",
    "last_name": {"from": ["LastName", "FirstName"], "default": "Unknown"},
    "email": {"from": "Email", "transform": ["trim", "lower"]},
    "phone": "PhoneNumber",
    "name": "{{ FirstName }} {{ LastName }}",
    "message": "{{ Content | truncate(500) }}",
    "page": "{{ URI | url_host }}",
    "created_at": {"from": "CreateTime", "transform": ["epoch_ms"]},
    "stage": {"from": "Type", "lookup": {"Lead": "new", "Appointment": "booked"}},
    "source": {"value": "chatbot"},
}
"""The ten."""
WITH_PHONE: Mapping[str, Any] = {**FIELDS, "phone": {"from": "PhoneNumber", "transform": [{"e164": "US"}]}}
"""The same with a phone number that is parsed, which costs either side more than all the rest."""

HOSTILE_FIELDS: Mapping[str, Any] = {
    **{name: {"from": "Content", "transform": [{"regex_extract": pattern}]} for name, pattern, _ in PATTERNS},
    **{
        f"{name} replaced": {"from": "Content", "transform": [{"regex_replace": [pattern, "-"]}]}
        for name, pattern, _ in PATTERNS
    },
    **{
        name: {"from": "Content", "transform": [name]}
        for name in (
            "trim",
            "lower",
            "upper",
            "title",
            "email",
            "first_name",
            "last_name",
            "html_escape",
            "bmp",
            "json",
        )
    },
    "phone": {"from": "Content", "transform": [{"e164": "US"}]},
    "words": "{% for word in Content.split() %}{{ word | title }} {% endfor %}",
    "sorted": "{{ Content.split(',') | map('trim') | unique | sort | join(', ') }}",
    "letters counted": "{% for a in Content %}{% if a in Content[:9] %}x{% endif %}{% endfor %}",
    "squared": "{% for a in Content %}{% for b in Content %}{{ a ~ b }}{% endfor %}{% endfor %}",
    "tags": "{{ Content | striptags }}",
}
"""What an author may well write, each on its own."""
HOSTILE_TEXTS: Final = (
    *(text for _, _, text in PATTERNS),
    *(each * (4_000 // len(each)) for each in (" ", ",", "a ", "aA", "1", "é", "<!---->", "😀x", "ﷺ", '"', "@")),
)
"""Messages of at most 4,000 characters, as long as the vendor's chat takes them."""
LARGE_TEXTS: Final = tuple(
    each * (1_000_000 // len(each.encode())) for each in (" ", "a,", "aA", "é", "<!---->", "😀x")
)
"""Messages as large as `server.max_body` lets through."""
HOSTILE_MARK: Final = 100.0
"""Milliseconds that no mapping of a usual length may take; the others of its lane do not even wait for them."""
INLINE_MARK: Final = 10.0
"""Milliseconds that the event loop may be held up."""

Side = Callable[[Event], Mapping[str, Any]]


async def measure(bench: Bench) -> list[Figure]:
    """Measure both mappings; what the two sides make of a lead must be the same."""
    events = [restore(f"{at:032x}", "acme", each, 0.0) for at, each in enumerate(bench.sender.payloads(EVENTS))]
    return [
        _figure(bench, "mapping: 10 fields, 3 of them templates", events, FIELDS, _by_hand, 50.0, 25.0),
        _figure(bench, "mapping: the same with e164", events, WITH_PHONE, _by_hand_with_phone),
        *_hostile(events[0]),
    ]


def _figure(
    bench: Bench,
    name: str,
    events: Sequence[Event],
    fields: Mapping[str, Any],
    by_hand: Side,
    mark: float | None = None,
    aim: float | None = None,
) -> Figure:
    mapping = compile_mapping(
        {field: FieldForm.model_validate(form) for field, form in fields.items()},
        JinjaExpressions(members=EVENT_NAME_MEMBERS),
    )

    def mapped(event: Event) -> Mapping[str, Any]:
        return mapping.apply(event_variables(event))

    if any(mapped(event) != by_hand(event) for event in events):
        bench.faults.append(f"{name}: the two sides do not make the same record")
    took: dict[Side, list[float]] = {mapped: [], by_hand: []}
    for turn in bench.turns((mapped, by_hand)):
        for side in turn:
            took[side].append(_burst(side, events))
    ours, reference = (statistics.median(each) for each in took.values())
    ratio = statistics.median(one / other for one, other in zip(took[mapped], took[by_hand], strict=True))
    note = "for one event, on one core; the reference is a function written by hand"
    return Figure(name, "µs", ours, reference, ratio, mark, aim, note=note)


def _hostile(event: Event) -> list[Figure]:
    """Measure each of the hostile fields on each of the texts."""
    expressions = JinjaExpressions(members=EVENT_NAME_MEMBERS)
    fields = {
        name: compile_mapping({name: FieldForm.model_validate(form)}, expressions)
        for name, form in HOSTILE_FIELDS.items()
    }
    note = f"the worst of {len(fields)} fields on {{}} texts: {{}}"
    usual, inline, large = (
        max((_worst(mapping, event, text, budget), name) for name, mapping in fields.items() for text in texts)
        for texts, budget in ((HOSTILE_TEXTS, Budget), (HOSTILE_TEXTS, InlineBudget), (LARGE_TEXTS, Budget))
    )
    texts, larges = len(HOSTILE_TEXTS), len(LARGE_TEXTS)
    return [
        Figure("mapping: hostile text", "ms", usual[0], mark=HOSTILE_MARK, note=note.format(texts, usual[1])),
        Figure("mapping: in the event loop", "ms", inline[0], mark=INLINE_MARK, note=note.format(texts, inline[1])),
        Figure("mapping: hostile text of 1 MB, in a thread", "ms", large[0], note=note.format(larges, large[1])),
    ]


def _worst(mapping: FieldMapping, event: Event, text: str, budget: Callable[[], Budget]) -> float:
    """Give the milliseconds of processor time that a mapping takes on a text: the least of three times."""
    values = event_variables(event) | {"Content": text}
    times = []
    for _ in range(3):
        began = time.thread_time()
        with contextlib.suppress(MappingError, InlineOverrun), spending(budget()):
            mapping.apply(values)
        times.append(time.thread_time() - began)
    return min(times) * 1e3


def _burst(side: Side, events: Sequence[Event]) -> float:
    """Give the microseconds that one event takes."""
    began = time.perf_counter()
    for event in events:
        side(event)
    return (time.perf_counter() - began) / len(events) * 1e6


def _by_hand(event: Event) -> Mapping[str, Any]:
    """Do what `FIELDS` says, for this chatbot and CRM alone."""
    given = event.fields
    record = {
        "first_name": given["FirstName"],
        "last_name": given["LastName"] or given["FirstName"] or "Unknown",
        "email": given["Email"].strip().lower(),
        "phone": given["PhoneNumber"],
        "name": f"{given['FirstName']} {given['LastName']}",
        "message": given["Content"][:500],
        "page": urlsplit(given["URI"]).hostname,
        "created_at": int(datetime.fromisoformat(given["CreateTime"]).timestamp() * 1000),
        "stage": {"Lead": "new", "Appointment": "booked"}.get(given["Type"]),
        "source": "chatbot",
    }
    return {name: value for name, value in record.items() if value not in ("", None)}


def _by_hand_with_phone(event: Event) -> Mapping[str, Any]:
    record = dict(_by_hand(event))
    number = phonenumbers.parse(record["phone"], "US")
    record["phone"] = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return record
