"""`leadbridge init`, and the two commands that it names: `schema` and `connectors`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.cli import inputs
from bridge.config import load

if TYPE_CHECKING:
    from tests.cli.conftest import Place

FLAGS = ("--serial-number", "59001dd7", "--url", "https://crm.example.com/leads")
FILES = {"config.yaml", ".env.example", "config.schema.json"}


def test_flags_say_it_all(place: "Place") -> None:
    result = place("init", "new", "--chatbot", "acme-shop", "--destination", "sales", "--connector", "http", *FLAGS)

    assert result.exit_code == 0, result.output
    assert {each.name for each in (place.folder / "new").iterdir()} == FILES
    assert result.stdout.splitlines()[-3:] == [
        "  cd new && cp .env.example .env    # then fill it in",
        "  set -a; . ./.env; set +a; leadbridge check",
        "  leadbridge serve",
    ]
    config = load(place.folder / "new/config.yaml", {})
    assert config.chatbots["acme-shop"].routes[0].destination == "sales"
    assert config.chatbots["acme-shop"].serial_numbers == ("59001dd7",)


def test_what_it_writes_passes_check_before_and_after_the_secrets_are_set(place: "Place") -> None:
    place.path.unlink()
    assert place("init", *FLAGS).exit_code == 0

    before = place("check")
    names = [line[:-1] for line in Path(".env.example").read_text().splitlines() if line.endswith("=")]
    place.environ |= dict.fromkeys(names, "s0me-real-secret-0123456789")
    after = place("check")

    assert (before.exit_code, before.stdout.count("warning")) == (0, 2)
    assert names == ["WEBSITE_SIGN_KEY", "CRM_TOKEN"]
    assert (after.exit_code, after.stdout.count("warning")) == (0, 0)


def test_without_a_terminal_and_options_it_writes_placeholders_and_names_them(place: "Place") -> None:
    first = place("init", "new")
    second = place("init", "--add", "shop", "new")

    assert (first.exit_code, second.exit_code) == (0, 0)
    for placeholder in ("--serial-number is missing: replace `replace-this-website`", "--url is missing"):
        assert placeholder in first.stderr
    assert "replace-this-shop" in second.stderr
    config = load(place.folder / "new", {})
    assert config.chatbots["website"].serial_numbers == ("replace-this-website",)
    assert config.chatbots["shop"].serial_numbers == ("replace-this-shop",)


def test_a_starter_for_a_crm_keeps_what_it_holds(place: "Place") -> None:
    flags = ("--serial-number", "59001dd7", "--connector", "hubspot")
    assert place("init", "new", *flags).exit_code == 0

    config = load(place.folder / "new/config.yaml", {})
    assert config.chatbots["website"].routes[0].mapping.if_empty == {"lifecyclestage", "hs_lead_status"}
    assert not any("overwrites" in str(each) for each in config.warnings)


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_is_overwritten(place: "Place", name: str) -> None:
    folder = place.folder / "new"
    folder.mkdir()
    (folder / name).write_text("mine")

    result = place("init", "new", *FLAGS)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"new/{name}: there already, and nothing is overwritten")
    assert [each.name for each in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "mine"


def test_in_a_terminal_it_asks_until_the_answer_is_good(place: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "is_interactive", lambda: True)
    answers = ["htpt", "http", "a b", "acme", " ", "0049", "crm.eu", "crm.example.com", "https://crm.example.com/${x}"]

    result = place("init", "new", stdin="\n".join([*answers, ""]))

    assert result.exit_code == 0, result.output
    for shown in (
        "\n  hubspot        Writes",
        "Connector [http]: htpt\nError: `htpt` is none of gohighlevel, google_sheets, http, hubspot, ",
        "(did you mean `http`?)\nConnector [http]: ",
        "Your name for the chatbot [website]: a b\nError: `a b`: a name has letters, ",
        "Error: it is empty; the vendor shows it",
        "Error: `crm.example.com` is not the address of an API; write https://…\nAddress of its API",
    ):
        assert shown in result.output
    config = load(place.folder / "new/config.yaml", {})
    assert config.chatbots["acme"].serial_numbers == ("0049",)
    assert 'url: "https://crm.example.com/$${x}"' in Path("new/config.yaml").read_text()
    assert config.chatbots["acme"].routes[0].destination == "crm.eu"


PRESETS = """
presets:
  chatbots:
    workspace: {signing_keys: ["${SHARED_KEY:-a-shared-key-of-the-workspace}"]}
    whole: {signing_keys: ["${SHARED_KEY:-a-shared-key-of-the-workspace}"], routes: [{use: leads}]}
  routes:
    leads: {to: crm, fields: {email: Email}}
    open: {fields: {email: Email}}
