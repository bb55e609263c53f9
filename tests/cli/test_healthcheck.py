"""`leadbridge healthcheck` against a listener on this machine."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli import app


class Listener(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def asked(path: Path, **environ: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["healthcheck", str(path)], env=environ)
    return done.exit_code, done.output


def test_the_address_is_that_of_the_configuration(tmp_path: Path, port: int) -> None:
    (tmp_path / "a.yaml").write_text("server: {admin: '0.0.0.0:${PORT}', admin_token: '${UNSET}'}\nstore: nonsense\n")
    (tmp_path / "b.yaml").write_text("chatbots: [not, a, map]\n")
    assert asked(tmp_path, PORT=str(port)) == (0, f"http://127.0.0.1:{port}/healthz answered 200\n")


def test_a_bridge_that_is_away_or_ill_is_a_finding(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"server: {{admin: '127.0.0.1:{port}'}}\n")
    monkeypatch.setattr(Listener, "status", 503)
    assert asked(file) == (1, f"http://127.0.0.1:{port}/healthz answered 503: `leadbridge doctor` says why\n")
    file.write_text("server: {admin: '[::1]:1'}\n")
    assert asked(file) == (1, "nothing answers at http://[::1]:1/healthz: is `leadbridge serve` running?\n")
    file.write_text("server: {admin: somewhere}\n")
    assert asked(file)[0] == 1
    assert "config.yaml:1:17: server.admin: must be an address and a port" in asked(file)[1]
