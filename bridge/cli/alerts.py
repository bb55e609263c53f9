"""`leadbridge alerts`: who is told when something needs a person."""

import typer

from bridge.alerts.notifier import Message
from bridge.alerts.sending import masked, send
from bridge.cli import inputs, output
from bridge.cli.inputs import PathArgument
from bridge.errors import OperatorError

TEXT = "This is a test: alerts arrive here. Nothing is wrong."

app = output.application(no_args_is_help=True)


@app.callback()
def alerts() -> None:
    """Try whether alerts arrive.

    `leadbridge serve` tells of dead letters, paused lanes, leads that wait too long, refused requests, a quota that is
    nearly used, a broken configuration, a store that cannot commit, and a spool that is in use because the database is
    away; once, again after a while, and when it is over.
    """


@app.command("test")
def send_test(path: PathArgument = None) -> None:
    """Send a message to each target of `alerts.to`, now, and say which of them took it."""
    targets = inputs.read(path).alerts.to
    if not targets:
        raise OperatorError("no alerts are configured: write `alerts: {to: [...]}`, see docs/configuration.md")
    failed = False
    for at, url in enumerate(targets):
        failure = send(url, [Message(TEXT, good=True)])
        if failure is None:
            output.say(f"{masked(at, url)}: sent")
        else:
            output.complain(f"{masked(at, url)}: {failure}")
            failed = True
    if failed:
        raise typer.Exit(1)
