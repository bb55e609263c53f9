"""`leadbridge explain`: dry runs of an event, and effects of a changed configuration on stored events."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import (
    LIMIT,
    STANDARD_INPUT,
    ChatbotOption,
    ConfigOption,
    JsonOption,
    read_event,
    split_required_event,
)
from bridge.config.presets import SECTION
from bridge.config.yaml_reader import SourceTree
from bridge.config.yaml_tree import ConfigPath, Position
from bridge.event import EventState
from bridge.mapping.mapping import FieldTrace
from bridge.operations.event_dry_run import (
    FAILS,
    MATCHES,
    EventDryRun,
    RouteCondition,
    RouteDryRun,
    dry_run_events,
    value_text,
)
from connectors.base import Preview

app = output.application()

_STEP = 40  # maximum number of characters of an intermediate value
_COLOURS = {MATCHES: "green", FAILS: "red"}


@app.command(
    epilog=output.examples(
        "leadbridge explain lead.json",
        "leadbridge explain acme.yaml lead.json --json",
        "leadbridge explain --stored 500 --against config.old.yaml",
    )
)
def explain(
    arguments: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH] EVENT.json",
            help="The configuration, if it is not the default one, and a file with the event (- for standard input). "
            "With --stored no event.",
            show_default=False,
        ),
    ] = None,
    *,
    config: ConfigOption = None,
    stored_events: Annotated[
        int | None,
        typer.Option(
            "--stored",
            metavar="N",
            min=1,
            max=LIMIT,
            help="Dry-run the last N events of the store.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="OLD", help="With --stored: show only the differences from this configuration."
        ),
    ] = None,
    chatbot: ChatbotOption = None,
    json: JsonOption = False,
) -> None:
    """Show the requests that an event would cause. Nothing is sent, and nothing is stored.

    For each route of the event's chatbot you see if it takes the event and why not, how each field gets its value step
    by step, and the requests that the connector would send, with its secrets masked: that for the record, then each
    further one, such as that for a note, meeting or task, with its reason. No signature is needed. The exit status is 1
    if the event is not recognised, or if a delivery of it would be a dead letter.

    With --stored you can judge an edit before it is live. The last N events run through the configuration. You see what
    would be sent, similar results together. With --against OLD they run through both configurations, and only the
    differences are shown. Both are filled in from this command's environment variables. This shows personal data. The
    exit status is 1 if a delivery would become a dead letter, with --against one that is none under OLD.
    """
    given = arguments or []
    if stored_events is None:
        if against or chatbot:
            raise typer.BadParameter("--against and --chatbot go with --stored N")
        path, event = split_required_event(given)
        finding = _explain(inputs.chosen_path(path, config), event, as_json=json)
    else:
        from bridge.cli import stored  # SQLAlchemy, which nothing else here needs

        path = inputs.chosen_path(_only_path(given), config)
        request = stored.ComparisonRequest(stored_events, chatbot, path, against)
        finding = stored.show_comparison(request, as_json=json)
    if finding:
        raise typer.Exit(1)


def _only_path(arguments: list[Path]) -> Path | None:
    if len(arguments) > 1 or any(each == STANDARD_INPUT or each.suffix == ".json" for each in arguments):
        raise typer.BadParameter("--stored takes the events from the store: name no event, only the configuration")
    return arguments[0] if arguments else None


def _explain(path: Path | None, event: Path, *, as_json: bool) -> bool:
    """Explain an event; return True if there is a finding."""
    config, places = inputs.read_placed(path)
    results = dry_run_events(read_event(event), config, time.time())
    if as_json:
        output.write_json([row for result in results for row in _rows(result, places)])
    else:
        for result in results:
            _show(result, places)
    return any(_is_finding(result) for result in results)


def _is_finding(result: EventDryRun) -> bool:
    return result.event.state is EventState.UNRECOGNISED or any(each.state == FAILS for each in result.routes)


def _rows(result: EventDryRun, places: SourceTree) -> list[dict[str, Any]]:
    """Return a row for each route, or a single row for an event that no route sees."""
    event = {"id": None, "chatbot": result.event.chatbot, "type": result.event.type}
    if not result.routes:
        return [{**event, "state": result.event.state.value, "destination": None, "why": result.why}]
    return [
        {
            **event,
            "state": each.state,
            "destination": each.destination,
            "route": each.route,
            "why": each.why,
            "events": list(each.events),
            "when": asdict(each.when) if each.when else None,
            "fields": {trace.field: trace.value for trace in each.fields if not trace.left_out},
            "trace": [
                asdict(trace) | {"written": dict(zip(("path", "place"), map(str, place), strict=True))}
                for trace, place in zip(each.fields, _origins(result, at, places), strict=True)
            ],
            "request": _request(each.request) if each.request else None,
            "related": [_request(request) for request in each.related],
        }
        for at, each in enumerate(result.routes)
    ]


def _origins(result: EventDryRun, at: int, places: SourceTree) -> list[tuple[str, Position]]:
    """Return the path and the position at which each field of a route is written, which may be in a preset."""
    fields: ConfigPath = ("chatbots", result.event.chatbot or "", "routes", at, "fields")
    return [places.origin((*fields, trace.field)) for trace in result.routes[at].fields]


def _request(request: Preview) -> dict[str, Any]:
    return {**asdict(request), "headers": dict(request.headers)}


def _show(result: EventDryRun, places: SourceTree) -> None:
    event = result.event
    output.show_facts({"state": event.state.value, "chatbot": event.chatbot, "type": event.type})
    if result.why:
        say = output.complain if event.state is EventState.UNRECOGNISED else output.say
        say(f"event: {result.why}")
    for at, each in enumerate(result.routes):
        output.say()
        _show_route(each, _origins(result, at, places))


def _show_route(result: RouteDryRun, origins: Sequence[tuple[str, Position]]) -> None:
    where = result.route if result.route == result.destination else f"{result.route} (to {result.destination})"
    why = f": {result.why}" if result.why else ""
    output.say(f"route {where}: {result.state}{why}", _COLOURS.get(result.state))
    if result.when:
        output.show_columns([["when", _condition(result.when)]], "  ")
    if result.fields:
        output.say()
        # Without presets all fields are written in the chatbot's own file.
        shared = any(path.startswith(f"{SECTION}.") for path, _ in origins)
        rows = [
            _field(trace) | {"written_at": f"{place.file}:{place.line}"}
            for trace, (_, place) in zip(result.fields, origins, strict=True)
        ]
        output.show_rows(rows, ("field", "from", "value", *(["written_at"] if shared else [])), as_json=False)
    if result.request:
        output.say(f"\nThe record, {result.request.why}:" if result.request.why else "")
        _show_request(result.request)
    for request in result.related:
        output.say(f"\nThen {request.why}:")
        _show_request(request)


def _condition(when: RouteCondition) -> str:
    """Write a condition with the values of its variables in this event."""
    values = ", ".join(f"{name} is {value_text(value, _STEP)}" for name, value in when.values.items())
    return f"{when.source}  ({values})" if values else when.source


def _field(trace: FieldTrace) -> dict[str, Any]:
    value = trace.error or ("(left out: empty)" if trace.left_out else trace.value)
    return {"field": trace.field, "from": path_of(trace), "value": value}


def path_of(trace: FieldTrace) -> str:
    """Write the steps that lead to a value, each with its result; the result of the last step is the value."""
    text = ""
    for at, step in enumerate(trace.steps):
        is_source = at < len(trace.sources) and step.label == trace.sources[at]
        joint = "" if at == 0 else " else " if is_source else " > "
        is_last = at == len(trace.steps) - 1 and not trace.error
        text += f"{joint}{step.label}{'' if is_last else f' {value_text(step.value, _STEP)}'}"
    return text


def _show_request(request: Preview) -> None:
    output.say(f"{request.method} {request.url}")
    for name, value in request.headers.items():
        output.say(f"{name}: {value}")
    if request.body:
        output.say()
        output.say(request.body)
