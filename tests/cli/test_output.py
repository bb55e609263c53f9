"""What is written, to a pipe and to a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from rich.cells import cell_len

from bridge.cli import output
from bridge.store.sqlite import SqliteDriver
from tests.building import lead
from tests.cli.conftest import SECRET

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Place


def in_a_terminal(place: "Place", *arguments: str) -> str:
    """Run a command as a child whose output is a terminal."""
    leader, follower = pty.openpty()
    environ = {**os.environ, **place.environ, "COLUMNS": "160", "TERM": "xterm-256color"}
    environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", *arguments],
        stdout=follower,
        stderr=follower,
        env=environ,
        cwd=place.folder,
    ):
        os.close(follower)
        found = b""
        try:
            while chunk := os.read(leader, 65536):
                found += chunk
        except OSError:
            # Linux's way to say that the other side has closed the terminal.
            pass
    os.close(leader)
    return found.decode()


def test_a_terminal_gets_a_table_with_colours(filled: "Place") -> None:
    shown = in_a_terminal(filled, "deliveries", "list")

    assert "David G. · p…@example.com" in shown
    assert re.search("\x1b\\[31mdead *\x1b", shown)
    assert re.search("\x1b\\[32mdelivered *\x1b", shown)


def test_no_colours_for_a_user_who_wants_none(filled: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b" not in in_a_terminal(filled, "deliveries", "list")


def test_a_pipe_gets_aligned_text(filled: "Place") -> None:
    lines = filled("deliveries", "list").stdout.splitlines()

    assert lines[0].startswith("ID  STATE      CHATBOT  DESTINATION  EVENT")
    assert lines[3].startswith("3   dead       acme     crm          00")
    assert lines[3].endswith("refused")
    assert "\x1b" not in "".join(lines)
    assert "example.com" not in "".join(lines), "a pipe may be a log"


def test_no_stranger_steers_the_terminal(leadbridge: "Place") -> None:
    (event,) = leadbridge.receive(lead(Content="\x1b[2J\x9b2J\u202egone\r[red]x[/red]", FirstName="\ud800"))

    for result in (leadbridge("events", "show", event), leadbridge("events", "show", event, "--json")):
        assert not {"\x1b", "\x9b", "\r"} & set(result.stdout)
        assert "[red]x[/red]" in result.stdout
    assert json.loads(leadbridge("events", "show", event, "--json").stdout)["payload"]["Content"].startswith(
        "\x1b[2J\x9b"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain — 李雷 😀\n\ttabbed", "plain — 李雷 😀\n\ttabbed"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("a\rb\x7f\x85\u2028", "a\\u000db\\u007f\\u0085\\u2028"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert output.visible(text) == shown


def test_a_cell_with_lines_stays_in_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_rows([{"a": "one\ntwo", "b_at": None}, {"a": True, "b_at": [1, 2]}], ("a", "b_at"), as_json=False)

    assert capsys.readouterr().out.splitlines() == ["A        B", "one two", "yes      1, 2"]


SHORT = "006b056020eee9"
ROW = {
    "id": f"{SHORT}b394dd7440e507c2bb",
    "state": "dead",
    "empty": None,
    "name": "李小明 of the sunny side",
    "received_at": "2026-11-25T09:46:41.250Z",
    "detail": "the answer said that the last name is missing, and that nothing was written",
}


@pytest.mark.parametrize(
    ("width", "columns", "rows"),
    [
        (200, "ID STATE NAME RECEIVED DETAIL", f"{ROW['id']}  dead   李小明 of the sunny side  2026-"),
        (150, "ID STATE NAME RECEIVED DETAIL", f"{SHORT}  dead   李小明 of the sunny side  Nov 25 09:46  the answer"),
        (75, "ID STATE NAME RECEIVED DETAIL", f"{SHORT}  dead   李小明 of the sun…  Nov 25 09:46  the answer said t…"),
        (60, "ID STATE NAME DETAIL", f"{SHORT}  dead   李小明 of the su…  the answer said t…"),
    ],
)
def test_a_row_takes_one_line_of_the_terminal(
    width: int, columns: str, rows: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "_width", lambda: width)
    output.show_rows([ROW], tuple(ROW), as_json=False, spare=("received_at",))

    heading, row = capsys.readouterr().out.splitlines()

    assert cell_len(row) <= width
    assert heading.split() == columns.split()
    assert row.startswith(rows)
    assert row.endswith("…") or width > 100


def test_a_short_id_is_as_long_as_it_must_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "_width", lambda: 30)
    ids = [f"{0:030x}aa", f"{0:030x}ab", f"{0:024x}abcdefab"]

    output.show_rows([{"id": each} for each in ids], ("id",), as_json=False)

    assert "".join(capsys.readouterr().out.split()) == "ID" + "".join(ids)


def test_lists_fit_80_columns(filled: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_width", lambda: 80)
    filled.receive(lead(Email=f"{'an.address.of.sixty.characters' * 2}@example.com", FirstName="Bartholomew" * 6))
    filled("lanes", "pause", "crm", "--reason", "the account is moved to the new owner of the whole company")
    filled("deliveries", "discard", "3")
    for listing in ("events", "deliveries", "lanes", "quarantine", "audit"):
        text = filled(listing, "list").stdout
        assert all(len(line) <= 80 for line in text.splitlines()), text
    for line in filled("reconcile", "--since", "36500d").stdout.splitlines():
        assert len(line) <= 80


def test_no_command_shows_a_secret(filled: "Place") -> None:
    for arguments in (
        ["check"],
        ["lanes", "list", "--json"],
        ["deliveries", "show", "3", "--json"],
        ["events", "list"],
        ["quarantine", "list"],
        ["db", "check"],
        ["lanes", "pause", "nobody"],
    ):
        assert SECRET not in filled(*arguments).output


def test_the_log_is_beside_the_output(filled: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SqliteDriver.engine

    def opening(driver: SqliteDriver) -> "Engine":
        structlog.get_logger().warning("not_listening", again_in=2.0)
        return engine(driver)

    monkeypatch.setattr(SqliteDriver, "engine", opening)
    listed = filled("audit", "list", "--json")
    assert isinstance(json.loads(listed.stdout), list)
    assert "not_listening" in listed.stderr
