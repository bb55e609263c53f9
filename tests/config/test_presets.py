"""Presets: what is taken, what wins, where mistakes are shown, and what a reload makes of a change."""

import time
from pathlib import Path

import pytest

from bridge.config import Config, ConfigError, load
from bridge.config.diagnostics import Findings
from bridge.config.load import load_placed
from bridge.config.reload import load_files, load_for_use, reload
from bridge.config.yaml_reader import read_yaml

KEY = "a-signing-key-of-good-length"
COMMON = f"""\
presets:
  destinations:
    http: {{connector: http, url: "https://crm.example.com/leads", timeout: 10s}}
  routes:
    leads: {{when: Email, fields: {{email: Email, name: FirstName}}}}
  chatbots:
    workspace: {{signing_keys: [{KEY}]}}
"""


def client(name: str, route: str = "use: leads", more: str = "use: workspace") -> str:
    return (
        f"destinations:\n  {name}-crm: {{use: http, auth: {{bearer: token-of-{name}}}}}\n"
        f"chatbots:\n  {name}:\n    {more}\n    serial_number: serial-of-{name}\n"
        f"    routes: [{{{route}, to: {name}-crm}}]\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "00-common.yaml").write_text(COMMON)
    for number in range(40):
        (tmp_path / f"client-{number:02}.yaml").write_text(client(f"client-{number:02}"))
    return tmp_path


def lines(folder: Path) -> list[str]:
    """Return all findings, positions relative to the folder, without the warnings about the readable tokens."""
    try:
        found: Config | ConfigError = load(folder, {})
        problems: list[str] = []
    except ConfigError as error:
        found, problems = error, [str(each) for each in error.problems]
    shown = [*problems, *(f"warning: {each}" for each in found.warnings if "plain text" not in each.message)]
    return [each.replace(f"{folder}/", "") for each in shown]


def test_a_map_takes_the_keys_of_its_presets(environ: dict[str, str]) -> None:
    config = load(Path(__file__).parent / "good/presets", environ)
    crm, slow = config.destinations["acme-crm"], config.destinations["slow-crm"]
    assert (crm.connector_name, crm.timeout, crm.concurrency) == ("crm", 30, 10)
    assert (crm.rate_limit and crm.rate_limit.requests, slow.rate_limit and slow.rate_limit.requests) == (100, 1)
    assert (slow.timeout, slow.concurrency) == (60, 1)
    acme, other = config.chatbots["acme"], config.chatbots["other"]
    assert acme.signing_keys == other.signing_keys == (environ["ACME_SIGN_KEY"].encode(),)
    assert (acme.signature_tolerance, other.signature_tolerance, other.ack.value) == (300, 300, "queued")
    assert config.chatbot_by_serial == {"acme-1": acme, "59001": acme, "other": other}
    first, second = acme.routes
    variables = {"Email": "a@b.co", "FirstName": "A", "LastName": "B", "PhoneNumber": "1", "Content": ""}
    assert first.mapping.apply(variables) == {"email": "a@b.co", "firstname": "A", "company": "Acme"}
    # The second preset has no last name, but it does not take away that of the first.
    everything = {"email": "a@b.co", "firstname": "A", "lastname": "B", "company": "nobody", "phone": "1"}
    assert second.mapping.apply(variables) == everything
    assert (first.when_source, second.when_source) == ("Email or PhoneNumber", "Email")
    assert first.settings.model_dump() == second.settings.model_dump() == {"object": "contact", "remark": "Content"}
    assert [route.destination for route in other.routes] == ["acme-crm"]


def test_a_value_knows_the_preset_from_which_it_came(environ: dict[str, str]) -> None:
    places = load_placed(Path(__file__).parent / "good/presets", environ)[1]
    for chatbot, at, field, path, line in (
        ("acme", 0, "email", "presets.routes.leads.fields.email", 9),
        ("acme", 0, "company", "chatbots.acme.routes[0].fields.company", 9),
        ("acme", 1, "phone", "presets.routes.with-phone.fields.phone", 10),
        ("acme", 1, "email", "presets.routes.leads.fields.email", 9),
        ("other", 0, "email", "presets.routes.leads.fields.email", 9),
    ):
        found, place = places.origin(("chatbots", chatbot, "routes", at, "fields", field))
        assert (found, place.line) == (path, line)


def test_a_mistake_in_a_preset_is_reported_once_at_the_preset(folder: Path) -> None:
    text = COMMON.replace("10s", "10").replace("FirstName", "FirstNmae").replace("when: Email", 'when: Type == "x"')
    (folder / "00-common.yaml").write_text(text)
    assert lines(folder) == [
        (
            "00-common.yaml:3:76: presets.destinations.http.timeout: must be a duration such as 30s, 5m, 12h or 30d "
            "(used by 40 destinations)"
        ),
        (
            "00-common.yaml:5:19: presets.routes.leads.when: is never true, so no event takes this route: `Type` is "
            "`Lead` or `Appointment` here, spelled exactly so; correct it, or remove the route (used by 40 chatbots)"
        ),
        (
            "00-common.yaml:5:61: presets.routes.leads.fields.name: unknown field `FirstNmae` of the event "
            "(did you mean `FirstName`?); a constant is written {value: FirstNmae} (used by 40 chatbots)"
        ),
    ]


def test_a_warning_in_a_preset_appears_once(folder: Path) -> None:
    text = COMMON.replace(f"signing_keys: [{KEY}]", "insecure_skip_verify: true")
    (folder / "00-common.yaml").write_text(text)
    assert lines(folder) == [
        (
            "warning: 00-common.yaml:7:17: presets.chatbots.workspace.insecure_skip_verify: signatures are not "
            "checked: anybody can send leads (used by 40 chatbots)"
        )
    ]


def test_a_mistake_that_a_preset_makes_for_few_is_reported_at_these(folder: Path) -> None:
    file = folder / "client-07.yaml"
    file.write_text(file.read_text().replace("use: http", "use: http, connector: hubspot"))
    found = lines(folder)
    assert [each.partition(": ")[0] for each in found] == ["client-07.yaml:2:19", "client-07.yaml:2:50"]
    assert found[0].startswith("client-07.yaml:2:19: destinations.client-07-crm.url: unknown key; known here: access_t")
    assert found[0].endswith(" (from presets.destinations.http.url at 00-common.yaml:3:29)")


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("  routes: {a: {use: b}, b: {use: [a]}}", "presets.routes.a.use: these presets use each other: a > b > a"),
        ("  routes: {a: {use: a}}", "presets.routes.a.use: these presets use each other: a > a"),
        ("  routes: {a: 5}", "presets.routes.a: must be a map of settings"),
        ("  routes: {a: {use: leeds}}", "presets.routes.a.use: there is no preset `leeds`; known here: a"),
        ("  routes: {a b: {}}", 'presets.routes."a b": a name has at most 64 letters, digits, `-`, `_` and `.`'),
        ("  route: {a: {}}", "presets.route: unknown key (did you mean `routes`?)"),
        ("  routes: [a]", "presets.routes: must be a map of keys and values"),
        ("  chatbots: {a: {routes: [{use: x, to: y}]}}", "presets.chatbots.a.routes[0].use: there is no preset `x`"),
        ("  routes: {a: {fields: {email: }}}", "presets.routes.a.fields.email: has no value, and there is no field"),
    ],
)
def test_a_preset_that_cannot_be_used_is_one_error(tmp_path: Path, preset: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(f"presets:\n{preset}\n")
    uses = "a" if "a:" in preset and "b: {}" not in preset else "'a b'"
    kind = "chatbots" if "chatbots" in preset else "routes"
    own = f"use: {uses}" if kind == "chatbots" else f"routes: [{{use: {uses}, to: crm}}]"
    (tmp_path / "b.yaml").write_text(
        'destinations:\n  crm: {connector: http, url: "https://crm.example.com"}\n'
        f"chatbots:\n  x: {{serial_number: x, signing_keys: [{KEY}], {own}}}\n"
        f"  y: {{serial_number: y, signing_keys: [{KEY}], {own}}}\n"
    )
    found = [each for each in lines(tmp_path) if not each.startswith("warning")]
    assert [each for each in found if message in each] == found[:1], found
    assert all("presets" in each or "no preset" in each for each in found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("use: leads", "use: leeds", "routes[0].use: there is no preset `leeds` (did you mean `leads`?)"),
        ("use: leads", "use: [leads, xyz]", "routes[0].use[1]: there is no preset `xyz`; known here: leads"),
        ("use: leads", "use: [[leads]]", "routes[0].use: must be the name of a preset, or a list of names"),
        ("use: leads", "use: ", "routes[0].use: must be the name of a preset, or a list of names"),
        ("use: leads", f"use: {['leads'] * 21}", "routes[0].use: names more than 20 presets"),
        (
            "use: leads",
            "use: leads, fields: {emial: }",
            (
                "routes[0].fields.emial: has no value, and there is no field `emial` of a preset to remove "
                "(did you mean `email`?)"
            ),
        ),
        ("use: workspace", "use: http", "chatbots.client-00.use: there is no preset `http`; known here: workspace"),
    ],
)
def test_a_wrong_use_is_one_error_at_its_place(folder: Path, old: str, new: str, message: str) -> None:
    file = folder / "client-00.yaml"
    file.write_text(file.read_text().replace(old, new))
    (found,) = lines(folder)
    assert found.startswith("client-00.yaml:")
    assert message in found