"""


@pytest.mark.parametrize(
    ("options", "expected", "key"),
    [
        ((), "routes:\n      - to: crm\n", True),
        (("--preset", "workspace"), "    use: workspace\n", False),
        (("--preset", "whole"), "    use: whole\n", False),
        (("--preset", "leads"), "    routes: [{use: leads}]\n", True),
        (("--preset", "open", "--destination", "crm"), "    routes: [{use: open, to: crm}]\n", True),
    ],
)
def test_another_chatbot(place: "Place", options: tuple[str, ...], expected: str, *, key: bool) -> None:
    place.path.unlink()
    place("init", "new", *FLAGS)
    Path("new/presets.yaml").write_text(PRESETS)

    added = place("init", "new", "--add", "acme-shop", "--serial-number", "0ff1ce", *options)

    assert added.exit_code == 0, added.output
    text = Path("new/acme-shop.yaml").read_text()
    assert expected in text
    assert ("ACME_SHOP_SIGN_KEY" in text) is key
    (route,) = load(place.folder / "new", {}).chatbots["acme-shop"].routes
    assert route.destination == "crm"


AGENCY = """
presets:
  destinations:
    hubspot: {connector: hubspot, batch: {linger: 500ms}}
    salesforce: {connector: salesforce}
  routes:
    leads: {when: Email or PhoneNumber, fields: {email: Email}}
    keyed: {external_id: Key__c, fields: {LastName: LastName}}
  chatbots: {workspace: {signing_keys: ["${SHARED_KEY:-a-shared-key-of-the-workspace}"]}}
