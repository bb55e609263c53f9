"""`leadbridge schema`: the JSON Schema of the configuration, for editors."""

from bridge.cli import inputs, output
from bridge.cli.connectors import PluginsConfigOption, PluginsOption, PluginsPathArgument, connectors, plugins_of
from bridge.config.editor_schema import json_schema

app = output.application()


@app.command(epilog=output.examples("leadbridge schema > config.schema.json", "leadbridge schema --plugins plugins"))
def schema(
    path: PluginsPathArgument = None, *, config: PluginsConfigOption = None, plugins: PluginsOption = None
) -> None:
    """Print the JSON Schema of the configuration: completion, hover texts and error marks for editors.

    Write it beside the configuration, and name it in the first line of each YAML file:

    # yaml-language-server: $schema=./config.schema.json

    It knows the connectors that are installed. Exit status 1 if a plugin cannot be imported.
    """
    brought = plugins_of(inputs.chosen_path(path, config), plugins)
    output.write_json(json_schema(connectors(brought.connectors), brought.transforms))
