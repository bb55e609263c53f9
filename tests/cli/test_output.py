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

from bridge.cli import output
from tests.building import lead
from tests.cli.conftest import SECRET

if TYPE_CHECKING:
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

    assert re.search("\x1b\\[31mdead *\x1b", shown)
    assert re.search("\x1b\\[32mdelivered *\x1b", shown)


def test_a_pipe_gets_aligned_text(filled: "Place") -> None:
    lines = filled("deliveries", "list").stdout.splitlines()

    assert lines[0].startswith("ID  STATE      CHATBOT  DESTINATION  EVENT")
    assert lines[3].startswith("3   dead       acme     crm          00")
    assert lines[3].endswith("refused")
    assert "\x1b" not in "".join(lines)


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
