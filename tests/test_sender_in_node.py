"""What the sender signs in JavaScript holds here, and nothing that was changed on the way does."""

import json

import pytest

from bridge.ingress.javascript_json import json_form
from bridge.ingress.signature import SignatureError, matching_keys, parse_header, sign
from tests.building import flipped
from tests.node.child import run_script

KEY = "whsec-3f1c-\u00fc"
TIME = "1700000000123"

LEAD = {
    "SerialNumber": "0123456789abcdef0123456789abcdef",
    "Type": "Lead",
    "FirstName": "小明",
    "LastName": "O'Neil & <Söhne>",
    "Email": "xiao.ming+crm@example.com",
    "PhoneNumber": "+86 138 0013 8000",
    "CreateTime": "2026-02-03T04:05:06.7Z",
    "Content": 'Ruft zurück: "morgen"\r\n\tC:\\temp \N{GRINNING FACE}\u2028\u0007',
    "SessionID": 31305,
    "URI": "https://example.com/?q=1&r=<a>",
}


def as_dotnet_writes(value: object) -> bytes:
    """Write as System.Text.Json does by default: all but ASCII, and what HTML cares about, as upper-case escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace('\\"', r"\u0022")
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(f"\\u{code:04X}" if code > 126 or chr(code) in "+&<>'" else chr(code) for code in codes).encode()


BODIES = {
    "compact": json.dumps(LEAD, ensure_ascii=False, separators=(",", ":")).encode(),
    "compact, escaped": json.dumps(LEAD, separators=(",", ":")).encode(),
    "pretty-printed": json.dumps(LEAD, ensure_ascii=False, indent=2).encode(),
    "line ends of Windows": json.dumps(LEAD, indent="\t").replace("\n", "\r\n").encode() + b"\r\n",
    ".NET": as_dotnet_writes(LEAD),
    "an array of events": as_dotnet_writes([LEAD, LEAD | {"FirstName": "\N{OLD PERSONAL COMPUTER}王"}]),
    "numbers": b'{"SessionID":31305.0,"a":[1e2,-0,0.10,1E-7,1e21,12345678901234567890,9007199254740993,1e999,5e-324]}',
    "session ID in text": json.dumps(LEAD | {"SessionID": "0031305"}, separators=(", ", ": ")).encode(),
    "keys that are numbers": b'{"b": 1, "10": "ten", "9": "nine", "01": 1, "b": 2}',
    "half an emoji": rb'{"Content": "cut here \uD83D", "FirstName": "\u5C0F"}',
    "broken UTF-8": b'{"FirstName": "M\xfcller"}',
    "slashes": rb'{"URI": "https:\/\/example.com\/"}',
    "empty object": b"{ }",
}


def accepted(header: str, body: bytes) -> bool:
    """Verify as the receiver does: over the body as it came, else over its JSON form."""
    try:
        signature = parse_header([header])
    except SignatureError:
        return False
    keys = [b"another key", KEY.encode()]
    if matching_keys(signature, body, keys):
        return True
    form = json_form(body)
    return form is not None and matching_keys(signature, form, keys) != ()


@pytest.fixture(scope="module")
def headers() -> dict[str, tuple[str, str]]:
    """Have each body signed in Node: over its documented form, and over its bytes."""
    lines = iter(run_script("sender.js", BODIES.values(), KEY, TIME).decode().splitlines())
    return dict(zip(BODIES, zip(lines, lines, strict=True), strict=True))


@pytest.mark.parametrize("name", BODIES)
def test_both_ways_of_signing_are_accepted(name: str, headers: dict[str, tuple[str, str]]) -> None:
    documented, raw = headers[name]
    assert accepted(documented, BODIES[name])
    assert accepted(raw, BODIES[name])


@pytest.mark.parametrize("name", BODIES)
def test_sign_makes_the_same_headers(name: str, headers: dict[str, tuple[str, str]]) -> None:
    body = BODIES[name]
    form = json_form(body)
    assert form is not None
    assert headers[name] == (sign(KEY.encode(), TIME, form), sign(KEY.encode(), TIME, body))


def test_the_two_ways_differ_for_most_bodies(headers: dict[str, tuple[str, str]]) -> None:
    assert [name for name, (documented, raw) in headers.items() if documented == raw] == ["compact"]


@pytest.mark.parametrize("name", BODIES)
def test_a_flipped_bit_in_the_header_is_refused(name: str, headers: dict[str, tuple[str, str]]) -> None:
    for header in headers[name]:
        start, digest = header[:-64], header[-64:]
        for changed in flipped(header.encode()):
            wrong = changed.decode("latin-1")
            # Hexadecimal digits mean the same in either case: that alone is no change.
            same = wrong.startswith(start) and wrong.removeprefix(start).lower() == digest
            assert accepted(wrong, BODIES[name]) == same


@pytest.mark.parametrize("name", BODIES)
def test_a_flipped_bit_in_the_body_is_refused(name: str, headers: dict[str, tuple[str, str]]) -> None:
    # Left out is what spells the same document otherwise (a flip makes `\u4e2d` of `\u4E2D`).
    documented, raw = headers[name]
    body, form = BODIES[name], json_form(BODIES[name])
    assert not any(accepted(raw, changed) for changed in flipped(body) if json_form(changed) != body)
    assert not any(accepted(documented, changed) for changed in flipped(body) if json_form(changed) != form)


def test_any_flipped_bit_is_refused_where_each_makes_another_document(headers: dict[str, tuple[str, str]]) -> None:
    assert not any(accepted(header, wrong) for header in headers["compact"] for wrong in flipped(BODIES["compact"]))


def test_another_workspace_is_refused() -> None:
    documented, raw = run_script("sender.js", [BODIES[".NET"]], "another workspace", TIME).decode().splitlines()
    assert not accepted(documented, BODIES[".NET"])
    assert not accepted(raw, BODIES[".NET"])
