"""`leadbridge deliveries`: what became of each event on each route, and what an operator can do about it."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from sqlalchemy import Connection

from bridge.admin.rows import delivery_shape, delivery_story
from bridge.cli import inputs, output
from bridge.cli.inputs import (
    PAGE_ROWS,
    BeforeOption,
    ChatbotOption,
    ConfigOption,
    DestinationOption,
    JsonOption,
    LimitOption,
    delivery_id,
    find_event,
    for_each,
)
from bridge.cli.store import OpenStore, open_store
from bridge.config import Config
from bridge.errors import OperatorError
from bridge.event import EventState
from bridge.ingress.reprocess import route_again
from bridge.operations.audit import BY_COMMAND, Action, Entry, Subject
from bridge.operations.masking import OPEN
from bridge.store import audit_log, commands, queries
from bridge.store.interface import DeliveryState
from bridge.store.queries import DeliveryStory, EventRow, Page

BULK_LIMIT = 1_000_000
"""The most deliveries of one `--all`."""

_OPEN = {DeliveryState.PENDING, DeliveryState.DEAD}
_COLUMNS = ("id", "state", "chatbot", "destination", "event", "received_at", "tries", "reason", "due_at")
_ATTEMPT_COLUMNS = ("number", "started_at", "seconds", "outcome", "reason", "status", "detail")

Act = Callable[[Connection, Sequence[int], float], dict[int, DeliveryState]]
"""`actions.replay` or `actions.discard`."""

StateOption = Annotated[DeliveryState | None, typer.Option("--state", help="Only those in this state.")]
IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids of deliveries, or of events.", show_default=False),
]
AllOption = Annotated[bool, typer.Option("--all", help="Instead of IDs: all that the options choose.")]
BulkStateOption = Annotated[DeliveryState, typer.Option("--state", help="With --all: those in this state.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="With --all: do not ask.")]

app = output.application(no_args_is_help=True)


@app.callback()
def deliveries() -> None:
    """Look at deliveries; replay, move or discard dead letters.

    A delivery is one event on one route. It is `pending` (in the queue), `delivered`, `dead` (given up, with a
    reason) or `discarded` (by an operator). A dead one waits for a person: see why with `deliveries show`, mend the
    cause, then replay it; or discard it.
    """


@app.command("list")
def list_(
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    chatbot: ChatbotOption = None,
    destination: DestinationOption = None,
    before: BeforeOption = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List deliveries, newest first."""
    with open_store(inputs.read(config)).reading() as connection:
        rows = queries.delivery_page(connection, Page(chatbot, destination, before, limit), state)
    output.show_rows([delivery_shape(each).model_dump() for each in rows], _COLUMNS, as_json=json)
    if not json and len(rows) == limit:
        output.complain(f"For older ones: --before {rows[-1].id}")


