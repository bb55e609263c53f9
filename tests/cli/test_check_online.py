"""`leadbridge check --online`: the destinations are asked, and what they say points to the line of the mapping."""

import asyncio
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from bridge.config import plugins
from bridge.operations import probe
from connectors.base import Finding, MappedRoute, Severity
from connectors.google_sheets import GoogleSheetsConnector
from connectors.http import HttpConnector
from connectors.hubspot import HubSpotConnector
from connectors.salesforce import SalesforceConnector
from connectors.testing import HubSpotSandbox, SalesforceSandbox, Sandbox
from tests.building import SERIAL
from tests.cli.fields_crm import FieldsConnector, serving
from tests.config.conftest import CrmConnector, Entry
from tests.connectors.google_sheets.test_google_sheets import key_json, sheet_fake

if TYPE_CHECKING:
    from typer.testing import Result

    from tests.cli.conftest import Place

TOKEN = "the-token-of-the-crm-9876"
TOP = f"""\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
chatbots:
  acme:
    serial_number: {SERIAL}
    signing_keys: ["${{ACME_KEY}}"]
    routes:
"""
GOOD = """\
      - to: crm
        fields:
          email: {from: Email, required: true}
          lastname: {from: LastName, transform: [{truncate: 20}], default: unknown}
          company: {value: Acme}
"""
BAD = """\
      - to: crm
        fields:
          email: {from: Email, required: true}
          lastname: LastName
          created: CreateTime
          mial: Email
          phone: "{{ PhoneNumber | truncate(50) }}"
          session: SessionID
          score: Content
          source: {value: internet}
          stage: {from: Type, lookup: {Lead: new, Appointment: met}}
          mood: {from: Content, default: good}
      - to: crm
        object: leed
        fields: {email: Email}
"""


class Faulty(CrmConnector):
    """Fails in the way that its greeting asks for."""

    async def probe(self, wanted: Sequence[MappedRoute]) -> Sequence[Finding]:
        how = self.settings.greeting or ""
        if how == "raises":
            raise ValueError(self.settings.url)
        if how == "hangs":
            await asyncio.sleep(60)
        if how == "cancels":
            raise asyncio.CancelledError
        answers: dict[str, Any] = {
            "none": None,
            "words": ["oh no"],
            "leaks": [Finding(Severity.WARNING, f"the token\n{TOKEN} is odd", setting=("token",))],
            "astray": [Finding(Severity.ERROR, "is wrong", route=7, field="email")],
            "route": [Finding(Severity.WARNING, "is odd", route=0)],
            "empty": [],
        }
        return answers[how]  # type: ignore[no-any-return]  # some of them are no findings: that is the fault

    async def close(self) -> None:
        if self.settings.mode == "sandbox":
            raise OSError("cannot close")


@pytest.fixture(autouse=True)
def connectors(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"http": HttpConnector, "fields": FieldsConnector, "faulty": Faulty, "plain": CrmConnector}
    monkeypatch.setattr(plugins, "connector_entries", lambda: {name: Entry(name, kind) for name, kind in kinds.items()})
    monkeypatch.setattr(FieldsConnector, "closed", 0)


def faulty(place: "Place", *hows: str, **more: str) -> None:
    """Configure destinations whose probes fail in these ways."""
    settings = "".join(f", {name}: {value}" for name, value in more.items())
    text = TOP + "".join(f"      - {{to: {how}, fields: {{email: Email}}}}\n" for how in hows) + "destinations:\n"
    for how in hows:
        own = f'url: "https://x.example", token: "${{TOKEN}}", greeting: {how}{settings}'
        text += f"  {how}: {{connector: faulty, {own}}}\n"
    place.configure(text)


async def online(place: "Place", *arguments: str) -> "Result":
    """Run the command beside the servers of this loop."""
    return await asyncio.to_thread(place, "check", "--online", *arguments)


def fields(url: str, routes: str) -> str:
    return f'{TOP}{routes}destinations:\n  crm:\n    connector: fields\n    url: "{url}"\n    token: ${{TOKEN}}\n'


