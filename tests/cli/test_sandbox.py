"""`leadbridge sandbox` as a process of its own: what it prints is a destination that works."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from bridge.cli.sandbox import app
from bridge.config import load
from bridge.errors import OperatorError
from tests.building import SERIAL

if TYPE_CHECKING:
    from tests.cli.conftest import Place

ROUTES = {
    "hubspot": {"to": "hubspot", "fields": {"email": "Email"}},
    "salesforce": {"to": "salesforce", "external_id": "Leadbridge_Id__c", "fields": {"Email": "Email"}},
}


_PROGRAM = """
import signal
# Whoever runs the tests in the background has them ignore Ctrl-C, and they would hand that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
from bridge.cli.sandbox import app
app()
"""


class Sandbox:
    """A running `leadbridge sandbox`."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            # Unbuffered, so that what it prints is there while it still runs.
            [sys.executable, "-u", "-c", _PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def printed(self) -> str:
        """Read what it prints until there is a whole destination."""
        assert self.process.stdout is not None
        lines: list[str] = []
        while "allow_private" not in (lines[-1] if lines else ""):
            lines.append(self.process.stdout.readline())
            assert lines[-1], f"it ended: {''.join(lines)}"
        return "".join(lines)

    def end(self) -> str:
        """End it as Ctrl-C does; gives what else it printed."""
        self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate()
        assert not errors
        assert self.process.returncode == 0
        return output


@contextmanager
def serving(*arguments: str) -> Iterator[Sandbox]:
    sandbox = Sandbox(*arguments)
    limit = threading.Timer(60.0, sandbox.process.kill)
    limit.start()
    try:
        yield sandbox
    finally:
        limit.cancel()
        sandbox.process.kill()
        sandbox.process.communicate()


@pytest.mark.parametrize("crm", ROUTES)
def test_what_it_prints_is_a_destination_that_is_asked_and_well(place: "Place", crm: str) -> None:
    with serving(crm) as sandbox:
        head, printed = sandbox.printed().split("\n\n", 1)
        document: dict[str, Any] = yaml.safe_load(printed)
        chatbot = {"serial_number": SERIAL, "signing_keys": ["${ACME_KEY}"], "routes": [ROUTES[crm]]}
        place.configure(json.dumps({**document, "chatbots": {"acme": chatbot}}))
        load(place.path, place.environ)
        checked = place("check", "--online")
        last = sandbox.end()
    assert f"of {crm} listens on http://127.0.0.1:" in head
    assert checked.exit_code == 0, checked.output
    assert " error: " not in checked.output
    assert " calls came. It held 0 " in last


def test_it_fails_as_often_as_it_is_told(place: "Place") -> None:
    with serving("hubspot", "--fail", "100") as sandbox:
        _, printed = sandbox.printed().split("\n\n", 1)
        chatbot = {"serial_number": SERIAL, "signing_keys": ["${ACME_KEY}"], "routes": [ROUTES["hubspot"]]}
        place.configure(json.dumps({**yaml.safe_load(printed), "chatbots": {"acme": chatbot}}))
        checked = place("check", "--online")
    assert "503" in checked.output


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(OperatorError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            CliRunner().invoke(app, ["salesforce", "--port", port], catch_exceptions=False)
