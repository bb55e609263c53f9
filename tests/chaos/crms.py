"""The CRMs that the program writes to, each behind a wire of its own, and what they hold in the end."""

import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from connectors.testing import Arrival, Fault, Faults, Sandbox
from connectors.testing.hubspot.limits import Limits
from connectors.testing.hubspot.sandbox import HubSpotSandbox
from connectors.testing.salesforce.sandbox import SalesforceSandbox
from tests.acceptance.configured import RETRY, chatbot, http
from tests.chaos.wire import Wire

_BUSY = Fault.answers(429, {"Retry-After": "1"})
_FAULTS: Mapping[str, tuple[float, Fault]] = {
    "closes before the write": (0.015, Fault.disconnects(written=False)),
    "closes after the write": (0.015, Fault.disconnects(written=True)),
    "half an answer": (0.01, Fault.half_an_answer()),
    "500": (0.01, Fault.answers(500)),
    "500 after the write": (0.01, Fault.answers(500, written=True)),
    "429": (0.004, _BUSY),
    "a gateway's page": (0.01, Fault.html_error(502)),
    "slow": (0.01, Fault.slow(0.3)),
    "slower than the time-out": (0.004, Fault.slow(2.5)),
}
_TIMEOUT = "2s"
_NUMBER = re.compile(r"lead (\d+)\.")
_REMARK = "lead {{ SessionID }}."
_RESULTS = {"each": "answer.results", "ok": "result.ok", "error": "result.error"}
_FIELDS = {"lead": "SessionID", "email": "Email", "name": "{{ FirstName }} {{ LastName }}"}


@dataclass(frozen=True)
class Crm:
    """One destination."""

    name: str
    wire: Wire
    faults: Faults
    settings: Mapping[str, Any]
    """The destination's, in the configuration."""
    route: Mapping[str, Any]
    held: Callable[[], Counter[int]]
    """Gives how many records of each lead it holds, by the lead's number."""
    calls: Callable[[], Iterable[Arrival]]

    def fail(self) -> None:
        """Let each call fail, after the write for every second one, until `ail`."""
        self.faults.clear()
        self.faults.share(Fault.answers(503), 0.5)
        self.faults.share(Fault.answers(504, written=True), 1.0)

    def ail(self) -> None:
        """Let a few calls go wrong, each in one of many ways, as over any network in a bad hour."""
        self.faults.clear()
        for share, fault in _FAULTS.values():
            self.faults.share(fault, share)

    def heal(self) -> None:
        """Let all calls go well."""
        self.faults.clear()
        self.wire.heal()


@contextlib.asynccontextmanager
async def crms(seed: int) -> AsyncIterator[tuple[Crm, ...]]:
    """Give four CRMs, up and ailing: what can be doubled in each is another thing.

    A field of the record tells a repetition in the first, which takes batches; an Idempotency-Key alone in the second;
    in HubSpot a note is created beside the contact, and is no upsert; in Salesforce each lead is a record.
    """
    by_field = Sandbox(key="lead", seed=seed)
    by_key = Sandbox(key=None, seed=seed + 1)
    hubspot = HubSpotSandbox(limits=Limits(ten_secondly=1_000_000, daily=10_000_000), seed=seed + 2)
    salesforce = SalesforceSandbox(daily_limit=10_000_000, seed=seed + 3)
    sandboxes: tuple[Sandbox | HubSpotSandbox | SalesforceSandbox, ...] = (by_field, by_key, hubspot, salesforce)
    async with contextlib.AsyncExitStack() as stack:
        for each in sandboxes:
            await stack.enter_async_context(each)
        wires = [
            await stack.enter_async_context(Wire(int(each.origin.rpartition(":")[2]), seed + at))
            for at, each in enumerate(sandboxes)
        ]
        url = [f"http://127.0.0.1:{wire.port}" for wire in wires]
        shared: dict[str, Any] = {"allow_private": True, "timeout": _TIMEOUT, "retry": RETRY}
        batches = {"results": _RESULTS, "batch": {"size": 10}, "timeout": _TIMEOUT}
        account = {"connector": "hubspot", "access_token": hubspot.access_token, "base_url": url[2], **shared}
        # As much as the sandbox's account allows: else the usual limit would be what the run waits for.
        account["rate_limit"] = {"requests": 1_000_000, "per": "10s"}
        # Its tokens name the address to go to: only the calls for a token go over the wire.
        org = {
            "connector": "salesforce",
            "login_url": url[3],
            "client_id": "client",
            "client_secret": "secret",
            **shared,
        }
        made = (
            Crm(
                "by_field",
                wires[0],
                by_field.faults,
                http(f"{url[0]}/contacts", **batches),
                {"fields": _FIELDS},
                lambda: Counter(int(each.fields["lead"]) for each in by_field.records),
                lambda: by_field.ledger,
            ),
            Crm(
                "by_key",
                wires[1],
                by_key.faults,
                # Split, as no reload has to make it.
                http(f"{url[1]}/contacts", idempotency_key="quoted", timeout=_TIMEOUT),
                {"fields": _FIELDS},
                lambda: Counter(int(each.fields["lead"]) for each in by_key.records),
                lambda: by_key.ledger,
            ),
            Crm(
                "hubspot",
                wires[2],
                hubspot.faults,
                account,
                {"fields": {"email": "Email", "lastname": "LastName"}, "remark": _REMARK},
                lambda: Counter(_number(note.properties["hs_note_body"]) for note in hubspot.notes),
                lambda: hubspot.ledger,
            ),
            Crm(
                "salesforce",
                wires[3],
                salesforce.faults,
                org,
                {
                    "object": "Lead",
                    "external_id": "Leadbridge_Id__c",
                    "fields": {"LastName": "LastName", "Email": "Email", "Description": _REMARK},
                },
                lambda: Counter(_number(row.fields["Description"]) for row in salesforce.leads),
                lambda: salesforce.ledger,
            ),
        )
        for crm in made:
            crm.ail()
        yield made


def configuration(made: Iterable[Crm], store: str) -> dict[str, Any]:
    """Give a configuration in which each lead goes to all of them; signatures hold at any age, for the clock jumps."""
    routes = [{"to": crm.name, **crm.route} for crm in made]
    return {
        "store": {"url": store},
        "destinations": {crm.name: dict(crm.settings) for crm in made},
        "chatbots": {"website": chatbot(routes, signature_tolerance="0s")},
    }


def disorder(calls: Iterable[Arrival]) -> list[tuple[str, int, int]]:
    """Give each arrival of a lead after a later one of its contact: the contact, the later lead, the earlier one."""
    newest: dict[str, int] = {}
    wrong = []
    for call in calls:
        document = orjson.loads(call.body)
        for record in document if isinstance(document, list) else [document]:
            contact, number = record["email"], int(record["lead"])
            if number < newest.get(contact, 0):
                wrong.append((contact, newest[contact], number))
            newest[contact] = max(newest.get(contact, 0), number)
    return wrong


def _number(text: str) -> int:
    found = _NUMBER.search(text)
    assert found, f"not written by the program: {text!r}"
    return int(found[1])