@app.command()
def show(
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="Ids of deliveries.")],
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show all about deliveries: each attempt, what the destination said, what came of it.

    What the destination said may hold personal data. With --json, one object for each ID.
    """
    store = open_store(inputs.read(config))
    for_each(ids, lambda each: _show(_story(store, each), as_json=json))


@app.command()
def replay(
    ids: IdsArgument = None,
    *,
    config: ConfigOption = None,
    everything: AllOption = False,
    state: BulkStateOption = DeliveryState.DEAD,
    chatbot: ChatbotOption = None,
    destination: DestinationOption = None,
    yes: YesOption = False,
) -> None:
    """Put deliveries into the queue, due now.

    A dead, discarded or delivered one begins anew: its failures are forgotten, its attempts are kept. A pending one
    does not wait any longer. For the ID of an event, its dead deliveries are replayed; an unrecognised event is routed
    again with the configuration as it is on disk now, and gets its deliveries if it is recognised.
    """
    page = _bulk(ids, everything, Page(chatbot, destination, None, BULK_LIMIT))
    settings = inputs.read(config)
    store = open_store(settings)
    if page:
        _act_on_all(store, page, state, "replay", commands.replay, yes=yes)
    else:
        for_each(ids or (), lambda each: _replay(each, store, settings))


@app.command()
def discard(
    ids: IdsArgument = None,
    *,
    config: ConfigOption = None,
    everything: AllOption = False,
    state: BulkStateOption = DeliveryState.DEAD,
    chatbot: ChatbotOption = None,
    destination: DestinationOption = None,
    yes: YesOption = False,
) -> None:
    """Give up pending and dead deliveries for good. They can still be replayed.

    For the ID of an event, all its pending and dead deliveries are discarded.
    """
    if state not in _OPEN:
        raise typer.BadParameter("only pending and dead deliveries are discarded", param_hint="--state")
    page = _bulk(ids, everything, Page(chatbot, destination, None, BULK_LIMIT))
    store = open_store(inputs.read(config))
    if page:
        _act_on_all(store, page, state, "discard", commands.discard, yes=yes)
    else:
        for_each(ids or (), lambda each: _discard(each, store))


@app.command()
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
) -> None:
    """Give pending and dead deliveries another route, as when a destination is to be removed.

    The route must be one of the chatbot's in the configuration on disk, and the event must not have a delivery there.
    """
    if state not in _OPEN:
        raise typer.BadParameter("only pending and dead deliveries are moved", param_hint="--state")
    page = _bulk(ids, everything, Page(chatbot, destination, None, BULK_LIMIT))
    found = inputs.read(config)
    store = open_store(found)
    if page:
        with store.reading() as connection:
            ids = [str(each) for each in queries.delivery_ids(connection, page, state)[::-1]]
        _confirm(f"Move {len(ids)} {state.value} deliveries to {to}?", yes=yes)
    for_each(ids or (), lambda each: _move(each, to, store, found))


# -- one by one


def _replay(text: str, store: OpenStore, config: Config) -> None:
    delivery = delivery_id(text)
    if delivery is not None:
        _replay_one(store, delivery)
        return
    with store.reading() as connection:
        event = find_event(connection, text)
    if event.state is EventState.UNRECOGNISED:
        with store.writing() as connection:
            said = route_again(connection, event, queries.payload(connection, event.seq), config)
            _note(connection, Action.REPLAY, Subject.EVENT, event.id, was=event.state.value)
        output.say(said)
        return
    dead = _deliveries_of(store, event, {DeliveryState.DEAD})
    if not dead:
        raise OperatorError(f"event {event.id}: no dead delivery to replay; name a delivery to replay another one")
    for each in dead:
        _replay_one(store, each)


def _replay_one(store: OpenStore, delivery: int) -> None:
    with store.writing() as connection:
        before = commands.replay(connection, [delivery], time.time()).get(delivery)
        if before is None:
            raise _unknown(delivery)
        _note(connection, Action.REPLAY, Subject.DELIVERY, delivery, was=before.value)
    output.say(f"delivery {delivery}: was {before.value}, is pending and due now")


def _discard(text: str, store: OpenStore) -> None:
    delivery = delivery_id(text)
    if delivery is not None:
        _discard_one(store, delivery)
        return
    with store.reading() as connection:
        event = find_event(connection, text)
    open_ = _deliveries_of(store, event, _OPEN)
    if not open_:
        raise OperatorError(f"event {event.id}: no pending or dead delivery to discard")
    for each in open_:
        _discard_one(store, each)


def _discard_one(store: OpenStore, delivery: int) -> None:
    with store.writing() as connection:
        before = commands.discard(connection, [delivery], time.time()).get(delivery)
        if before is None:
            raise _unknown(delivery)
        if before is DeliveryState.DELIVERED:
            raise OperatorError(f"delivery {delivery}: delivered already, and stays so")
        _note(connection, Action.DISCARD, Subject.DELIVERY, delivery, was=before.value)
    output.say(f"delivery {delivery}: was {before.value}, is discarded")


def _move(text: str, to: str, store: OpenStore, config: Config) -> None:
    delivery = delivery_id(text)
    if delivery is None:
        raise OperatorError(f"{text}: name a delivery to move it; `deliveries list` shows their numbers")
    row = _story(store, delivery).row
    if row.state not in _OPEN:
        raise OperatorError(f"delivery {delivery}: is {row.state.value}; only pending and dead ones are moved")
    chatbot = config.chatbots.get(row.chatbot or "")
    route = next((each for each in chatbot.routes if each.name == to), None) if chatbot else None
    if route is None:
        raise OperatorError(f"delivery {delivery}: chatbot {row.chatbot} has no route {to} in the configuration")
    with store.writing() as connection:
        if not commands.move(connection, delivery, route.name, route.destination, time.time()):
            raise OperatorError(f"delivery {delivery}: its event goes to {to} already; discard this one instead")
        _note(connection, Action.MOVE, Subject.DELIVERY, delivery, was=row.route, to=route.name)
    output.say(f"delivery {delivery}: goes to {to} now, and is due")


def _deliveries_of(store: OpenStore, event: EventRow, states: set[DeliveryState]) -> list[int]:
    with store.reading() as connection:
        rows = queries.deliveries_of(connection, event.seq)
    return [row.id for row in rows if row.state in states]


# -- all at once


def _bulk(ids: Sequence[str] | None, everything: bool, page: Page) -> Page | None:  # noqa: FBT001 - as it was given
    """Check that either ids or --all are given; answers what --all chooses."""
    if bool(ids) == everything:
        raise typer.BadParameter("give either IDs, or --all with what it is to choose")
    if not everything and (page.chatbot or page.destination):
        raise typer.BadParameter("--chatbot and --destination choose among --all")
    return page if everything else None


def _act_on_all(store: OpenStore, page: Page, state: DeliveryState, verb: str, act: Act, *, yes: bool) -> None:
    """Do it in transactions of a few hundred, oldest first, so that each contact's deliveries stay in order."""
    with store.reading() as connection:
        ids = queries.delivery_ids(connection, page, state)[::-1]
    what = f"{len(ids)} {state.value} {'delivery' if len(ids) == 1 else 'deliveries'}"
    if not ids:
        output.say(f"nothing to {verb}: {what}")
        return
    _confirm(f"{verb.capitalize()} {what}?", yes=yes)
    entry = None
    for start in range(0, len(ids), commands.IDS_LIMIT):
        part = ids[start : start + commands.IDS_LIMIT]
        with store.writing() as connection:
            act(connection, part, time.time())
            entry = entry or audit_log.keep(connection, _entry_of_all(page, state, verb, len(ids)), time.time())
            audit_log.add(connection, entry, len(part))
    output.say(f"{verb}ed {what}")