"""


def test_forty_clients_with_accounts_of_their_own_have_eight_lines_each(place: "Place") -> None:
    place.path.unlink()
    Path("presets.yaml").write_text(AGENCY)
    for name, presets in {"client-00": ["workspace"], "client-01": []}.items():
        options = [word for preset in ("leads", "hubspot", *presets) for word in ("--preset", preset)]
        added = place("init", "--add", name, "--serial-number", f"serial-of-{name}", *options)
        assert added.exit_code == 0, added.output
        for number in range(2, 40, 2):  # the others, as the command would write them
            text = Path(f"{name}.yaml").read_text()
            other = f"client-{number + int(name[-1]):02}"
            again = text.replace(name, other).replace(name.upper().replace("-", "_"), other.upper().replace("-", "_"))
            Path(f"{other}.yaml").write_text(again)

    files = list(place.folder.glob("client-*.yaml"))
    checked = place("check", "-c", ".")

    assert len(files) == 40
    assert max(len(file.read_text().splitlines()) for file in files) <= 8
    assert checked.exit_code == 0, checked.output
    assert "Chatbots: 40. Destinations: 40." in checked.stdout


def test_a_destination_with_many_settings_of_its_own_has_a_line_for_each(place: "Place") -> None:
    place.path.unlink()
    Path("presets.yaml").write_text(AGENCY)

    added = place("init", "--add", "acme", "--serial-number", "1", "--preset", "keyed", "--preset", "salesforce")

    assert added.exit_code == 0, added.output
    text = Path("acme.yaml").read_text()
    assert "\n  acme:\n    use: salesforce\n" in text
    assert '\n    client_secret: "${ACME_CLIENT_SECRET:-not-set-see-ACME_CLIENT_SECRET}"\n' in text


def test_a_client_with_an_account_of_its_own_is_a_few_lines(place: "Place") -> None:
    place.path.unlink()
    Path("presets.yaml").write_text(AGENCY)
    names = [word for name in ("workspace", "leads", "hubspot") for word in ("--preset", name)]

    added = place("init", "--add", "acme", "--serial-number", "0ff1ce", *names)

    assert added.exit_code == 0, added.output
    assert "destinations.acme.access_token: warning: uses the default" in added.stdout
    assert Path("acme.yaml").read_text().splitlines() == [
        "# The chatbot acme. Written by `leadbridge init --add`.",
        "destinations:",
        '  acme: {use: hubspot, access_token: "${ACME_TOKEN:-not-set-see-ACME_TOKEN}"}',
        "chatbots:",
        "  acme:",
        "    use: workspace",
        "    serial_number: 0ff1ce  # `SerialNumber` in the vendor's events",
        "    routes: [{use: leads, to: acme}]",
    ]
    again = place("init", "--add", "acme2", "--serial-number", "1", *names, "--destination", "acme")
    assert "there is a destination acme already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("new", "--add", "website", "--serial-number", "1"), 1, "there is a chatbot website already"),
        (
            ("new", "--add", "b", "--serial-number", "1", "--preset", "lead"),
            1,
            "the configuration has: leads, open, workspace, whole",
        ),
        (("none", "--add", "b"), 1, "has no configuration yet"),
        (("new", "--add", "a b"), 2, "--add"),
        (("new", "--preset", "leads"), 2, "--preset goes with --add"),
    ],
)
def test_another_chatbot_that_cannot_be(place: "Place", arguments: tuple[str, ...], status: int, message: str) -> None:
    place("init", "new", *FLAGS)
    Path("new/presets.yaml").write_text(PRESETS)

    result = place("init", *arguments)

    assert result.exit_code == status
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--chatbot", "a b", *FLAGS), 2, "--chatbot: `a b`"),
        (("--serial-number", " ", *FLAGS[2:]), 2, "--serial-number: it is empty"),
        (("--connector", "htpt", *FLAGS), 2, "did you mean `http`?"),
        (("--serial-number", "x", "--url", "ftp://crm.example.com"), 2, "is not the address of an API"),
    ],
)
def test_what_cannot_be_is_told(place: "Place", arguments: tuple[str, ...], status: int, told: str) -> None:
    result = place("init", "new", *arguments)

    assert result.exit_code == status, result.output
    assert told in " ".join(result.stderr.split())
    assert not (place.folder / "new").exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/leads",
        "http://localhost:9000",
        "http://crm.example.com/api",
        "https://10.0.0.1/leads",
        "https://[::1]:9000/leads",
        "https://localhost/leads",
        "https://crm.example.com/api",
    ],
)
def test_a_plain_or_private_address_passes_check_as_it_stands(place: "Place", url: str) -> None:
    place.path.unlink()
    written = place("init", "--serial-number", "x", "--url", url)
    checked = place("check")

    assert (written.exit_code, checked.exit_code) == (0, 0), written.output + checked.output
    text = Path("config.yaml").read_text()
    assert ("\n    allow_private: true\n" in text) is (url != "https://crm.example.com/api")


@pytest.mark.filterwarnings("ignore:.(imghdr|cgi). is deprecated:DeprecationWarning")  # modules that Apprise loads
@pytest.mark.parametrize("connector", ["gohighlevel", "google_sheets", "hubspot", "notify", "pipedrive", "salesforce"])
def test_the_starter_of_each_connector_passes_check_with_the_shortest_names(place: "Place", connector: str) -> None:
    place.path.unlink()
    names = ("--chatbot", "a", "--destination", "b", "--serial-number", "1")
    written = place("init", "--connector", connector, *names)
    checked = place("check")

    assert (written.exit_code, checked.exit_code) == (0, 0), written.output + checked.output


def test_what_the_connector_refuses_is_told_and_left_to_be_corrected(place: "Place") -> None:
    result = place("init", "new", "--serial-number", "x", "--url", "http://169.254.169.254/")

    assert result.exit_code == 1
    assert "new/config.yaml:" in result.stderr
    assert "run `leadbridge check`" in result.stderr


def test_the_schema_is_json(place: "Place") -> None:
    result = place("schema")

    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "http" in str(schema["$defs"]["DestinationPart"]["properties"]["connector"])


def test_the_schema_knows_plugins(place: "Place") -> None:
    (place.folder / "plugins").mkdir()
    (place.folder / "plugins/names.py").write_text(
        "from bridge.mapping.plugin_api import transform\n\n@transform\n"
        "def initials(value: str) -> str:\n    return value[0]\n"
    )
    assert "initials" in place("schema", "--plugins", "plugins").stdout
    assert place("schema", "--plugins", "nowhere").exit_code == 1


def test_connectors_are_listed(place: "Place") -> None:
    (http,) = [each for each in place.rows("connectors", "list") if each["name"] == "http"]
    assert http["does"].startswith("Writes records into any HTTP API")
    assert "http" in place("connectors", "list").stdout


def test_the_settings_of_a_connector_are_shown(place: "Place") -> None:
    shown = json.loads(place("connectors", "show", "http", "--json").stdout)
    settings = {each["setting"]: each for each in shown["destination"]}
    assert settings["url"]["default"] == "required"
    assert settings["auth.bearer"]["meaning"] == "Token for Authorization: Bearer …."
    assert "connector" not in settings
    assert shown["route"] == []
    several = json.loads(place("connectors", "show", "hubspot", "http", "--json").stdout)
    assert [each["name"] for each in several] == ["hubspot", "http"]
    text = place("connectors", "show", "http").stdout
    assert "auth.oauth2.client_id" in text
    assert "no settings of its own" in text


def test_a_connector_that_is_not_there(place: "Place") -> None:
    result = place("connectors", "show", "htp")
    assert result.exit_code == 1
    assert result.stderr == "there is no connector `htp` (did you mean `http`?)\n"
