"""`leadbridge explain`: what would be sent where for an event."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.cli import configuration, output
from bridge.cli.eventfile import read_event, split_required
from bridge.cli.explanation import FAILS, Fate, RouteFate, foretell
from bridge.cli.options import JsonOption
from bridge.event import EventState
from bridge.mapping import FieldTrace
from connectors.base import Preview

app = output.application()


@app.command()
def explain(
    arguments: Annotated[
        list[Path],
        typer.Argument(
            metavar="[PATH] EVENT.json",
            help="The configuration, if it is not the default one, and a file with the event (- for standard input).",
            show_default=False,
        ),
    ],
    *,
    json: JsonOption = False,
) -> None:
    """Show what would be sent where for an event. Nothing is sent, and nothing is stored.

    For each route of the event's chatbot: whether it takes the event, how each field comes to its value, and the
    request that the connector would send, with its secrets masked. No signature is needed.

    The exit status is 1 if the event is not recognised, or if a delivery of it would be a dead letter. With --json,
    one object for each route.
    """
    path, event = split_required(arguments)
    fates = foretell(read_event(event), configuration.read(path), time.time())
    if json:
        output.write_json([row for fate in fates for row in _rows(fate)])
    else:
        for fate in fates:
            _show(fate)
    if any(_is_finding(fate) for fate in fates):
        raise typer.Exit(1)


def _is_finding(fate: Fate) -> bool:
    return fate.event.state is EventState.UNRECOGNISED or any(each.state == FAILS for each in fate.routes)


def _rows(fate: Fate) -> list[dict[str, Any]]:
    """Give a row for each route; for an event that no chatbot's routes see, one that says so."""
    event = {"id": fate.event.id, "chatbot": fate.event.chatbot, "type": fate.event.type}
    if not fate.routes:
        return [{**event, "state": fate.event.state.value, "destination": None, "why": fate.why}]
    return [
        {
            **event,
            "state": each.state,
            "destination": each.destination,
            "route": each.route,
            "why": each.why,
            "fields": {trace.field: trace.value for trace in each.fields if not trace.left_out},
            "request": _request(each.request) if each.request else None,
        }
        for each in fate.routes
    ]


def _request(request: Preview) -> dict[str, Any]:
    return {**asdict(request), "headers": dict(request.headers)}


def _show(fate: Fate) -> None:
    event = fate.event
    output.show_facts({"event": event.id, "state": event.state.value, "chatbot": event.chatbot, "type": event.type})
    if fate.why:
        say = output.complain if event.state is EventState.UNRECOGNISED else output.say
        say(f"event {event.id}: {fate.why}")
    for each in fate.routes:
        output.say()
        _show_route(each)


def _show_route(fate: RouteFate) -> None:
    where = fate.route if fate.route == fate.destination else f"{fate.route} (to {fate.destination})"
    output.say(f"route {where}: {fate.state}{f': {fate.why}' if fate.why else ''}")
    if fate.fields:
        output.say()
        output.show_rows([_field(trace) for trace in fate.fields], ("field", "value", "from"), as_json=False)
    if fate.request:
        output.say()
        _show_request(fate.request)


def _field(trace: FieldTrace) -> dict[str, Any]:
    value = trace.error or ("(left out: empty)" if trace.left_out else trace.value)
    return {"field": trace.field, "value": value, "from": _path(trace)}


def _path(trace: FieldTrace) -> str:
    """Write the steps on the way to the value."""
    return " > ".join(step.label for step in trace.steps)


def _show_request(request: Preview) -> None:
    output.say(f"{request.method} {request.url}")
    for name, value in request.headers.items():
        output.say(f"{name}: {value}")
    if request.body:
        output.say()
        output.say(request.body)