async def test_a_mapping_that_fits(place: "Place") -> None:
    async with serving(TOKEN) as crm:
        place.configure(fields(crm.url, GOOD))
        result = await online(place)

    assert result.stdout.splitlines() == [
        "crm: reachable, credentials accepted",
        "config.yaml: good. Chatbots: acme (1 route). Destinations: crm (fields).",
    ]
    assert (result.exit_code, crm.requests, FieldsConnector.closed) == (0, ["GET /fields"], 1)


SHARED = """\
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0"}
presets:
  destinations:
    crm: {connector: fields, token: "${TOKEN}"}
  routes:
    leads:
      fields: {email: {from: Email, required: true}, lastname: {value: A}, company: {value: Acme}, mial: Email}
"""


def with_accounts(urls: dict[str, str], **own: str) -> str:
    """Return a configuration with a chatbot and a destination for each account, all of the same presets."""
    text = SHARED + "destinations:\n" + "".join(f'  {name}: {{use: crm, url: "{url}"}}\n' for name, url in urls.items())
    text += "chatbots:\n"
    for name in urls:
        text += f'  {name}:\n    serial_number: {name}\n    signing_keys: ["${{ACME_KEY}}"]\n'
        text += f"    routes: [{{use: leads, to: {name}{own.get(name, '')}}}]\n"
    return text


async def test_a_finding_in_a_preset_is_shown_once(place: "Place") -> None:
    async with serving(TOKEN) as one, serving(TOKEN) as two, serving(TOKEN) as three:
        accounts = {"one": one.url, "two": two.url, "three": three.url}
        place.configure(with_accounts(accounts, three=", fields: {mial: null}"))
        some = await online(place)
        place.configure(with_accounts(accounts))
        every = await online(place)
        as_json = json.loads((await online(place, "--json")).stdout)

    path = "presets.routes.leads.fields.mial"
    finding = f"config.yaml:7:100: {path}: there is no such field (did you mean `email`?)"
    assert some.stdout.splitlines() == [
        f"{finding} (used by 2 destinations)",
        "three: reachable, credentials accepted",
    ]
    assert every.stdout.splitlines() == [f"{finding} (used by 3 destinations)"]
    assert [each["path"] for each in as_json] == [path]
    assert every.exit_code == 1


async def test_a_finding_in_a_preset_that_some_accounts_have_names_them(place: "Place") -> None:
    async with serving(TOKEN) as one, serving(TOKEN) as two, serving(TOKEN) as three:
        place.configure(
            with_accounts({"one": one.url, "two": two.url, "three": three.url}).replace(", mial: Email", "")
        )
        two.scopes = ("read",)
        single = await online(place)
        three.scopes = ("read",)
        some = await online(place)

    said = "the token lacks the scope `write`; add it"
    assert single.stdout.splitlines()[0] == f"config.yaml:4:37: destinations.two.token: {said}"
    finding = f"config.yaml:4:37: presets.destinations.crm.token: {said}"
    assert some.stdout.splitlines() == [
        f"{finding} (in 2 of the 3 destinations that use it: two, three)",
        "one: reachable, credentials accepted",
    ]


async def test_every_kind_of_finding_points_to_its_line(place: "Place") -> None:
    async with serving(TOKEN) as crm:
        crm.scopes = ("read",)
        place.configure(fields(crm.url, BAD))
        result = await online(place)

    route = "chatbots.acme.routes[0].fields"
    assert result.stdout.splitlines() == [
        f"config.yaml:8:9: {route}.company: is missing: each contact must have it",
        f"config.yaml:10:11: {route}.lastname: warning: each contact must have it: add a default",
        f"config.yaml:10:11: {route}.lastname: warning: takes 20 characters: add {{truncate: 20}}",
        f"config.yaml:11:11: {route}.created: cannot be written; remove it",
        f"config.yaml:12:11: {route}.mial: there is no such field (did you mean `email`?)",
        f"config.yaml:13:11: {route}.phone: takes 40 characters, and gets up to 50",
        f"config.yaml:15:11: {route}.score: takes numbers, but always gets text",
        f"config.yaml:16:11: {route}.source: `internet` is none of its options: web, fair",
        f"config.yaml:17:11: {route}.stage: `met` is none of its options: new, open",
        f"config.yaml:18:11: {route}.mood: warning: takes only good: add a lookup",
        "config.yaml:20:17: chatbots.acme.routes[1].object: there is no object `leed`",
        "config.yaml:26:12: destinations.crm.token: the token lacks the scope `write`; add it",
    ]
    assert result.exit_code == 1


