"""`leadbridge alerts`: test messages to the targets of alerts."""

import typer

from bridge.alerts.notifier import Notification
from bridge.alerts.targets import send_notifications, target_label
from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption, PathArgument
from bridge.errors import OperatorError

TEST_MESSAGE = "This is a test: alerts arrive here. Nothing is wrong."

app = output.application("leadbridge alerts test", no_args_is_help=True)


@app.callback()
def alerts() -> None:
    """Test that alerts arrive.

    `leadbridge serve` sends alerts about leads: dead letters, paused lanes, leads that wait too long, refused requests
    and quotas that are nearly used. It also sends them about the bridge: a broken configuration, a store that cannot
    commit, and a spool in use while the database is away. It sends an alert once, again after a while, and when the
    problem is over.
    """


@app.command("test", epilog=output.examples("leadbridge alerts test", "leadbridge alerts test acme.yaml --json"))
def send_test(path: PathArgument = None, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Send a message to each target of `alerts.to` now, and print which targets accepted it."""
    targets = inputs.read_config(inputs.chosen_path(path, config)).alerts.to
    if not targets:
        raise OperatorError("no alerts are configured: write `alerts: {to: [...]}`, see docs/configuration.md")
    rows = []
    for at, url in enumerate(targets):
        label = target_label(at, url)
        with output.waiting(f"sending to {label}"):
            failure = send_notifications(url, [Notification(TEST_MESSAGE, good=True)])
        rows.append({"id": label, "state": "failed" if failure else "sent", "error": failure})
        if failure:
            output.complain(f"{label}: {failure}")
        elif not json:
            output.say(f"{label}: sent")
    if json:
        output.write_json(rows)
    if any(each["error"] for each in rows):
        raise typer.Exit(1)
