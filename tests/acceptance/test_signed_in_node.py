"""What the sender signs in JavaScript is accepted over the wire, however it is written; what was changed is not."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, KEY, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import SUCCESS, Sender, lead, signature, written
from tests.acceptance.waiting import until
from tests.building import flipped
from tests.node.child import run_script

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHINESE = {"FirstName": "小明", "LastName": "王\N{CJK UNIFIED IDEOGRAPH-20000}", "Content": "请回电话，谢谢！"}
EMOJI = {"FirstName": "Zoë \N{GRINNING FACE}", "Content": "👨‍👩‍👧 & <b>'quotes'</b> \"and\" \\ / \u2028\u007f"}
PLUS = {"PhoneNumber": "+86 138 0013 8000", "Email": "xiao.ming+crm@example.com"}


def dotnet(document: object) -> bytes:
    """Write as System.Text.Json does: all but ASCII, and what HTML cares about, as upper-case escapes."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace('\\"', r"\u0022")
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(f"\\u{code:04X}" if code > 126 or chr(code) in "+&<>'" else chr(code) for code in codes).encode()


def with_numbers(document: dict[str, Any], *numbers: str) -> bytes:
    """Write a lead that has further members, numbers in the given spellings."""
    more = "".join(f',"n{at}":{number}' for at, number in enumerate(numbers))
    return written(document)[:-1] + more.encode() + b"}"


NUMBERS = (
    *("1.0", "0.10", "1e5", "1E+2", "1e21", "123456789012345680000", "0.0000001", "0.000001", "-0", "-0.0"),
    *(
        "9007199254740993",
        "9223372036854775807",
        "1e400",
        "1e-400",
        "4.9e-324",
        "0.1e1",
        "-1.5E-10",
        "12345678901234567890",
    ),
)

BODIES = {
    "Chinese": written(lead(**CHINESE)),
    "Chinese, escaped": json.dumps(lead(**CHINESE), separators=(",", ":")).encode(),
    "emoji": written(lead(**EMOJI)),
    "a plus in phone and e-mail": written(lead(**PLUS)),
    "all of it as .NET writes it": dotnet(lead(**CHINESE, PhoneNumber=PLUS["PhoneNumber"])),
    "an emoji as .NET writes it": dotnet(lead(**EMOJI)),
    "numbers in every shape": with_numbers(lead(), *NUMBERS),
    "a session ID with a fraction of zero": written(lead(SessionID=None)).replace(b"null", b"31305.0"),
    "a session ID in text": written(lead(SessionID="31306")),
    "pretty-printed": json.dumps(lead(**CHINESE), ensure_ascii=False, indent=2).encode(),
    "pretty-printed on Windows": json.dumps(lead(**EMOJI), indent="\t").replace("\n", "\r\n").encode() + b"\r\n",
    "spaces after commas": json.dumps(lead(**PLUS)).encode(),
    "members named by numbers": written({"b": 1, "10": "ten", **lead(), "9": "nine", "01": 1}),
    "half an emoji": written(lead(Content="cut here ?")).replace(b"?", rb"\uD83D"),
    "slashes escaped": written(lead()).replace(b"/", rb"\/"),
    "empty fields": written(lead(FirstName="", LastName="", PhoneNumber="", Content="")),
    "an appointment": written(lead(Type="Appointment", Content="明天下午三点 / tomorrow at 3 pm")),
}


@dataclass(frozen=True)
class Bridge:
    """A program that is up, its destination and its sender, for all the tests of this module."""

    crm: Sandbox
    program: Program
    sender: Sender


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bridge]:
    folder = tmp_path_factory.mktemp("signed")
    async with Sandbox(key=None) as crm, Program(folder, settings({"crm": http(crm.url)}), ENVIRONMENT) as program:
        await program.start()
        async with Sender(program) as sender:
            yield Bridge(crm, program, sender)


@pytest.fixture(scope="module", params=["in seconds", "in milliseconds"])
def headers(request: pytest.FixtureRequest) -> dict[str, tuple[str, str]]:
    """Have each body signed in Node: over its documented form, and over its bytes."""
    now = str(int(time.time() * (1000 if request.param == "in milliseconds" else 1)))
    lines = iter(run_script("sender.js", BODIES.values(), KEY, now).decode().splitlines())
    return dict(zip(BODIES, zip(lines, lines, strict=True), strict=True))


