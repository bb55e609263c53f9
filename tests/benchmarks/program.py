"""The program under test: `leadbridge serve` as a child process, on a configuration and a store of its own."""

import contextlib
import http.client
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.children import START_SECONDS, ChildError, program
from tests.benchmarks.leads import KEY, SERIAL

FIELDS = {
    "email": "Email",
    "name": "{{ FirstName }} {{ LastName }}",
    "phone": "PhoneNumber",
    "message": "Content",
    "session": "SessionID",
}
"""Five fields of a record, one of them a template."""


def record_of(lead: Mapping[str, Any]) -> dict[str, Any]:
    """Give the record that `FIELDS` makes of a lead."""
    return {
        "email": lead["Email"],
        "name": f"{lead['FirstName']} {lead['LastName']}",
        "phone": lead["PhoneNumber"],
        "message": lead["Content"],
        "session": lead["SessionID"],
    }


@dataclass(frozen=True, slots=True)
class Setup:
    """A folder with a configuration: each start from it uses the same store."""

    folder: Path
    port: int
    settings: Mapping[str, Any]

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "config.yaml"

    @property
    def database(self) -> Path:
        """The store's file."""
        return self.folder / "leadbridge.db"


@contextlib.contextmanager
def setup(destinations: Mapping[str, int], concurrency: int = 10) -> Iterator[Setup]:
    """Write a configuration in which every lead goes to all the destinations, given by name and port."""
    folder = Path(tempfile.mkdtemp(prefix="leadbridge-bench-"))
    try:
        port, admin = _free_ports(2)
        settings = {
            "server": {"listen": f"127.0.0.1:{port}", "admin": f"127.0.0.1:{admin}"},
            "store": {"url": f"sqlite:///{folder / 'leadbridge.db'}"},
            "destinations": {name: _destination(at, concurrency) for name, at in destinations.items()},
            "chatbots": {
                "website": {
                    "serial_number": SERIAL,
                    "signing_keys": [KEY],
                    "routes": [{"to": name, "fields": FIELDS} for name in destinations],
                }
            },
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        yield Setup(folder, port, settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _destination(port: int, concurrency: int) -> dict[str, Any]:
    return {
        "connector": "http",
        "url": f"http://127.0.0.1:{port}/leads",
        "allow_private": True,
        "concurrency": concurrency,
    }


def _free_ports(count: int) -> Sequence[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def command(config: Path) -> Sequence[str]:
    """Give the command that serves a configuration: the one that is installed beside this Python."""
    installed = Path(sys.executable).with_name("leadbridge")
    if not installed.exists():
        raise ChildError(f"{installed} is not there: install the project first")
    return [str(installed), "serve", str(config)]


@contextlib.contextmanager
def started(made: Setup, wrapper: Sequence[str] = ()) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the program until the context ends, and make sure that it then ended in order."""
    with program([*wrapper, *command(made.config)], made.folder) as process:
        _wait_for_answer(made, process)
        yield process
        process.terminate()
        if process.wait(30) != 0:
            raise ChildError(f"the program ended with status {process.returncode}: {last_log(made)}")


def _wait_for_answer(made: Setup, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ChildError(f"the program does not start: {last_log(made)}")
        connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=START_SECONDS)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/webhook")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(0.01)
    raise ChildError(f"the program does not answer: {last_log(made)}")


def last_log(made: Setup) -> str:
    """Give the end of the program's log."""
    return (made.folder / "log").read_text(errors="replace")[-1500:]
