"""Requests that are no valid HTTP, on both listeners: one line each, and neither they nor the server are named."""

import asyncio
import json
import re
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.waiting import until

ADMIN = "an-admin-token-of-good-length"
MARK = b"ada@example.com"
"""Stands wherever a request can hold something."""
TOKEN = b"Host: localhost\r\nAuthorization: Bearer " + ADMIN.encode()
JSON = TOKEN + b"\r\nContent-Type: application/json\r\n"
FORM = b"Host: localhost\r\nContent-Type: application/x-www-form-urlencoded"
SEARCH = b"POST /api/events/search HTTP/1.1\r\n"
LOGIN = b"POST /login HTTP/1.1\r\n"
HOOK = b"POST /webhook HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

ANY = {
    "stray carriage return": (b"GET /api/events HTTP/1.1\r\n" + TOKEN + b"\r\r\n\r\n",),
    "zero byte in a header": (b"GET /api/events HTTP/1.1\r\n" + TOKEN + b"\0" + MARK + b"\r\n\r\n",),
    "no header": (b"GET / HTTP/1.1\r\n" + MARK + b"\r\n\r\n",),
    "TLS": (bytes.fromhex("16030100a5010000a10303") + MARK * 10 + b"\r\n\r\n",),
    "endless line": (b"GET /" + MARK * 1000 + b" HTTP/1.1\r\n\r\n",),
    "bad method": (b"G\x01T /api/events?email=" + MARK + b" HTTP/1.1\r\n\r\n",),
    "bad version": (b"GET /" + MARK + b" HTTP/9." + MARK + b"\r\n\r\n",),
    "bad address": (b"GET http://[" + MARK + b"/ HTTP/1.1\r\n\r\n",),
    "query that is no text": (b"GET /api/events?chatbot=" + MARK + b"\xff\xfe HTTP/1.1\r\n" + TOKEN + b"\r\n\r\n",),
    "bad length": (HOOK + b"Content-Length: " + MARK + b"\r\n\r\n",),
    "bad chunk": (HOOK + CHUNKED + b"2\r\n" + MARK + b"\r\n0\r\n\r\n",),
    "zero byte after a good request": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" + MARK + b"\r\n\r\n"),
}
WEBHOOK = {
    **{name: parts for name, parts in ANY.items() if "good request" not in name},
    "bad chunk, later": (HOOK + CHUNKED, b"ZZ" + MARK + b"\r\n\r\n"),
    "body broken off": (HOOK + b"Content-Length: 100\r\n\r\n", MARK),
    "compressed": (HOOK + b"Content-Encoding: gzip\r\nContent-Length: 15\r\n\r\n" + MARK,),
}
AT_ADMIN = {
    **ANY,
    "query in a wrong encoding": (b"GET /api/events?email=%ff%fe&x=%zz HTTP/1.1\r\n" + TOKEN + b"\r\n\r\n",),
    "bad chunk, later": (SEARCH + JSON + CHUNKED, b"ZZ" + MARK + b"\r\n\r\n"),
    "body broken off": (SEARCH + JSON + b"Content-Length: 100\r\n\r\n", MARK),
    "compressed": (SEARCH + JSON + b"Content-Encoding: gzip\r\nContent-Length: 15\r\n\r\n" + MARK,),
    "no JSON": (SEARCH + JSON + b"Content-Length: 15\r\n\r\n" + MARK,),
    "form of an unknown charset": (LOGIN + FORM + b"; charset=" + MARK + b"\r\nContent-Length: 15\r\n\r\n" + MARK,),
    "form that is no text": (LOGIN + FORM + b"\r\nContent-Length: 18\r\n\r\ntoken=\xff" + MARK[:11],),
    "form without its boundary": (
        LOGIN + b"Host: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 15\r\n\r\n" + MARK,
    ),
}


async def exchange(port: int, parts: tuple[bytes, ...]) -> bytes:
    """Send a request in its parts, hang up on this side, and read the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        for number, part in enumerate(parts):
            if number and not answer:
                # So that the server reads the parts one by one.
                await asyncio.sleep(0.05)
            writer.write(part)
            await writer.drain()
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        pass
    writer.close()
    return answer


def _grew(program: Program, before: int) -> bool:
    return len(program.output) > before


@pytest.mark.parametrize("listener", ["webhook", "admin"])
async def test_a_broken_request_leaves_one_line_without_its_content(listener: str, tmp_path: Path) -> None:
    wanted = settings({"crm": http("http://127.0.0.1:9/")})
    wanted["server"]["admin_token"] = "${ADMIN}"
    async with Program(tmp_path, wanted, {**ENVIRONMENT, "ADMIN": ADMIN}) as program:
        await program.start()
        port = program.port if listener == "webhook" else int(program.admin.rpartition(":")[2])
        answers = {}
        for name, parts in (WEBHOOK if listener == "webhook" else AT_ADMIN).items():
            before = len(program.output)
            answers[name] = await exchange(port, parts)
            await until(partial(_grew, program, before), f"a line after {name}")
            # A second line would come with the first or right after it.
            await asyncio.sleep(0.05)
            lines = [json.loads(each) for each in program.output[before:]]
            assert len(lines) == 1, f"{name}: {lines}"
            assert "Traceback" not in str(lines)
        assert await program.stop() == 0
    said = "\n".join(program.output)
    assert program.errors == []
    for hidden in (ADMIN, MARK.decode(), "aiohttp.log", MARK.hex()):
        assert hidden not in said
    for name, answer in answers.items():
        assert b" 500 " not in answer, name
        assert not re.search(rb"(?mi)^server:|python|aiohttp|ada@|" + ADMIN.encode(), answer), (name, answer)
