"""The program under test: `leadbridge serve` as a child process, on a configuration and a store of its own."""

import contextlib
import hashlib
import http.client
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.children import START_SECONDS, STOP_SECONDS, ChildError, Process, program
from tests.benchmarks.leads import KEY, SERIAL

NOWHERE = 9
"""A port where nobody listens."""
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
    def admin(self) -> int:
        """The port of the admin listener."""
        return int(self.settings["server"]["admin"].rpartition(":")[2])

    @property
    def store(self) -> str:
        """The store's URL."""
        return str(self.settings["store"]["url"])

    @property
    def database(self) -> Path:
        """The store's file."""
        return self.folder / "leadbridge.db"


@contextlib.contextmanager
def setup(
    destinations: Mapping[str, int],
    concurrency: int = 10,
    store: str | None = None,
    *,
    chatbots: Mapping[str, Sequence[str]] | None = None,
    admin_token: str | None = None,
    clients: Mapping[str, Sequence[str]] | None = None,
    encryption_key: str | None = None,
) -> Iterator[Setup]:
    """Write a configuration in which every lead goes to all the destinations, given by name and port.

    `store` is the URL of a database; without one the store is embedded, in the configuration's own folder. With
    `chatbots` there are these, each with where its leads go; the leads that are sent are those of `website`. `clients`
    are users who see some chatbots only, each by their token.
    """
    folder = Path(tempfile.mkdtemp(prefix="leadbridge-bench-"))
    try:
        port, admin = _free_ports(2)
        server: dict[str, Any] = {"listen": f"127.0.0.1:{port}", "admin": f"127.0.0.1:{admin}"}
        if admin_token:
            server["admin_token"] = admin_token
        if clients:
            server["users"] = [
                {"name": f"client-{number}", "token": token, "role": "operator", "chatbots": [*theirs]}
                for number, (token, theirs) in enumerate(clients.items())
            ]
        settings = {
            "server": server,
            "store": {
                "url": store or f"sqlite:///{folder / 'leadbridge.db'}",
                "encryption_keys": [encryption_key] if encryption_key else [],
            },
            "destinations": {name: _destination(at, concurrency) for name, at in destinations.items()},
            "chatbots": {
                name: {
                    "serial_number": serial_number(name),
                    "signing_keys": [KEY],
                    "routes": [{"to": target, "fields": FIELDS} for target in targets],
                }
                for name, targets in (chatbots or {"website": tuple(destinations)}).items()
            },
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        yield Setup(folder, port, settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serial_number(chatbot: str) -> str:
    """Give the serial number of a chatbot."""
    return SERIAL if chatbot == "website" else hashlib.sha256(chatbot.encode()).hexdigest()[:32]


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


@contextlib.contextmanager
def launched(made: Setup, command: Sequence[str]) -> Iterator[Process]:
    """Run `command` on the configuration until the context ends, and make sure that it then ends in order."""
    with program([*command, "serve", str(made.config)], made.folder) as process:
        yield process
        process.terminate()
        if process.wait(STOP_SECONDS) != 0:
            raise ChildError(f"the program ended with status {process.returncode}: {_last_log(made)}")


@contextlib.contextmanager
def started(made: Setup, command: Sequence[str]) -> Iterator[Process]:
    """Do the same, and wait until it answers."""
    with launched(made, command) as process:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(made):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ChildError(f"the program does not answer: {_last_log(made)}")
            time.sleep(0.01)
        yield process


def _answers(made: Setup) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", made.port, timeout=START_SECONDS)) as connection:
        try:
            connection.request("GET", "/webhook")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False


def _last_log(made: Setup) -> str:
    return (made.folder / "log").read_text(errors="replace")[-1500:]
