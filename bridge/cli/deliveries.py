"""`leadbridge deliveries`: list, show, replay, discard and move deliveries."""

import time
from collections.abc import Callable, Container, Sequence
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from bridge.admin.presentation import delivery_details_schema, delivery_schema
from bridge.cli import inputs, output
from bridge.cli.inputs import (
    PAGE_ROWS,
    BeforeOption,
    ChatbotOption,
    ConfigOption,
    DestinationOption,
    JsonOption,
    LimitOption,
    PathArgument,
    SinceOption,
    UntilOption,
    delivery_id,
)
from bridge.config import Config
from bridge.errors import OperatorError
from bridge.operations import bulk
from bridge.operations import deliveries as operations
from bridge.operations.audit import BY_COMMAND, ActionResult
from bridge.operations.bulk import Bulk, Progress
from bridge.operations.leads import person_labels
from bridge.operations.masking import OPEN, OPERATOR_VIEW
from bridge.operations.store_access import OpenStore, open_store
from bridge.store.commands import BulkAction, selection_extent
from bridge.store.filter import DeliveryFilter
from bridge.store.interface import DeliveryState
from bridge.store.lane_queries import REMOVED
from bridge.store.queries import DeliveryDetails, event_seqs
from connectors.base import Reason

_COLUMNS = (
    "id",
    "state",
    "person",
    "chatbot",
    "destination",
    "event",
    "received_at",
    "tries",
    "reason",
    "warned",
    "due_at",
)
_SPARE = ("due_at", "tries", "event", "received_at")
_ATTEMPT_COLUMNS = ("number", "started_at", "seconds", "outcome", "reason", "status", "detail")

StateOption = Annotated[DeliveryState | None, typer.Option("--state", help="Only deliveries in this state.")]
IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids of deliveries, or of events.", show_default=False),
]
AllOption = Annotated[bool, typer.Option("--all", help="Instead of IDs: all deliveries that the options select.")]
BulkStateOption = Annotated[DeliveryState, typer.Option("--state", help="With --all: only deliveries in this state.")]
BulkChangesOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Write an array of objects with id, state, message and error, for programs; with --all, one object with "
        "the count.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="With --all: do not ask.")]

app = output.application(
    "leadbridge deliveries list --state dead",
    "leadbridge deliveries show 107",
    "leadbridge deliveries replay 107 112",
    no_args_is_help=True,
)


@app.callback()
def deliveries() -> None:
    """Look at deliveries; replay, move or discard dead letters.

    A delivery is one event on one route. It is `pending` (in the queue), `delivered`, `dead` (given up, with a
    reason) or `discarded` (by an operator). A dead delivery waits for a person: see the reason with `deliveries show`,
    fix the cause, then replay the delivery, or discard it.
    """


