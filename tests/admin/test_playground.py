"""Trying a route, apart from its page (tests/admin/test_pages.py). Pure."""

from pathlib import Path

import orjson
import pytest

from bridge.operations.dry_run import Allowance, dry_run
from bridge.operations.playground import EXPANDED_LIMIT, PROBLEMS_LIMIT, Place, Tried, attempt
from bridge.store.interface import Delivery
from tests.building import NOW, Clock, FakeConnector, chatbot, config, destination, event, lead, route

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


KEYS = ", ".join(f"{'k' * 1_000}{n}: 1" for n in range(30))


def tried(text: str) -> Tried:
    return attempt({Path("/etc/leadbridge/a.yaml"): MAIN}, {}, Place("acme", 0), text, PAYLOAD, NOW)


@pytest.mark.parametrize(
    "text",
    [
        f"to: crm\nfields:\n  a: &a {{value: '{'x' * 30_000}'}}\n" + "".join(f"  a{n}: *a\n" for n in range(20)),
        f"to: crm\nfields:\n  a: &a {{{KEYS}}}\n" + "".join(f"  a{n}: {{<<: *a}}\n" for n in range(20)),
    ],
)
def test_a_route_is_refused_that_is_large_once_its_aliases_are_written_out(text: str) -> None:
    (problem,) = tried(text).problems
    assert problem == f"longer than {EXPANDED_LIMIT:,} characters once its aliases are written out: use fewer"


def test_the_first_mistakes_are_shown_and_none_at_length() -> None:
    found = tried("to: crm\nfields:\n" + "".join(f"  a{n}: {'x' * 600}{n}\n" for n in range(90))).problems
    assert len(found) == PROBLEMS_LIMIT + 1
    assert found[-1] == f"{90 - PROBLEMS_LIMIT} more"
    assert max(map(len, found)) < 600


def test_a_request_has_so_much_room_and_time_for_all_its_records() -> None:
    clock = Clock()
    allowance = Allowance(text=1_000, seconds=1.0, clock=clock)
    made = allowance.facts({"a": "<" * 100, "b": "x" * 300, "c": "y"})
    assert made == {"a": "<" * 100, "2 more": "not shown: the page would be too large"}
    in_use = config([chatbot("acme", route("crm"))], [destination("crm", FakeConnector())])
    one = event()
    delivery = Delivery(1, one.id, "acme", one.payload, NOW, "crm", 0, 0, None, {})
    assert dry_run(delivery, "crm", in_use, allowance, reveal=True).request
    clock.now += 2
    late = dry_run(delivery, "crm", in_use, allowance, reveal=True)
    assert (late.fields, late.request) == (None, None)
    assert late.problem == "not worked out: the records before took too long"