def _entry_of_all(page: Page, state: DeliveryState, verb: str, wanted: int) -> Entry:
    chosen = {"state": state.value, "chatbot": page.chatbot, "destination": page.destination}
    facts: dict[str, str | int] = {name: value for name, value in chosen.items() if value is not None}
    return Entry(BY_COMMAND, Action(f"{verb}_all"), count=0, facts={"of": wanted, **facts})


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} Say so with --yes: there is nobody to ask")
    typer.confirm(question, abort=True)


# -- showing and telling


def _note(connection: Connection, action: Action, subject: Subject, subject_id: int | str, **facts: str) -> None:
    entry = Entry(BY_COMMAND, action, subject, str(subject_id), facts=facts)
    audit_log.keep(connection, entry, time.time())


def _story(store: OpenStore, delivery: int) -> DeliveryStory:
    with store.reading() as connection:
        story = queries.delivery_story(connection, delivery)
    if story is None:
        raise _unknown(delivery)
    return story


def _unknown(delivery: int) -> OperatorError:
    return OperatorError(f"{delivery}: no delivery has this id; see `leadbridge deliveries list`")


def _show(story: DeliveryStory, *, as_json: bool) -> None:
    told = delivery_story(story, OPEN).model_dump(
        exclude={"masked": True, "warned": True, "meaning": True, "attempts": {"__all__": {"meaning"}}}
    )
    tries = told.pop("attempts")
    facts = {**told.pop("delivery"), **told}
    if as_json:
        output.write_json({**facts, "attempts": tries})
        return
    output.show_facts(facts)
    output.say()
    output.show_rows(tries, _ATTEMPT_COLUMNS, as_json=False)