async def test_a_token_that_is_refused(place: "Place") -> None:
    async with serving("another") as crm:
        place.configure(fields(crm.url, GOOD))
        result = await online(place)

    assert result.exit_code == 1
    assert result.stdout == "config.yaml:16:12: destinations.crm.token: the token is refused; make another one\n"


async def test_json_holds_notes_too(place: "Place") -> None:
    async with serving(TOKEN) as crm:
        place.configure(fields(crm.url, GOOD))
        good = await online(place, "--json")
        place.configure(fields(crm.url, BAD))
        bad = await online(place, "--json")

    assert good.exit_code == 0
    assert json.loads(good.stdout) == [
        {
            "severity": "note",
            "file": "config.yaml",
            "line": 13,
            "column": 3,
            "path": "destinations.crm",
            "message": "reachable, credentials accepted",
        }
    ]
    assert bad.exit_code == 1
    assert {each["severity"] for each in json.loads(bad.stdout)} == {"error", "warning"}


def test_with_an_error_nobody_is_asked(place: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "probe_all", None)
    place.configure(fields("http://127.0.0.1:9", GOOD.replace("from: Email", "from: Emial")))

    result = place("check", "--online")

    assert result.exit_code == 1
    assert "did you mean `Email`" in result.stdout


def test_warnings_of_both_kinds_stand_in_the_order_of_the_lines(place: "Place") -> None:
    faulty(place, "leaks", "route", "empty")
    place.configure(place.path.read_text() + '  idle: {connector: plain, url: "https://x.example"}\n')

    result = place("check", "--online")

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split(":")[1] for line in lines[:3]] == ["8", "11", "14"]
    assert lines[0].endswith("chatbots.acme.routes[1]: warning: is odd")
    assert lines[1].endswith("destinations.leaks.token: warning: the token *** is odd")
    assert lines[2].endswith("destinations.idle: warning: no route leads to this destination")
    assert lines[3:5] == [
        "empty: reachable, credentials accepted",
        "idle: not checked online: its connector has no probe",
    ]
    assert TOKEN not in result.output


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "failed (ValueError): a fault of the connector"),
        ("cancels", "failed (CancelledError)"),
        ("none", "failed (TypeError)"),
        ("words", "failed (TypeError)"),
        ("astray", "destinations.astray: is wrong"),
        ("hangs", "did not end within 0.1 s; ask again, or raise timeout"),
    ],
)
def test_a_probe_with_a_fault_is_a_finding_and_the_others_go_on(place: "Place", how: str, said: str) -> None:
    faulty(place, how, "empty", timeout="100ms")

    result = place("check", "--online")

    assert result.exit_code == 1
    finding, other = result.stdout.splitlines()
    assert finding.startswith(f"config.yaml:10:3: destinations.{how}: ")
    assert said in finding
    assert other == "empty: reachable, credentials accepted"
    assert "x.example" not in result.stdout


