"""`leadbridge connectors`: what a destination can be."""

import inspect
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from bridge.cli import output
from bridge.cli.installed import connector, connectors
from bridge.cli.options import JsonOption
from bridge.config.json_schema import json_schema
from bridge.config.reference import keys
from connectors.base import Connector

app = output.application(no_args_is_help=True)

_COLUMNS = ("setting", "meaning", "default", "example")


@app.callback()
def options() -> None:
    """See which connectors are installed, and which settings they take."""


@app.command("list")
def list_connectors(*, json: JsonOption = False) -> None:
    """List the connectors that are installed: what `connector:` of a destination may be."""
    rows = [
        {"name": name, "does": _does(kind), "records_in_a_call": kind.max_batch, "module": kind.__module__}
        for name, kind in connectors().items()
    ]
    output.show_rows(rows, ("name", "does", "records_in_a_call"), as_json=json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The connector, as `list` names it.", show_default=False)],
    *,
    json: JsonOption = False,
) -> None:
    """Show the settings of a connector: those of a destination, then those of a route.

    A dot leads into a map: `auth.bearer` is written `auth: {bearer: …}`. Besides these, every destination takes the
    keys that docs/configuration.md lists under `destinations`.
    """
    kind = connector(name)
    destination, route = (list(each) for each in _settings(name, kind))
    if json:
        output.write_json({"name": name, "does": _does(kind), "destination": destination, "route": route})
        return
    output.say(f"{name}: {_does(kind)}")
    for title, rows in (("destinations.NAME", destination), ("chatbots.NAME.routes[]", route)):
        output.say()
        output.say(f"{title}:{'' if rows else ' no settings of its own'}")
        if rows:
            output.show_rows(rows, _COLUMNS, as_json=False)


def _does(kind: type[Connector]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _settings(name: str, kind: type[Connector]) -> Iterator[Iterator[dict[str, Any]]]:
    """Give the rows of the destination's own settings, and of the route's, as the documentation has them."""
    definitions = json_schema({name: kind})["$defs"]
    (branch,) = definitions["DestinationPart"]["allOf"]
    own = set(kind.route_settings.model_json_schema().get("properties", {}))
    of_route = {key: each for key, each in definitions["RoutePart"]["properties"].items() if key in own}
    needed = [key for key in definitions["RoutePart"].get("required", []) if key in own]
    for part in (branch["then"], {"properties": of_route, "required": needed}):
        yield (dict(zip(_COLUMNS, map(_unmarked, row), strict=True)) for row in keys(part, definitions))


def _unmarked(cell: str) -> str:
    """Take out what makes a cell Markdown."""
    return cell.replace("`", "").replace("\\|", "|")
