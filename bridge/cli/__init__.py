"""The command line `leadbridge`: one module for each command or group of commands, imported on use.

The imports of a command (SQL, HTTP, the configuration's schema) take hundreds of milliseconds; `--version`, `--help`
and shell completion do without them.
"""

import sys

if sys.platform == "win32":
    sys.exit("leadbridge: Windows is not supported: the store needs POSIX locks. Use the container, or WSL.")

import connectors  # before all that imports a part of it

if getattr(connectors, "PROJECT", None) != "leadbridge":
    # A package named `connectors` exists on the public index, too; installed beside this one, it takes its place.
    sys.exit(
        f"leadbridge: the Python package `connectors` in {next(iter(connectors.__path__))} is another "
        "project's. Install Leadbridge into an environment of its own, for instance with `pipx install`."
    )

if sys.argv[1:2] == ["serve"]:
    # Before the other imports: until it is done, a SIGHUP kills.
    from bridge.signals import hold

    hold()

    # structlog imports these where they are installed. A server needs neither, and they take 5 MB.
    hidden = {"greenlet", "rich"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    import structlog  # noqa: F401

    for each in hidden:
        del sys.modules[each]

import importlib
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from bridge.cli import output
from bridge.errors import LeadbridgeError

if TYPE_CHECKING:
    # Typer keeps Click's class to itself, but it is what its public classes take.
    from typer._click.core import Context

COMMANDS = {
    "init": "Write a configuration to begin with.",
    "serve": "Run the bridge: accept events, deliver them.",
    "check": "Report all errors of a configuration.",
    "test": "Run the tests in a configuration.",
    "explain": "Show the requests that an event would cause; nothing is sent.",
    "send": "Send a signed event to the webhook, as the vendor would.",
    "demo": "Show the main job on this machine: sandbox CRMs, bridge and sender.",
    "sandbox": "Serve a sandbox of HubSpot or Salesforce on this machine, to try a configuration against.",
    "problems": "See what needs a person, by cause.",
    "events": "Look at the events that were received; discard unrecognised ones.",
    "deliveries": "Look at deliveries; replay or discard dead letters.",
    "tail": "Follow events and deliveries as they happen.",
    "lanes": "See the state of each destination; pause and resume it.",
    "quarantine": "Look at requests with a bad signature; release them.",
    "audit": "See the actions of people.",
    "alerts": "Test that alerts arrive.",
    "report": "Show or send the report of the last week.",
    "reconcile": "Compare received leads with delivered leads.",
    "doctor": "Find faults of the installation, and their remedies.",
    "healthcheck": "Ask the running bridge whether it lives, for container engines.",
    "schema": "Print the JSON Schema of the configuration, for editors.",
    "connectors": "See which connectors there are, and their settings.",
    "backfill": "Accept leads that were missed, from the vendor's list.",
    "erase": "Remove all data of a person for good.",
    "db": "Create, migrate, check, back up and encrypt the store.",
}
"""Each command with the line that `leadbridge --help` shows. Its module has the same name, and an `app`."""


class _Deferred(TyperCommand):
    """A command whose module is imported when it is called."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: "Context | None" = None,
        **extra: Any,
    ) -> "Context":
        """Parse the arguments as the real command does, which the context then carries."""
        command = get_command(importlib.import_module(f"bridge.cli.{self.name}").app)
        if self.name != "serve":
            from bridge import log  # structlog takes longer than `--version` does without it

            log.write_beside_output()
        return command.make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """The commands of `leadbridge`. An error for a person becomes one line and exit status 1."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, line in COMMANDS.items():
            self.add_command(_Deferred(name, help=line, rich_markup_mode=None))

    def invoke(self, ctx: "Context") -> Any:
        """Run the command that is asked for."""
        try:
            return super().invoke(ctx)
        except LeadbridgeError as error:
            output.complain(output.error_text(error))
            raise typer.Exit(1) from error


app = output.application(
    "leadbridge demo",
    "leadbridge init",
    "leadbridge check",
    "leadbridge serve",
    cls=Commands,
    add_completion=True,
    no_args_is_help=True,
)


def _show_version(asked: bool) -> None:  # noqa: FBT001 - how Typer calls it
    if not asked:
        return
    from importlib import metadata  # costs more than the rest of the start

    try:
        output.say(f"leadbridge {metadata.version('leadbridge')}")
    except metadata.PackageNotFoundError:
        output.say("leadbridge, not installed")
    raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Carry every lead of an AI Agent chatbot into the CRM.

    Start with `leadbridge init`, then `leadbridge check`, then `leadbridge serve`. Each command reads the configuration
    at --config PATH, else $LEADBRIDGE_CONFIG, else config.yaml in the working directory: a YAML file, or a folder of
    them. A command without other arguments takes PATH without --config too.

    `leadbridge COMMAND -h` shows the options of a command, and examples.

    Exit status: 0 good, 1 a finding, 2 wrong usage.
    """


def main() -> None:
    """Run the command line of this process, and end it with its exit status."""
    app(prog_name="leadbridge")
