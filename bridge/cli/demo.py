"""`leadbridge demo`: the main job on this machine, from end to end."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bridge import log
from bridge.cli import demo_story, output
from bridge.cli.demo_story import Sent, Stage
from bridge.store.interface import DeliveryState
from bridge.store.queries import DeliveryRow

_COLUMNS = ("object", "id", "name", "email", "phone", "text", "when")
_HELD = {
    "hubspot": {"contact": 4, "note": 4, "meeting": 1, "deal": 4},
    "salesforce": {"lead": 4, "event": 1},
    "salespeople": {"message": 4},
}
"""Expected number of each object: four people, a message of each, and one appointment."""

app = output.application()


@app.command(epilog=output.examples("leadbridge demo", "leadbridge demo --keep"))
def demo(
    *, keep: Annotated[bool, typer.Option("--keep", help="Keep it running until Ctrl-C, with its dashboard.")] = False
) -> None:
    """Show the main job on this machine: HubSpot and Salesforce sandboxes, an inbox, the bridge, and a sender.

    It sends leads and an appointment, among them a repeated lead, a lead with a wrong signature, and a lead that both
    CRMs fail to take at first. Then it shows the requests, each CRM's records, and the messages to the salespeople.
    Nothing leaves this machine.
    """
    with tempfile.TemporaryDirectory(prefix="leadbridge-demo-") as name:
        folder = Path(name)
        with (folder / "leadbridge.log").open("wb") as lines:
            log.configure(lines)
            try:
                good = asyncio.run(_run(folder, keep=keep))
            except KeyboardInterrupt:
                good = True
    raise typer.Exit(0 if good else 1)


async def _run(folder: Path, *, keep: bool) -> bool:
    async with demo_story.stage(folder) as stage:
        output.say(f"The bridge listens on {stage.url}. Sandboxes of the CRMs, on this machine too:")
        output.say(f"HubSpot on {stage.hubspot.origin}, Salesforce on {stage.salesforce.origin}.\n")
        sent = await demo_story.play(stage, _tell)
        good = _show(stage, sent)
        if keep:
            output.say(f"\nThe bridge still runs. Dashboard, with these leads: {stage.dashboard}")
            output.say(f"Log: {folder}/leadbridge.log. In another terminal:\n")
            output.say(f"  export DEMO_SIGN_KEY={demo_story.SIGN_KEY}")
            output.say(f"  leadbridge send {stage.config_path}")
            output.say(f"  leadbridge deliveries list --config {stage.config_path}\n\nCtrl-C ends it.")
            await asyncio.Event().wait()
    return good


def _tell(sent: Sent) -> None:
    mark = "✓" if sent.as_expected else "✗"
    output.say(f" {mark} {sent.step.what}: {sent.status} {sent.answer.strip()}")


def _show(stage: Stage, sent: Sequence[Sent]) -> bool:
    """Show the results; return True if all are as expected."""
    deliveries = demo_story.story_deliveries(stage.config)
    rows = [
        {"id": each.id, "destination": each.destination, "state": each.state.value, "tries": each.attempts}
        for each in deliveries
    ]
    _table("Deliveries", rows, ("id", "destination", "state", "tries"))
    held = {
        "hubspot": demo_story.of_hubspot(stage),
        "salesforce": demo_story.of_salesforce(stage),
        "salespeople": demo_story.of_inbox(stage),
    }
    _table("HubSpot holds", held["hubspot"], _COLUMNS)
    _table("Salesforce holds", held["salesforce"], _COLUMNS)
    _table("Salespeople are notified", held["salespeople"], ("subject", "text"))
    good = (
        all(each.as_expected for each in sent)
        and _are_good(deliveries)
        and all(Counter(row["object"] for row in held[name]) == wanted for name, wanted in _HELD.items())
    )
    output.say(
        f"\n{len(sent)} requests, {len(deliveries)} deliveries: "
        + ("nothing lost, nothing doubled." if good else "NOT as it must be, see above.")
    )
    return good


def _are_good(deliveries: Sequence[DeliveryRow]) -> bool:
    """Return True if all are delivered, one of each CRM only after a failure."""
    retried = [each.destination for each in deliveries if each.attempts > 1]
    return all(each.state is DeliveryState.DELIVERED for each in deliveries) and sorted(retried) == [
        "hubspot",
        "salesforce",
    ]


def _table(title: str, rows: Sequence[output.Shown], columns: Sequence[str]) -> None:
    output.say(f"\n{title}\n")
    output.show_rows(rows, columns, as_json=False)
