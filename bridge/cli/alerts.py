"""`leadbridge alerts`: test messages to the targets of alerts."""

import typer

from bridge.alerts.notifier import Notification
from bridge.alerts.targets import send_notifications, target_label
from bridge.cli import inputs, output
from bridge.cli.inputs import PathArgument
from bridge.errors import OperatorError

TEST_MESSAGE = "This is a test: alerts arrive here. Nothing is wrong."

app = output.application(no_args_is_help=True)


@app.callback()
def alerts() -> None:
    """Test that alerts arrive.

    `leadbridge serve` sends alerts about leads: dead letters, paused lanes, leads that wait too long, refused requests
    and quotas that are nearly used. It also sends them about the bridge: a broken configuration, a store that cannot
    commit, and a spool in use while the database is away. It sends an alert once, again after a while, and when the
    problem is over.
    """


@app.command("test")
def send_test(path: PathArgument = None) -> None:
    """Send a message to each target of `alerts.to` now, and print which targets accepted it."""
    targets = inputs.read_config(path).alerts.to
    if not targets:
        raise OperatorError("no alerts are configured: write `alerts: {to: [...]}`, see docs/configuration.md")
    failed = False
    for at, url in enumerate(targets):
        failure = send_notifications(url, [Notification(TEST_MESSAGE, good=True)])
        if failure is None:
            output.say(f"{target_label(at, url)}: sent")
        else:
            output.complain(f"{target_label(at, url)}: {failure}")
            failed = True
    if failed:
        raise typer.Exit(1)