@app.command(
    "list",
    epilog=output.examples(
        "leadbridge deliveries list --state dead --since 24h",
        "leadbridge deliveries list --chatbot acme --reason refused --json",
        "leadbridge deliveries list --warning --since 2026-11-01 --until 2026-12-01",
    ),
)
def list_(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    chatbot: ChatbotOption = None,
    destination: DestinationOption = None,
    reason: Annotated[
        Reason | None, typer.Option("--reason", help="Only those whose last try has this reason.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    warning: Annotated[bool, typer.Option("--warning", help="Only those delivered with a warning.")] = False,
    before: BeforeOption = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List deliveries, newest first. In a terminal the list names each person, shortened.

    Times are those of receipt, in UTC. In a narrow terminal the ids of events are shortened; every command accepts
    them so.
    """
    now = time.time()
    criteria = DeliveryFilter(
        chatbot,
        destination,
        state,
        reason.value if reason else None,
        since=inputs.moment(since, now, "--since"),
        until=inputs.moment(until, now, "--until"),
        before=before,
        limit=limit,
        warning=warning or None,
    )
    settings = inputs.read_config(inputs.chosen_path(path, config))
    with open_store(settings).reading() as connection:
        rows = operations.list_deliveries(connection, criteria)
        seqs = event_seqs(connection, [each.id for each in rows]) if output.is_terminal() and not json else []
        people = person_labels(connection, seqs, OPERATOR_VIEW) if seqs else {}
    shown = [delivery_schema(each, settings.destinations).model_dump() for each in rows]
    for row in shown if people else ():
        row["person"] = people[row["event"]]
    output.show_page(shown if json else list(map(with_reason, shown)), _COLUMNS, limit, as_json=json, spare=_SPARE)


@app.command(epilog=output.examples("leadbridge deliveries show 107", "leadbridge deliveries show 107 112 --json"))
def show(
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="Ids of deliveries.")],
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show everything about deliveries: each attempt, the destination's answers, and the result.

    Answers of the destination may hold personal data. With --json, one object, or for several IDs an array of them.
    """
    settings = inputs.read_config(config)
    store = open_store(settings)

    def show_one(delivery: int) -> dict[str, Any]:
        with store.reading() as connection:
            story = operations.show(connection, delivery)
        return _shown(story, settings.destinations, as_json=json)

    inputs.show_each(ids, show_one, as_json=json)


@app.command(
    epilog=output.examples(
        "leadbridge deliveries replay 107 112", "leadbridge deliveries replay --all --destination acme-hubspot --yes"
    )
)
def replay(
    ids: IdsArgument = None,
    *,
    config: ConfigOption = None,
    everything: AllOption = False,
    state: BulkStateOption = DeliveryState.DEAD,
    chatbot: ChatbotOption = None,
    destination: DestinationOption = None,
    yes: YesOption = False,
    json: BulkChangesOption = False,
) -> None:
    """Put deliveries into the queue, due now.

    A dead, discarded or delivered one starts again: its failures are reset, its attempts are kept. A pending one is due
    at once. For the ID of an event, its dead deliveries are replayed. An unrecognised event is routed again with the
    configuration on disk, and gets its deliveries if it is recognised now.
    """
    selected = _selected(ids, everything, DeliveryFilter(chatbot, destination, state))
    settings = inputs.read_config(config)
    store = open_store(settings)

    def replay_one(connection: Connection, text: str) -> ActionResult:
        delivery, now = delivery_id(text), time.time()
        if delivery is not None:
            return operations.replay(connection, BY_COMMAND, delivery, now)
        return operations.replay_event(connection, BY_COMMAND, text, settings, now, one_entry=False)

    if selected:
        _change_all(store, BulkAction.REPLAY, selected, yes=yes, as_json=json)
    else:
        _change_each(store, ids or (), replay_one, as_json=json)


@app.command(
    epilog=output.examples(
        "leadbridge deliveries discard 107", "leadbridge deliveries discard --all --chatbot acme --state dead"
    )
)
def discard(
    ids: IdsArgument = None,
    *,
    config: ConfigOption = None,
    everything: AllOption = False,
    state: BulkStateOption = DeliveryState.DEAD,
    chatbot: ChatbotOption = None,
    destination: DestinationOption = None,
    yes: YesOption = False,
    json: BulkChangesOption = False,
) -> None:
    """Discard pending and dead deliveries. They can still be replayed.

    For the ID of an event, all its pending and dead deliveries are discarded.
    """
    if state not in operations.OPEN_STATES:
        raise typer.BadParameter("only pending and dead deliveries are discarded", param_hint="--state")
    selected = _selected(ids, everything, DeliveryFilter(chatbot, destination, state))
    store = open_store(inputs.read_config(config))

    def discard_one(connection: Connection, text: str) -> ActionResult:
        delivery, now = delivery_id(text), time.time()
        if delivery is not None:
            return operations.discard(connection, BY_COMMAND, delivery, now)
        return operations.discard_event(connection, BY_COMMAND, text, now)

    if selected:
        _change_all(store, BulkAction.DISCARD, selected, yes=yes, as_json=json)
    else:
        _change_each(store, ids or (), discard_one, as_json=json)


@app.command(
    epilog=output.examples(
        "leadbridge deliveries move 107 --to new-crm",
        "leadbridge deliveries move --all --destination old-crm --to new-crm",
    )
)
def move(
    ids: IdsArgument = None,
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="ROUTE", help="A route of the chatbot, by its destination's name.")
    ],
    config: ConfigOption = None,
    everything: AllOption = False,
    state: BulkStateOption = DeliveryState.PENDING,
    chatbot: ChatbotOption = None,
    destination: DestinationOption = None,
    yes: YesOption = False,
    json: BulkChangesOption = False,
) -> None:
    """Move pending and dead deliveries to another route, for example before you remove a destination.

    The route must be one of the chatbot's in the configuration on disk, and the event must not have a delivery there.
    """
    if state not in operations.OPEN_STATES:
        raise typer.BadParameter("only pending and dead deliveries are moved", param_hint="--state")
    selected = _selected(ids, everything, DeliveryFilter(chatbot, destination, state))
    settings = inputs.read_config(config)
    store = open_store(settings)

    def move_one(connection: Connection, text: str) -> ActionResult:
        delivery = delivery_id(text)
        if delivery is None:
            raise OperatorError(f"{text}: name a delivery to move it; `deliveries list` shows their numbers")
        return operations.move(connection, BY_COMMAND, delivery, to, settings, time.time())

    if selected:
        _move_all(store, selected, to, settings, yes=yes, as_json=json)
    else:
        _change_each(store, ids or (), move_one, as_json=json)


def _selected(ids: Sequence[str] | None, everything: bool, chosen: DeliveryFilter) -> DeliveryFilter | None:  # noqa: FBT001 - an option
    """Return the filter of --all, or None if there are IDs. Raises BadParameter unless there is one of the two."""
    inputs.check_selection(ids, everything=everything)
    if not everything and (chosen.chatbot or chosen.destination):
        raise typer.BadParameter("--chatbot and --destination are for --all only")
    return chosen if everything else None


def _change_each(
    store: OpenStore, ids: Sequence[str], operation: Callable[[Connection, str], ActionResult], *, as_json: bool
) -> None:
    """Run an operation for each id, in a transaction of its own, and print the results."""

    def change(name: int | str) -> ActionResult:
        with store.writing() as connection:
            return operation(connection, str(name))

    inputs.change_each([delivery_id(text) or text for text in ids], change, as_json=as_json)


def _change_all(store: OpenStore, act: BulkAction, chosen: DeliveryFilter, *, yes: bool, as_json: bool) -> None:
    request, verb, state = Bulk(act, chosen), act.value, chosen.conditions["state"]
    with store.reading() as connection:
        progress = Progress(selection_extent(connection, chosen))
    if progress.extent.count:
        inputs.confirm(f"{verb.capitalize()} {_count(progress.extent.count, state)}?", yes=yes)
    elif not as_json:
        output.say(f"nothing to {verb}: {_count(0, state)}")
        return
    with output.waiting() as show_progress:
        while not progress.ended:
            with store.writing() as connection:
                progress = bulk.step(connection, BY_COMMAND, request, progress, time.time())
            show_progress(f"{verb}ed {progress.done:,} of {progress.extent.count:,}")
    if as_json:
        output.write_json({"action": verb, "was": state, "count": progress.done})
    else:
        output.say(f"{verb}ed {_count(progress.done, state)}")


def _move_all(store: OpenStore, chosen: DeliveryFilter, to: str, config: Config, *, yes: bool, as_json: bool) -> None:
    with store.reading() as connection:
        extent = selection_extent(connection, chosen)
    inputs.confirm(f"Move {extent.count} {chosen.conditions['state']} deliveries to {to}?", yes=yes)
    after: int | None = 0
    count, refusals = 0, list[str]()
    with output.waiting() as show_progress:
        while after is not None:
            with store.writing() as connection:
                step = bulk.move_step(
                    connection, BY_COMMAND, chosen, to, config, after=after, through=extent.through, now=time.time()
                )
            after, count = step.after, count + len(step.lines)
            refusals += step.refusals
            show_progress(f"moved {count:,} of {extent.count:,}")
            for line in () if as_json else step.lines:
                output.say(line)
            for refusal in step.refusals:
                output.complain(refusal)
    if as_json:
        output.write_json({"action": "move", "was": chosen.conditions["state"], "count": count, "errors": refusals})
    if refusals:
        raise typer.Exit(1)


def _count(number: int, state: str) -> str:
    return f"{number} {state} {'delivery' if number == 1 else 'deliveries'}"


def with_reason(delivery: dict[str, Any]) -> dict[str, Any]:
    """Return a delivery for a list; if its destination was removed, with that reason instead of a due time."""
    delivery = {**delivery, "warned": delivery["warned"] or None}
    if delivery["configured"] or delivery["state"] != DeliveryState.PENDING.value:
        return delivery
    return {**delivery, "reason": REMOVED, "due_at": None}


def _shown(story: DeliveryDetails, configured: Container[str], *, as_json: bool) -> dict[str, Any]:
    """Return the facts of a delivery for JSON; otherwise show them."""
    facts = delivery_details_schema(story, OPEN, configured).model_dump(
        exclude={"masked": True, "meaning": True, "attempts": {"__all__": {"meaning"}}}
    )
    attempts = facts.pop("attempts")
    delivery = facts.pop("delivery")
    facts = {**(delivery if as_json else with_reason(delivery)), **facts}
    if not as_json:
        output.show_facts(facts)
        output.say()
        output.show_rows(attempts, _ATTEMPT_COLUMNS, as_json=False, spare=("number", "seconds"))
    return {**facts, "attempts": attempts}