def test_all_together_have_a_limit(place: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TOTAL_SECONDS", 0.1)
    monkeypatch.setattr(probe, "PROBES_AT_ONCE", 1)
    faulty(place, "hangs", "empty")

    result = place("check", "--online")

    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == ["destinations.hangs", "destinations.empty"]
    assert result.stdout.count("all destinations together have 0.1 s") == 2


def test_a_connector_that_cannot_be_closed_is_a_finding(place: "Place") -> None:
    faulty(place, "empty", mode="sandbox")

    result = place("check", "--online")

    assert result.exit_code == 1
    assert "failed (OSError)" in result.stdout


async def test_an_http_destination(place: "Place") -> None:
    from tests.cli.conftest import CONFIGURATION

    async with Sandbox(authorization=f"Bearer {TOKEN}") as crm:
        text = CONFIGURATION.replace("http://127.0.0.1:9/leads", crm.url).replace("http://127.0.0.1:9/mail", crm.url)
        place.configure(text)
        result = await online(place)

    assert result.exit_code == 1
    finding, note = result.stdout.splitlines()
    assert finding.startswith("config.yaml:9:3: destinations.mail.auth: it answered 401: ")
    assert note == "crm: reachable, credentials accepted"
    assert {arrival.method for arrival in crm.ledger} == {"HEAD"}
    assert not crm.records


def test_a_server_that_is_down_is_shown_at_its_url(place: "Place") -> None:
    result = place("check", "--online")

    assert result.exit_code == 1
    assert [line.split(": ")[:2] for line in result.stdout.splitlines()] == [
        ["config.yaml:8:31", "destinations.crm.url"],
        ["config.yaml:9:32", "destinations.mail.url"],
    ]
    assert TOKEN not in result.output


def test_a_terminal_shows_who_has_not_answered_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.cli import output

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with output.waiting() as show:
        show("waiting for [crm]\x1b")

    assert "waiting for [crm]\\u001b" in terminal.getvalue()


def test_without_online_nobody_is_asked(place: "Place") -> None:
    assert place("check").exit_code == 0


SALES = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
destinations:
  hubspot: {{connector: hubspot, access_token: "${{HUBSPOT}}", base_url: "{hubspot}", allow_private: true}}
  salesforce:
    connector: salesforce
    login_url: "{salesforce}"
    client_id: client
    client_secret: "${{SALESFORCE}}"
    allow_private: true
  sheet:
    connector: google_sheets
    service_account: ${{GOOGLE}}
    spreadsheet_id: sheet-1
    base_url: "{sheets}"
    allow_private: true
chatbots:
  acme:
    serial_number: {serial}
    signing_keys: ["${{ACME_KEY}}"]
    routes:
      - to: hubspot
        fields: {{email: Email}}
        owner:
          round_robin:
            - ann@acme.com
            - nobody@acme.com
        deal:
          pipeline: other
          stage: closedwon
      - to: hubspot
        fields: {{email: Email}}
        deal:
          stage: Won
      - to: salesforce
        external_id: Leadbridge_Id__c
        fields: {{LastName: LastName, Company: {{value: Acme, write: create}}}}
        owner: gone@acme.com
        campaign: "701000000000001AAA"
      - to: sheet
        sheet: Leeds
        fields: {{Email: Email}}
"""


async def test_wrong_owners_pipelines_stages_campaigns_and_sheets_are_found_on_their_lines(
    place: "Place", monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"hubspot": HubSpotConnector, "salesforce": SalesforceConnector, "google_sheets": GoogleSheetsConnector}
    monkeypatch.setattr(plugins, "connector_entries", lambda: {name: Entry(name, kind) for name, kind in kinds.items()})
    async with (
        HubSpotSandbox(owners={"ann@acme.com": "11"}) as hubspot,
        SalesforceSandbox() as salesforce,
        sheet_fake() as sheets,
    ):
        key = key_json(f"{sheets.origin}/token")
        place.environ |= {"HUBSPOT": hubspot.access_token or "", "SALESFORCE": "secret", "GOOGLE": key}
        origins = {"hubspot": hubspot.origin, "salesforce": salesforce.origin, "sheets": sheets.origin}
        place.configure(SALES.format(serial=SERIAL, **origins))
        result = await online(place)

    assert result.exit_code == 1
    found = [line.split(":")[1::2] for line in result.stdout.splitlines() if "chatbots" in line]
    assert [(int(at), path.removeprefix(" chatbots.acme.routes")) for at, path, *_ in found] == [
        (26, "[0].owner.round_robin[1]"),
        (28, "[0].deal.pipeline"),
        (33, "[1].deal.stage"),
        (37, "[2].owner.value"),
        (38, "[2].campaign"),
        (40, "[3].sheet"),
    ]
