"""`leadbridge serve`: the bridge itself."""

import asyncio
import os
from collections.abc import Callable
from typing import Annotated

import typer

from bridge import app as bridge_app
from bridge import log
from bridge.cli import inputs, output
from bridge.cli.check import warning_line
from bridge.cli.inputs import ConfigOption, PathArgument
from bridge.config.reload import load_files, load_for_use
from bridge.operations.store_access import good_texts

app = output.application()


@app.command(
    epilog=output.examples(
        "leadbridge serve", "leadbridge serve /etc/leadbridge", "leadbridge serve -c acme.yaml --strict"
    )
)
def serve(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse to start if any file has an error.")] = False,
) -> None:
    """Run the bridge until it gets SIGTERM or Ctrl-C.

    It accepts events at the webhook and delivers them to the destinations. On a stop it accepts no more, waits for the
    calls that are under way, and stores their results. A second signal ends it at once, and loses nothing either. The
    log goes to standard output: JSON, or text for people in a terminal.

    In the place of a file with an error, its last good text is used. A new file with an error is left out.
    """
    found = inputs.config_path(inputs.chosen_path(path, config))
    settings, files = load_files(found, os.environ) if strict else load_for_use(found, os.environ, good_texts)
    for warning in settings.warnings:
        output.complain(warning_line(warning))
    log.configure()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(bridge_app.serve(settings, files))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop if uvloop is installed, else None, which means Python's own."""
    try:
        import uvloop  # not there on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