def test_a_preset_that_nothing_uses_is_a_warning(folder: Path) -> None:
    with (folder / "00-common.yaml").open("a") as file:
        file.write("    idle: {signing_keys: []}\n    base: {ack: relayed}\n    over: {use: base}\n")
    assert lines(folder) == [
        f"warning: 00-common.yaml:{line}:5: presets.chatbots.{name}: nothing uses this preset, so its settings are not "
        "checked: write `use: ` with its name, or remove it"
        for line, name in ((8, "idle"), (10, "over"))
    ]


def test_a_name_given_twice_is_an_error_that_names_both_places(folder: Path) -> None:
    (folder / "other.yaml").write_text("presets: {routes: {leads: {}}}\n")
    assert lines(folder) == ["other.yaml:1:20: presets.routes.leads: given twice: the first is at 00-common.yaml:5:5"]


def test_a_preset_counts_once_in_the_limit_of_a_file(tmp_path: Path) -> None:
    """A thousand routes of 100 fields are 300,000 values when they are written out."""
    fields = ", ".join(f"f{n}: Email" for n in range(100))
    text = COMMON.replace("email: Email", fields) + "destinations: {crm: {use: http}}\nchatbots:\n"
    text += "".join(
        f"  bot-{n}: {{use: workspace, serial_number: s{n}, routes: [{{use: leads, to: crm}}]}}\n" for n in range(1_000)
    )
    assert read_yaml("a.yaml", text, Findings()) is not None
    (tmp_path / "a.yaml").write_text(text)
    started = time.thread_time()
    config = load(tmp_path, {})
    assert len(config.chatbots["bot-999"].routes[0].mapping.names) == 101
    assert time.thread_time() - started < 3.0


