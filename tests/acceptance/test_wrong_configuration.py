"""Ten mistakes in three files are ten lines that an editor can jump to; with them nothing is started."""

import re
from pathlib import Path

import pytest

from tests.acceptance.program import Finished, run

FILES = {
    "server.yaml": """\
server:
  listen: 127.0.0.1:99999
  max_bodi: 1MiB
store:
  url: mysql://leadbridge@localhost/leads
""",
    "destinations.yaml": """\
destinations:
  crm:
    connector: htpp
    url: https://crm.example.com/leads
  erp:
    connector: http
    url: https://erp.example.com/leads
    timeout: 30 apples
    auth: {bearer: "${LEADBRIDGE_TEST_NOT_SET}"}
""",
    "chatbots.yaml": """\
chatbots:
  acme:
    serial_number: 59001dd73709417321c58b11693183a2
    signing_keys: ["a-signing-key-of-good-length"]
    signature_tolerance: never
    routes:
      - to: erpp
        fields: {email: Email}
      - to: erp
        when: Type == "Lead
        fields:
          email: Emial
          message: "{{ Content | truncate(500) }}"
""",
}
MISTAKES = {
    ("server.yaml", 2, "server.listen"),
    ("server.yaml", 3, "server.max_bodi"),
    ("server.yaml", 5, "store.url"),
    ("destinations.yaml", 3, "destinations.crm.connector"),
    ("destinations.yaml", 8, "destinations.erp.timeout"),
    ("destinations.yaml", 9, "destinations.erp.auth.bearer"),
    ("chatbots.yaml", 5, "chatbots.acme.signature_tolerance"),
    ("chatbots.yaml", 7, "chatbots.acme.routes[0].to"),
    ("chatbots.yaml", 10, "chatbots.acme.routes[1].when"),
    ("chatbots.yaml", 12, "chatbots.acme.routes[1].fields.email"),
}
LINE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+):(?P<column>\d+): (?P<path>\S+): (?P<message>.+)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "conf"
    made.mkdir()
    for name, text in FILES.items():
        (made / name).write_text(text)
    return made


def errors(text: str) -> list[re.Match[str]]:
    found = [LINE.fullmatch(line) for line in text.splitlines() if ": warning: " not in line]
    assert all(found), f"a line that is not FILE:LINE:COLUMN: PATH: …, in:\n{text}"
    return [each for each in found if each]


async def test_check_names_all_ten_mistakes(folder: Path) -> None:
    done = await run("check", "conf", folder=folder.parent)
    assert done.status == 1, f"exit status {done.status}: {done.output}{done.errors}"
    found = errors(done.output)
    assert {(Path(each["file"]).name, int(each["line"]), each["path"]) for each in found} == MISTAKES
    assert len(found) == 10, done.output
    assert {each["file"] for each in found} == {f"conf/{name}" for name in FILES}, "files are named as they were given"
    by_path = {each["path"]: each["message"] for each in found}
    for path, hint in {
        "server.max_bodi": "max_body",
        "destinations.crm.connector": "http",
        "chatbots.acme.routes[0].to": "erp",
        "chatbots.acme.routes[1].fields.email": "Email",
        "destinations.erp.auth.bearer": "LEADBRIDGE_TEST_NOT_SET",
    }.items():
        assert hint in by_path[path], f"{path}: nothing of {hint}: {by_path[path]}"
    for each in found:
        _check_position(each, folder)


def _check_position(each: re.Match[str], folder: Path) -> None:
    """Check that a line points to a key that is wrong, to a value that is wrong, or to a place inside of one."""
    line = (folder.parent / each["file"]).read_text().splitlines()[int(each["line"]) - 1]
    pointed = line[int(each["column"]) - 1 :]
    key, _, value = line.partition(": ")
    assert pointed.startswith(key.strip(" -")) or (pointed and pointed in value), f"{each[0]} points to: {pointed}"


async def test_a_mistake_does_not_hide_another_one_beside_it(tmp_path: Path) -> None:
    """All errors at once: whoever mends the first must not meet a second one that was there all the time."""
    (tmp_path / "config.yaml").write_text("server:\n  listen: nowhere\n  admin: 0.0.0.0:8081\n")
    done = await run("check", "config.yaml", folder=tmp_path)
    assert {each["path"] for each in errors(done.output)} == {"server.listen", "server.admin_token"}, done.output


async def test_serve_starts_nothing(folder: Path) -> None:
    before = sorted(each.name for each in folder.parent.iterdir())
    done = await run("serve", "conf", folder=folder.parent)
    assert done.status == 1, f"exit status {done.status}: {done.output}{done.errors}"
    assert len(errors(done.errors)) == 10, done.errors
    assert '"ready"' not in done.output
    assert sorted(each.name for each in folder.parent.iterdir()) == before, "something was made"


async def test_wrong_usage_is_told_from_a_finding(tmp_path: Path) -> None:
    def outcome(done: Finished) -> str:
        return f"exit status {done.status}: {done.output}{done.errors}"

    missing = await run("serve", "not-there.yaml", folder=tmp_path)
    assert missing.status == 1, outcome(missing)
    assert "not-there.yaml" in missing.errors
    unknown = await run("serv", folder=tmp_path)
    assert unknown.status == 2, outcome(unknown)
