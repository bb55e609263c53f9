"""`leadbridge send`."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from bridge.ingress.signature import HEADER, matching_keys, parse_header
from tests.building import SERIAL, lead
from tests.cli.conftest import CONFIGURATION, KEY, OTHER_SERIAL

if TYPE_CHECKING:
    from tests.cli.conftest import Place


@dataclass
class Webhook:
    """Keeps what it is sent."""

    port: int
    answer: bytes = b'{"status":"success"}'
    status: int = 200
    requests: list[tuple[str, str | None, bytes]] = field(default_factory=list)

    @property
    def document(self) -> Any:
        return json.loads(self.requests[-1][2])

    def is_signed(self, key: str) -> bool:
        _, header, body = self.requests[-1]
        signature = parse_header([header or ""])
        assert abs(signature.signed_at - time.time()) < 60
        return matching_keys(signature, body, [key.encode()]) != ()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.requests.append((self.path, self.headers[HEADER], body))
            self.send_response(hook.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(hook.answer)))
            self.end_headers()
            self.wfile.write(hook.answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        hook = Webhook(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield hook
        server.shutdown()
        thread.join()


def listening(place: "Place", webhook: Webhook, host: str = "127.0.0.1") -> None:
    place.configure(place.path.read_text().replace("127.0.0.1:0\n  admin", f"{host}:{webhook.port}\n  admin"))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_sample_is_a_signed_lead_to_the_configured_listener(place: "Place", webhook: Webhook, host: str) -> None:
    listening(place, webhook, host)

    result = place("send")

    assert (result.exit_code, result.stdout) == (0, '200 {"status":"success"}\n')
    assert webhook.requests[0][0] == "/webhook"
    assert webhook.document["SerialNumber"] == SERIAL
    assert webhook.document["Type"] == "Lead"
    assert webhook.is_signed(KEY)


def test_no_two_samples_are_the_same_event(place: "Place", webhook: Webhook) -> None:
    listening(place, webhook)

    place("send")
    place("send")

    (_, _, first), (_, _, second) = webhook.requests
    assert json.loads(first)["SessionID"] != json.loads(second)["SessionID"]


def test_a_file_goes_as_it_is_signed_for_the_chatbot_it_names(place: "Place", webhook: Webhook) -> None:
    place.know_other()
    place.configure(
        place.path.read_text().replace(
            '["${ACME_KEY}"]\n    routes:\n      - {', '["other-key-0123456789"]\n    routes:\n      - {'
        )
    )
    body = json.dumps(lead(SerialNumber=OTHER_SERIAL), indent=4).encode()
    (place.folder / "event.json").write_bytes(body)

    result = place("send", "event.json", "--to", f"http://127.0.0.1:{webhook.port}/webhooks/other")

    assert result.exit_code == 0, result.output
    assert webhook.requests[0][0] == "/webhooks/other"
    assert webhook.requests[0][2] == body
    assert webhook.is_signed("other-key-0123456789")


def test_standard_input_and_a_chosen_chatbot(place: "Place", webhook: Webhook) -> None:
    result = place("send", "-", "--to", f"http://127.0.0.1:{webhook.port}", "--chatbot", "acme", stdin=b"{}")

    assert result.exit_code == 0
    assert webhook.requests[0][0] == "/webhook"
    assert webhook.requests[0][2] == b"{}"
    assert webhook.is_signed(KEY)


def test_one_argument_may_be_the_configuration(place: "Place", webhook: Webhook) -> None:
    elsewhere = place.folder / "elsewhere.yaml"
    place.path.rename(elsewhere)

    result = place("send", "elsewhere.yaml", "--to", f"http://127.0.0.1:{webhook.port}")

    assert result.exit_code == 0, result.output


def test_an_unsigned_chatbot_is_sent_for_without_a_signature(place: "Place", webhook: Webhook) -> None:
    place.configure(CONFIGURATION.replace('signing_keys: ["${ACME_KEY}"]', "insecure_skip_verify: true"))

    place("send", "--to", f"http://127.0.0.1:{webhook.port}")

    assert webhook.requests[0][1] is None


@pytest.mark.parametrize(
    ("status", "answer", "exit_code"),
    [
        (200, b'{"status":"Success: test request received"}', 0),
        (200, b'{"status":"ok"}', 1),
        (401, b'{"status":"error","error":"no"}', 1),
        (503, b"", 1),
        (307, b"", 1),
    ],
)
def test_only_the_two_successes_are_good(
    place: "Place", webhook: Webhook, status: int, answer: bytes, exit_code: int
) -> None:
    webhook.status = status
    webhook.answer = answer

    result = place("send", "--to", f"http://127.0.0.1:{webhook.port}")

    assert result.exit_code == exit_code
    assert result.stdout == f"{status} {answer.decode()}".rstrip() + "\n" or not answer
    assert len(webhook.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chatbot", "amce"], "did you mean `acme`?"),
        (["--to", "127.0.0.1:8080"], "not the URL of a webhook"),
        (["--to", "http://[::1"], "not a URL"),
        (["--to", "http://127.0.0.1:9/webhook"], "is `leadbridge serve` running there?"),
        (["unknown.json"], "abc is not that of a chatbot in the configuration"),
        (["list.json"], "(none) is not that of a chatbot"),
    ],
)
def test_what_cannot_be_sent_says_what_to_do(place: "Place", arguments: list[str], words: str) -> None:
    (place.folder / "unknown.json").write_text('{"SerialNumber": "abc"}')
    (place.folder / "list.json").write_text("[1]")

    result = place("send", *arguments)

    assert result.exit_code == 1
    assert words in result.stderr
    assert not result.stdout


def test_without_a_chatbot_there_is_nobody_to_sign_for(place: "Place") -> None:
    place.configure(CONFIGURATION.split("chatbots:")[0])

    result = place("send")

    assert result.exit_code == 1
    assert "no chatbot to sign for" in result.stderr