def test_what_all_presets_bring_is_bounded(tmp_path: Path) -> None:
    fields = ", ".join(f"f{n}: Email" for n in range(5_000))
    routes = ", ".join(["{use: leads, to: crm}"] * 5_000)
    (tmp_path / "a.yaml").write_text(
        f"presets: {{routes: {{leads: {{fields: {{{fields}}}}}}}}}\n"
        'destinations: {crm: {connector: http, url: "https://crm.example.com"}}\n'
        f"chatbots: {{a: {{serial_number: a, signing_keys: [{KEY}], routes: [{routes}]}}}}\n"
    )
    started = time.thread_time()
    (found,) = lines(tmp_path)
    assert "more than 200,000 keys are taken from presets" in found
    assert time.thread_time() - started < 6.0


def test_mistakes_in_a_preset_are_looked_for_once(tmp_path: Path) -> None:
    fields = ", ".join(f"f{n}: Emial" for n in range(300))
    routes = ", ".join(["{use: leads, to: crm}"] * 2)
    bots = "".join(f"  b{n}: {{serial_number: s{n}, signing_keys: [{KEY}], routes: [{routes}]}}\n" for n in range(50))
    (tmp_path / "a.yaml").write_text(
        f"presets: {{routes: {{leads: {{fields: {{{fields}}}}}}}}}\n"
        f'destinations: {{crm: {{connector: http, url: "https://crm.example.com"}}}}\nchatbots:\n{bots}'
    )
    started = time.thread_time()
    found = lines(tmp_path)
    assert len(found) == 300
    assert all(each.endswith("(used by 50 chatbots)") for each in found)
    assert time.thread_time() - started < 2.0


def test_a_changed_preset_changes_its_users_and_a_broken_one_stays_as_it_was(folder: Path) -> None:
    config, files = load_files(folder, {})
    before = config.destinations["client-03-crm"]
    (folder / "00-common.yaml").write_text(COMMON.replace("name: FirstName", "name: LastName"))
    config, files = reload(config, files)
    assert config.faults == ()
    values = {"Email": "a@b.co", "LastName": "B", "FirstName": "A"}
    names = {chatbot.routes[0].mapping.apply(values)["name"] for chatbot in config.chatbots.values()}
    assert (names, len(config.chatbots)) == ({"B"}, 40)
    assert config.destinations["client-03-crm"] is before
    (folder / "00-common.yaml").write_text(COMMON.replace("timeout: 10s", "timeout: 1m"))
    config, files = reload(config, files)
    assert {each.timeout for each in config.destinations.values()} == {60}
    (folder / "00-common.yaml").write_text(COMMON.replace("name: FirstName", "name: FristName"))
    broken, _ = reload(config, files)
    assert [each.file for each in broken.faults] == [str(folder / "00-common.yaml")]
    assert broken.chatbots.keys() == config.chatbots.keys()


def test_one_client_that_misuses_a_preset_does_not_hold_up_the_others(folder: Path) -> None:
    config, files = load_files(folder, {})
    file = folder / "client-07.yaml"
    file.write_text(file.read_text().replace("use: http", "use: http, connector: hubspot"))
    (folder / "client-08.yaml").write_text(client("client-08", "use: leads, fields: {phone: PhoneNumber}"))
    made, _ = reload(config, files)
    assert [(each.file, each.in_use) for each in made.faults] == [(str(file), True)]
    assert "phone" in made.chatbots["client-08"].routes[0].mapping.names
    started, _ = load_for_use(folder, {}, lambda _: {})
    assert [(each.file, each.in_use) for each in started.faults] == [(str(file), False)]
