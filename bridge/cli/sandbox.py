"""`leadbridge sandbox`: a HubSpot account or a Salesforce org on this machine, to try a configuration."""

import asyncio
import os
from collections.abc import Mapping, Sized
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml

from bridge.cli import output
from bridge.errors import OperatorError
from connectors.testing import Fault, Faults, HubSpotSandbox, SalesforceSandbox

app = output.application()


class Crm(StrEnum):
    """CRMs that have a sandbox."""

    HUBSPOT = "hubspot"
    SALESFORCE = "salesforce"


@app.command(
    epilog=output.examples("leadbridge sandbox hubspot --port 9090", "leadbridge sandbox salesforce --fail 20 --lose 5")
)
def sandbox(
    crm: Annotated[Crm, typer.Argument(help="Which CRM.", show_default=False)],
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen on 127.0.0.1; 0 takes a free one.")] = 0,
    fail: Annotated[
        int, typer.Option(metavar="PERCENT", min=0, max=100, help="Share of calls that are answered with 503.")
    ] = 0,
    lose: Annotated[
        int,
        typer.Option(
            metavar="PERCENT",
            min=0,
            max=100,
            help="Share of calls that write, and then lose their connection unanswered.",
        ),
    ] = 0,
) -> None:
    """Serve a sandbox CRM on this machine until Ctrl-C, and print the destination that fits it.

    It refuses what the real CRM refuses, with the same messages, and keeps all records in memory. At its end it prints
    their number. The faults fall on the same calls in each run.
    """
    made = HubSpotSandbox(port=port) if crm is Crm.HUBSPOT else SalesforceSandbox(port=port)
    _trouble(made.faults, fail, lose)
    try:
        asyncio.run(_serve(made))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise OperatorError(f"cannot listen on 127.0.0.1:{port}: {why}; choose another --port") from error
    except KeyboardInterrupt:
        pass
    output.say(f"\n{len(made.ledger)} calls came. It held {_held(made)}.")


def destination(crm: HubSpotSandbox | SalesforceSandbox) -> dict[str, Any]:
    """Return the settings of a destination for this sandbox; they are known once it listens."""
    if isinstance(crm, HubSpotSandbox):
        own = {"connector": "hubspot", "base_url": crm.origin, "access_token": crm.access_token}
    else:
        client = crm.tokens.client
        own = {"connector": "salesforce", "login_url": crm.origin}
        own |= {"client_id": client.id, "client_secret": client.secret}
    return {**own, "allow_private": True}


async def _serve(crm: HubSpotSandbox | SalesforceSandbox) -> None:
    async with crm:
        settings = destination(crm)
        name = settings["connector"]
        output.say(f"A sandbox of {name} listens on {crm.origin} until Ctrl-C. A destination that fits:\n")
        output.say(_yaml({"destinations": {name: settings}}))
        if isinstance(crm, SalesforceSandbox):
            output.say("Routes to it need `external_id: Leadbridge_Id__c`, the External ID field that its leads have.")
        await asyncio.Event().wait()


def _trouble(faults: Faults, fail: int, lose: int) -> None:
    """Make shares of all calls fail. The second share is drawn among the calls that the first has spared."""
    faults.share(Fault.answers(503), fail / 100)
    faults.share(Fault.disconnects(written=True), min(1.0, lose / max(100 - fail, 1)))


def _held(crm: HubSpotSandbox | SalesforceSandbox) -> str:
    counts: Mapping[str, Sized]
    if isinstance(crm, HubSpotSandbox):
        counts = {"contacts": crm.contacts, "notes": crm.notes, "meetings": crm.meetings, "tasks": crm.tasks}
    else:
        counts = {"leads": crm.leads, "contacts": crm.contacts, "events": crm.events, "tasks": crm.tasks}
    return ", ".join(f"{len(records)} {name}" for name, records in counts.items())


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False, default_flow_style=False)