@pytest.mark.parametrize("name", BODIES)
async def test_both_ways_of_signing_are_accepted(
    name: str, headers: dict[str, tuple[str, str]], bridge: Bridge
) -> None:
    for form, header in zip(("JSON.stringify of the body", "the bytes of the body"), headers[name], strict=True):
        answer = await bridge.sender.post(BODIES[name], header)
        assert answer is not None, f"no answer to a body signed over {form}"
        assert (answer.status, answer.body) == (200, SUCCESS), f"signed over {form}"
        assert answer.headers["Content-Type"] == "application/json"


async def test_each_lead_arrives_once_as_javascript_reads_it(bridge: Bridge) -> None:
    """Each has come several times by now: signed over two forms, at different times."""
    for body in BODIES.values():
        await bridge.sender.post(body, signature(body))
    await until(lambda: len(bridge.crm.records) >= len(BODIES), lambda: f"{len(bridge.crm.records)} records only")
    wanted = [json.loads(body) for body in BODIES.values()]
    arrived = {each.fields["message"]: each.fields for each in bridge.crm.records if "message" in each.fields}
    assert len(bridge.crm.records) == len(wanted), "a lead that came again was delivered again"
    for document in wanted:
        if document["Content"] and "cut here" not in document["Content"]:
            assert arrived[document["Content"]]["first_name"] == document["FirstName"]
    assert {"+86 138 0013 8000"} <= {each.fields.get("phone") for each in bridge.crm.records}


async def statuses(port: int, requests: list[tuple[bytes, bytes]]) -> list[int]:
    """Send requests with any bytes for a signature and a body, and give the status that each is answered with."""
    waiting = asyncio.Semaphore(8)

    async def status(header: bytes, body: bytes) -> int:
        async with waiting:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body)
            writer.write(head + b"X-Webhook-Signature: " + header + b"\r\n\r\n" + body)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return int(answer.split(b" ", 2)[1])

    return await asyncio.gather(*(status(*each) for each in requests))


async def kept(program: Program) -> list[object]:
    return list((await program.run("events", "list", "--json", "--limit", "10000")).json())


async def test_one_changed_bit_is_refused_and_not_stored(bridge: Bridge) -> None:
    body = written(lead(**CHINESE, PhoneNumber=PLUS["PhoneNumber"]))
    header = run_script("sender.js", [body], KEY, str(int(time.time()))).splitlines()[1]
    before = await kept(bridge.program)
    # A header is text: a change that makes a control character of it is no header at all. The digits of the digest
    # are hexadecimal: a small letter in place of a capital one is no change.
    wrong_headers = [each for each in flipped(header) if each.lower() != header]
    wrong_bodies = list(flipped(body))[::3]
    answered = await statuses(
        bridge.program.port, [*((each, body) for each in wrong_headers), *((header, each) for each in wrong_bodies)]
    )
    of_headers = dict(zip(wrong_headers, answered, strict=False))
    of_bodies = dict(zip(wrong_bodies, answered[len(wrong_headers) :], strict=True))
    odd = {each for each in wrong_headers if not each.isascii() or not each.decode("ascii").isprintable()}
    assert {each: status for each, status in of_headers.items() if status != 401 and each not in odd} == {}
    assert {each: status for each, status in of_headers.items() if status not in {400, 401}} == {}
    assert {each: status for each, status in of_bodies.items() if status != 401} == {}
    assert await kept(bridge.program) == before, "something of a refused request was stored as an event"


@pytest.mark.parametrize(
    ("what", "header"),
    [
        ("no signature", None),
        ("an empty one", ""),
        ("one of another workspace", "other key"),
        ("one that is twenty minutes old", "stale"),
        ("one without a time", "no time"),
    ],
)
async def test_what_is_not_signed_right_is_refused(what: str, header: str | None, bridge: Bridge) -> None:
    body = written(lead())
    now = int(time.time())
    made = {
        "other key": lambda: run_script("sender.js", [body], "another workspace", str(now)).decode().splitlines()[1],
        "stale": lambda: run_script("sender.js", [body], KEY, str(now - 1200)).decode().splitlines()[1],
        "no time": lambda: run_script("sender.js", [body], KEY, str(now)).decode().splitlines()[1].partition(",")[2],
    }
    answer = await bridge.sender.post(body, made[header]() if header in made else header)
    assert answer is not None
    assert answer.status == 401, f"{what}: {answer.body!r}"
    assert json.loads(answer.body)["status"] == "error"
