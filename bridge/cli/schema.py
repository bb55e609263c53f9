"""`leadbridge schema`: the JSON Schema of the configuration, for editors."""

from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import output
from bridge.cli.connectors import connectors
from bridge.config.editor_schema import json_schema
from bridge.config.plugins import plugins_in

app = output.application()


@app.command()
def schema(
    plugins: Annotated[
        list[Path] | None,
        typer.Option("--plugins", metavar="FOLDER", help="Include the plugins of this folder; repeatable."),
    ] = None,
) -> None:
    """Print the JSON Schema of the configuration: completion, hover texts and error marks for editors.

    Write it beside the configuration, and name it in the first line of each YAML file:

    leadbridge schema > config.schema.json

    # yaml-language-server: $schema=./config.schema.json

    It knows the connectors that are installed. Exit status 1 if a plugin cannot be imported.
    """
    brought = plugins_in(plugins or ())
    output.write_json(json_schema(connectors(brought.connectors), brought.transforms))
