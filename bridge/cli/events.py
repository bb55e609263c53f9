"""`leadbridge events`: list and show the events that were received."""

import json as json_text
import time
from collections.abc import Container, Sequence
from typing import Annotated, Any

import typer

from bridge.admin.presentation import delivery_schema, event_schema, payload_value
from bridge.cli import inputs, output
from bridge.cli.deliveries import with_reason
from bridge.cli.inputs import (
    PAGE_ROWS,
    ChangesOption,
    ChatbotOption,
    ConfigOption,
    JsonOption,
    LimitOption,
    PathArgument,
    SinceOption,
    UntilOption,
)
from bridge.event import EventState
from bridge.operations import events as operations
from bridge.operations.audit import BY_COMMAND, ActionResult
from bridge.operations.events import EventDetails
from bridge.operations.leads import person_labels
from bridge.operations.masking import OPERATOR_VIEW
from bridge.operations.store_access import OpenStore, open_store
from bridge.store.filter import EventFilter
from bridge.store.queries import EventRow

_COLUMNS = ("id", "state", "person", "chatbot", "type", "received_at", "deliveries")
_SPARE = ("type", "received_at")
_DELIVERY_COLUMNS = ("id", "state", "destination", "route", "tries", "reason", "due_at", "settled_at")

app = output.application(
    "leadbridge events list --state unrecognised",
    "leadbridge events show 0069b3d1f20f3a",
    no_args_is_help=True,
)


@app.callback()
def events() -> None:
    """Look at the events that were received.

    An event is `accepted` (it has a delivery for each route that takes it), a `test` (answered, and not delivered), or
    `unrecognised`: authentic, but of an unknown chatbot or shape. See its content with `events show`, fix the
    configuration, then replay it with `deliveries replay`; delete junk with `events discard`.
    """


@app.command(
    "list",
    epilog=output.examples(
        "leadbridge events list --chatbot acme --since 24h", "leadbridge events list --state unrecognised --json"
    ),
)
def list_(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    state: Annotated[EventState | None, typer.Option("--state", help="Only events in this state.")] = None,
    chatbot: ChatbotOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="Only events older than this one: the next page.")
    ] = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List events, newest first, without their content. In a terminal the list names each person, shortened.

    Times are those of receipt, in UTC. In a narrow terminal the ids are shortened; every command accepts them so.
    """
    now = time.time()
    span = inputs.moment(since, now, "--since"), inputs.moment(until, now, "--until")
    with open_store(inputs.read_config(inputs.chosen_path(path, config))).reading() as connection:
        cursor = operations.find_event(connection, before).seq if before else None
        criteria = EventFilter(chatbot, state, since=span[0], until=span[1], before=cursor, limit=limit)
        rows = operations.list_events(connection, criteria)
        is_seen = output.is_terminal() and not json
        people = person_labels(connection, [each.seq for each in rows], OPERATOR_VIEW) if is_seen else {}
    shown = [event_schema(each).model_dump() | ({"person": people[each.id]} if people else {}) for each in rows]
    output.show_page(shown, _COLUMNS, limit, as_json=json, spare=_SPARE)


@app.command(epilog=output.examples("leadbridge events show 0069b3d1f20f3a"))
def show(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids, or unique beginnings of them.")],
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show events with their whole content, and their deliveries.

    This shows personal data. With --json, one object, or for several IDs an array of them.
    """
    settings = inputs.read_config(config)
    store = open_store(settings)

    def show_one(beginning: str) -> dict[str, Any]:
        with store.reading() as connection:
            story = operations.show(connection, beginning)
        return _shown(story, settings.destinations, as_json=json)

    inputs.show_each(ids, show_one, as_json=json)


@app.command(
    epilog=output.examples("leadbridge events discard 0000000000c2f1", "leadbridge events discard --all --chatbot acme")
)
def discard(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids, or unique beginnings of them.", show_default=False)
    ] = None,
    *,
    config: ConfigOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Instead of IDs: all unrecognised events.")] = False,
    chatbot: Annotated[str | None, typer.Option("--chatbot", metavar="NAME", help="With --all: of this one.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --all: do not ask.")] = False,
    json: ChangesOption = False,
) -> None:
    """Delete unrecognised events for good: junk, or tests of another system.

    If an event is a lead, fix the configuration and replay it instead. With --all and --json, one object with the
    count.
    """
    inputs.check_selection(ids, everything=everything)
    if chatbot and not everything:
        raise typer.BadParameter("--chatbot is for --all only")
    store = open_store(inputs.read_config(config))

    def discard_one(beginning: str) -> ActionResult:
        with store.writing() as connection:
            return operations.discard(connection, BY_COMMAND, beginning, time.time())

    if ids:
        inputs.change_each(ids, discard_one, as_json=json)
    else:
        _discard_all(store, chatbot, yes=yes, as_json=json)


def _discard_all(store: OpenStore, chatbot: str | None, *, yes: bool, as_json: bool) -> None:
    inputs.confirm(f"Delete all unrecognised events{f' of {chatbot}' if chatbot else ''} for good?", yes=yes)
    entry: int | None = None
    count = 0
    with output.waiting() as show_progress:
        while True:
            with store.writing() as connection:
                seqs = operations.unrecognised(connection, chatbot)
                if seqs:
                    entry = operations.discard_step(connection, BY_COMMAND, seqs, entry, time.time())
            if not seqs:
                break
            count += len(seqs)
            show_progress(f"deleted {count:,} events")
    if as_json:
        output.write_json({"action": "discard", "was": "unrecognised", "count": count})
    else:
        output.say(f"deleted {count:,} unrecognised {'event' if count == 1 else 'events'}")


def _shown(story: EventDetails, configured: Container[str], *, as_json: bool) -> dict[str, Any]:
    """Return the facts of an event for JSON; otherwise show them."""
    value = payload_value(story.payload, reveal=True)
    rows = [delivery_schema(each, configured).model_dump() for each in story.deliveries]
    if not as_json:
        _show_text(story.row, value, rows)
    return {**event_schema(story.row).model_dump(), "payload": value, "deliveries": rows}


def _show_text(event: EventRow, value: Any, deliveries: Sequence[dict[str, Any]]) -> None:
    output.show_facts({name: fact for name, fact in event_schema(event) if name != "deliveries"})
    output.say()
    output.say(value if isinstance(value, str) else json_text.dumps(value, ensure_ascii=False, indent=2))
    output.say()
    if deliveries:
        output.show_rows(
            list(map(with_reason, deliveries)),
            _DELIVERY_COLUMNS,
            as_json=False,
            spare=("settled_at", "due_at", "tries"),
        )
