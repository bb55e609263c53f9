"""`leadbridge demo`: the main job on this machine, from end to end."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bridge import log
from bridge.cli import demo_story, output
from bridge.cli.demo_story import Sent, Stage

app = output.application()


@app.command()
def demo(*, keep: Annotated[bool, typer.Option("--keep", help="Stay up afterwards, until Ctrl-C.")] = False) -> None:
    """Show the main job on this machine: a sandbox CRM, the bridge on a fresh store, and a sender.

    Sends leads and an appointment, among them a repeated one, one with a wrong signature, and one that the CRM fails
    to take at first. Then it shows what was sent and what the CRM holds. Nothing leaves this machine.
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
        output.say(f"The bridge listens on {stage.url}, the sandbox CRM on {stage.crm.url}.\n")
        sent = await demo_story.play(stage, _tell)
        good = _show(stage, sent)
        if keep:
            output.say(f"\nStill up. Log: {folder}/leadbridge.log. In another terminal:\n")
            output.say(f"  export DEMO_SIGN_KEY={demo_story.SIGN_KEY}")
            output.say(f"  leadbridge send {stage.config_path}")
            output.say(f"  leadbridge deliveries list --config {stage.config_path}\n\nCtrl-C ends it.")
            await asyncio.Event().wait()
    return good


def _tell(sent: Sent) -> None:
    mark = "✓" if sent.as_expected else "✗"
    output.say(f" {mark} {sent.step.what}: {sent.status} {sent.answer.strip()}")


def _show(stage: Stage, sent: list[Sent]) -> bool:
    """Show what became of it; say whether all of it is as it must be."""
    deliveries = demo_story.deliveries(stage.config)
    output.say("\nDeliveries\n")
    rows = [
        {"id": each.id, "state": each.state, "attempts": each.attempts, "event": each.event_id} for each in deliveries
    ]
    output.show_rows(rows, ["id", "state", "attempts", "event"], as_json=False)
    output.say("\nThe CRM holds\n")
    records = [{"id": each.id, "writes": each.writes, **each.fields} for each in stage.crm.records]
    output.show_rows(records, ["id", "writes", "kind", "name", "email", "phone", "note"], as_json=False)
    good = _as_it_must_be(stage, sent)
    output.say(
        f"\n{len(sent)} requests, {len(deliveries)} deliveries, {len(records)} records: "
        + ("nothing lost, nothing doubled." if good else "NOT as it must be, see above.")
    )
    return good


def _as_it_must_be(stage: Stage, sent: list[Sent]) -> bool:
    """Whether the CRM has each accepted lead, each person once, and the failing call was made again."""
    deliveries = demo_story.deliveries(stage.config)
    people = {
        (step.fields.get("Email") or step.fields.get("PhoneNumber", "")).lower()
        for step in demo_story.STORY
        if step.expected == 200  # noqa: PLR2004 - an HTTP status
    }
    return (
        all(each.as_expected for each in sent)
        and all(each.state == "delivered" for each in deliveries)
        and len(stage.crm.records) == len(people)
        and any(each.attempts > 1 for each in deliveries)
    )
