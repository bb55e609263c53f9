"""`leadbridge alerts test`, and the section of the configuration."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bridge.config import ConfigError
from tests.cli.conftest import CONFIGURATION, Place

pytestmark = pytest.mark.filterwarnings("ignore:'(imghdr|cgi)' is deprecated:DeprecationWarning")


@pytest.fixture
def taken() -> Iterator[list[str]]:
    """What a target has taken: its port first, then the texts of the messages."""
    texts: list[str] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.startswith("/bad"):
                self.send_response(403)
            else:
                texts.append(body["message"])
                self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Taking) as server:
        texts.append(str(server.server_port))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield texts
        server.shutdown()
        thread.join()


def configure(place: Place, alerts: str) -> None:
    place.configure(f"{CONFIGURATION}alerts: {alerts}\n")


def test_each_target_gets_a_message(place: Place, taken: list[str]) -> None:
    configure(place, '{to: ["${ONE}", "${TWO}"]}')
    place.environ |= {name: f"json://127.0.0.1:{taken[0]}/{name}" for name in ("ONE", "TWO")}
    result = place("alerts", "test")
    assert (result.exit_code, len(taken)) == (0, 3), result.output
    assert "Nothing is wrong" in taken[1]
    assert result.output.splitlines() == ["alerts.to[0] (json): sent", "alerts.to[1] (json): sent"]


def test_a_target_that_fails_is_a_finding_and_the_others_are_tried(place: Place, taken: list[str]) -> None:
    configure(place, '{to: ["${ONE}", "${TWO}"]}')
    place.environ |= {"ONE": f"json://127.0.0.1:{taken[0]}/bad", "TWO": f"json://127.0.0.1:{taken[0]}/good"}
    result = place("alerts", "test", place.path)
    assert (result.exit_code, len(taken)) == (1, 2)
    assert "alerts.to[0] (json): it was not taken" in result.stderr
    assert "/bad" not in result.output


@pytest.mark.parametrize("section", ["", "alerts: {to: []}", 'alerts: {to: "${NOT_SET:-}"}'])
def test_nobody_to_tell(place: Place, section: str) -> None:
    place.configure(f"{CONFIGURATION}{section}\n")
    result = place("alerts", "test")
    assert result.exit_code == 1
    assert "alerts: {to: [...]}" in result.output


def test_the_settings(place: Place) -> None:
    configure(place, "{to: '${ONE}', oldest: 5m, repeat: 1d}")
    place.environ["ONE"] = "slack://a-secret-token"
    alerts = place.config().alerts
    assert (alerts.to, alerts.oldest, alerts.repeat) == (("slack://a-secret-token",), 300.0, 86_400.0)
    assert "secret" not in repr(place.config())


def test_what_is_no_address_is_an_error_that_does_not_show_it(place: Place) -> None:
    configure(place, '{to: ["${ONE}"], often: 5}')
    place.environ["ONE"] = "a-secret-token"
    with pytest.raises(ConfigError) as caught:
        place.config()
    assert "alerts.often: unknown key" in str(caught.value)
    place.configure(f'{CONFIGURATION}alerts: {{to: ["${{ONE}}"]}}\n')
    with pytest.raises(ConfigError, match=r"alerts.to\[0\]: must be an Apprise URL such as") as caught:
        place.config()
    assert "a-secret" not in str(caught.value)


def test_an_address_in_clear_is_warned_about(place: Place) -> None:
    configure(place, '{to: ["json://127.0.0.1/in-clear"]}')
    assert any("alerts.to[0]" in str(each) and "secret in plain text" in str(each) for each in place.config().warnings)
