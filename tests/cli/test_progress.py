"""Work that takes long has a line on the terminal, and none in a pipe."""

import io
import os
import pty
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from bridge.cli import output

if TYPE_CHECKING:
    from tests.cli.conftest import Place


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def error_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in place of standard error, in the test itself: pytest puts its own there before each phase."""
    made = Terminal()
    monkeypatch.setattr("sys.stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    return made


def in_terminal(place: "Place", *arguments: str) -> str:
    """Run the program with a terminal as its standard error, and return what it wrote there."""
    leader, follower = pty.openpty()
    environ = {**os.environ, **place.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "bridge.cli", *arguments]
    done = subprocess.run(command, stderr=follower, stdout=subprocess.PIPE, cwd=place.folder, env=environ, check=False)
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert done.returncode == 0, shown
    return shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("db", "migrate"), "bringing the store to revision"),
        (("db", "check"), "reading the whole store"),
    ],
)
def test_a_command_that_reads_the_whole_store_shows_a_line(
    place: "Place", arguments: tuple[str, ...], line: str
) -> None:
    assert place("db", "migrate").exit_code == 0
    assert line in in_terminal(place, *arguments)


def test_a_line_for_work_that_is_mostly_short_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = error_terminal(monkeypatch)
    with output.waiting("short", after=60):
        pass
    assert terminal.getvalue() == ""
    with output.waiting("long", after=0.01):
        end = time.monotonic() + 10
        while "long" not in terminal.getvalue() and time.monotonic() < end:
            time.sleep(0.005)
    assert "long" in terminal.getvalue()


def test_work_inside_other_work_shows_no_second_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = error_terminal(monkeypatch)
    with output.waiting("outer"), output.waiting("inner") as show:
        show("inner still")
    with output.waiting("afterwards"):
        pass
    assert "inner" not in terminal.getvalue()
    assert "afterwards" in terminal.getvalue()
