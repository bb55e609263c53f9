"""`leadbridge serve` as a process of its own, and the other commands beside it."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.cli.conftest import CONFIGURATION, KEY, SECRET, states

if TYPE_CHECKING:
    from tests.cli.conftest import Place

PATIENCE = 60.0
"""Seconds after which a process that does not say what is waited for is ended, and the test with it."""


class Serving:
    """A running `serve`, and its log."""

    def __init__(self, place: "Place") -> None:
        environ = {**os.environ, **place.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge.cli", "serve"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            cwd=place.folder,
        )
        self.lines: list[dict[str, Any]] = []
        self.limit = threading.Timer(PATIENCE, self.process.kill)
        self.limit.start()

    def until(self, event: str, **values: object) -> dict[str, Any]:
        """Read the log up to a line of this event with these values."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event and values.items() <= self.lines[-1].items():
                return self.lines[-1]
        raise AssertionError(f"the log ended without {event}: {self.lines}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.limit.cancel()
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def serving(place: "Place") -> Iterator[Serving]:
    with Serving(place) as serving:
        yield serving


@pytest.mark.thorough
def test_the_commands_work_beside_it_and_it_notices_what_they_change(place: "Place", serving: Serving) -> None:
    listen = serving.until("ready")["listen"]
    place("lanes", "pause", "crm")

    sent = place("send", "--to", f"http://{listen}")
    assert (sent.exit_code, sent.stdout) == (0, '200 {"status":"success"}\n')
    assert states(place.rows("deliveries", "list")) == {1: "pending"}
    lanes = {row["id"]: row for row in place.rows("lanes", "list")}
    assert (lanes["crm"]["state"], lanes["mail"]["state"]) == ("paused", "running")
    assert lanes["crm"]["owner"].split(":")[1] == str(serving.process.pid)

    # Nothing listens at the destination: the lane tries once it is resumed, and pauses by itself.
    place("lanes", "resume", "crm")
    assert serving.until("attempt", delivery=1)["reason"] == "unreachable"
    assert serving.stop() == 0
    assert place.rows("deliveries", "list")[0]["tries"] == 1
    log = json.dumps(serving.lines)
    assert SECRET not in log
    assert KEY not in log


def test_what_cannot_be_served_is_one_line(place: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    # Inside this process: the log of the tests that follow is to stay as it is.
    monkeypatch.setattr("bridge.log.configure", lambda: None)
    place.configure(CONFIGURATION.replace("sqlite:///leadbridge.db", "sqlite:///nowhere/leadbridge.db"))

    result = place("serve")

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "folder" in result.stderr


@pytest.mark.thorough
def test_a_second_one_is_refused_by_name(place: "Place", serving: Serving) -> None:
    serving.until("ready")

    with Serving(place) as second:
        assert second.process.wait(PATIENCE) == 1
        assert second.process.stderr
        error = second.process.stderr.read().decode()

    assert f"another leadbridge (process {serving.process.pid}) serves this store" in error
    assert len(error.splitlines()) == 1
    assert serving.stop() == 0


@pytest.mark.thorough
def test_warnings_are_shown_and_it_starts(place: "Place") -> None:
    place.configure(CONFIGURATION.replace("${TOKEN}", "${TOKEN:-default-token}"))
    del place.environ["TOKEN"]

    with Serving(place) as serving:
        serving.until("ready")
        assert serving.stop() == 0
        assert serving.process.stderr
        assert b"destinations.crm.auth.bearer: warning: " in serving.process.stderr.read()


@pytest.mark.thorough
def test_signals_are_taken_from_the_beginning(place: "Place") -> None:
    """SIGHUP kills, and SIGTERM is ignored by the first process of a container, unless somebody handles them."""
    with Serving(place) as hurried:
        _until_handled(hurried, signal.SIGHUP)
        hurried.process.send_signal(signal.SIGHUP)
        hurried.until("ready")
        assert "reloaded" in {line["event"] for line in hurried.lines} or hurried.until("reloaded")
        assert hurried.stop() == 0
    with Serving(place) as stopped:
        _until_handled(stopped, signal.SIGTERM)
        assert stopped.stop() == 0
        assert stopped.process.stdout
        assert stopped.process.stdout.read() == b"", "it was up already: this shows nothing"


def _until_handled(serving: Serving, number: signal.Signals) -> None:
    """Wait until the process has a handler for a signal: the kernel says so, in a mask."""
    status = Path(f"/proc/{serving.process.pid}/status")
    while serving.process.poll() is None:
        (caught,) = [line for line in status.read_text().splitlines() if line.startswith("SigCgt:")]
        if int(caught.split()[1], 16) >> (number - 1) & 1:
            return
    raise AssertionError("it ended before")
