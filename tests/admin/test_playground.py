"""Trying a route, apart from its page (tests/admin/test_pages.py). Pure."""

from pathlib import Path

import orjson

from bridge.admin.playground import Place, attempt
from tests.building import NOW, lead

MAIN = b"""
server: {admin_token: a-token-of-an-operator}
destinations:
  crm: {connector: http, url: "https://crm.example.com/leads"}
chatbots:
  acme:
    serial_number: 59001dd73709417321c58b11693183a2
    signing_keys: [a-signing-key-of-good-length]
    routes: [{to: crm, fields: {mail: Email}}]
  other:
    serial_number: 59001dd73709417321c58b11693183a3
    signing_keys: [a-signing-key-of-good-length]
    routes: [{to: gone, fields: {mail: Email}}]
"""
OTHERS = (
    MAIN[MAIN.index(b"chatbots") :].replace(b"acme", b"third").replace(b"other", b"fourth").replace(b"crm", b"gone")
)
PAYLOAD = orjson.dumps(lead(Email="ada@example.com"))


def test_a_route_is_tried_without_the_other_chatbots() -> None:
    """A thousand of them took seconds. Here none of the others could be compiled: their destination is not there."""
    contents = {Path("/etc/leadbridge/a.yaml"): MAIN, Path("/etc/leadbridge/b.yaml"): OTHERS}
    tried = attempt(contents, {}, Place("acme", 0), "to: crm\nfields: {e-mail: Email}", PAYLOAD, NOW)
    assert tried.problems == ()
    assert tried.result
    assert tried.result.fields == {"e-mail": "ada@example.com"}
    assert attempt(contents, {}, Place("acme", 0), "to: gone", PAYLOAD, NOW).problems
