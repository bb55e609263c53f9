"""The webhook endpoint under inputs that nobody would send: no exception, no 5xx, and success for authentic ones only.

`LEADBRIDGE_FUZZ` sets how many inputs the seeded run has, for a longer one; `LEADBRIDGE_FUZZ_SEED` which ones.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from bridge import log
from bridge.ingress.ack import Relay
from bridge.ingress.receiver import Receiver
from bridge.ingress.signature import sign
from bridge.store.preparation import migrate
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from tests.building import IDENTITY, KEY, chatbot, config, lead, route
from tests.chaos.inputs import MAX_BODY, Input, inputs, request

INPUTS = int(os.environ.get("LEADBRIDGE_FUZZ", "2000"))
SEED = int(os.environ.get("LEADBRIDGE_FUZZ_SEED", "1"))
CONNECTIONS = 128
PER_STORE = 50_000
"""Inputs before a new store is begun, so that a long run does not fill the disk."""
ANSWER_SECONDS = 30.0
REFUSALS = frozenset({400, 401, 404, 405, 408, 413, 415, 417})
SUCCESS = b'{"status":"success"}'


class Said(logging.Handler):
    """Keeps what the server and the loop complain of: an exception that nobody has caught ends there.

    Except what aiohttp's server always logs: that a request was no HTTP, and that a client hung up.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.complaints: list[str] = []
        self.usual: deque[str] = deque(maxlen=10)

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        usual = isinstance(error, ConnectionResetError | HttpProcessingError)
        (self.usual if usual else self.complaints).append(self.format(record))

    def msg(self, line: bytes) -> None:
        """Take a line of the program's own log, which is written as in operation."""
        if b'"level":"error"' in line:
            self.complaints.append(line.decode())

    info = warning = error = exception = msg


@contextlib.asynccontextmanager
async def endpoint(folder: Path, said: Said) -> AsyncIterator[int]:
    """Give the port of a real receiver on a real store."""
    driver = SqliteDriver(make_url(f"sqlite:///{folder}/leadbridge.db"))
    migrate(driver.engine())
    store = SqlStore(driver)
    known = config([chatbot("acme", route("crm"))], max_body=MAX_BODY, read_timeout=2.0)
    receiver = Receiver(lambda: known, store, Relay(store), time.time, lambda: IDENTITY)
    runner = web.ServerRunner(receiver.server(), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    before = structlog.get_config()
    structlog.configure(processors=[log._line], logger_factory=lambda *_: said, cache_logger_on_first_use=False)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.complaints.append(str(context)))
    loggers = [logging.getLogger(name) for name in ("aiohttp.server", "aiohttp.web", "asyncio")]
    for logger in loggers:
        logger.addHandler(said)
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
        receiver.close()
        await store.close()
        structlog.configure(**before)
        for logger in loggers:
            logger.removeHandler(said)


class Client:
    """One connection, opened anew where the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, each: Input) -> tuple[int, bytes]:
        """Send an input, and give status and body of the answer; status 0 where it hangs up before an answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        try:
            writer.write(each.wire)
            if each.hangs_up:
                await writer.drain()
                await self.close()
                return 0, b""
            async with asyncio.timeout(ANSWER_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
                body = b"" if each.wire.startswith(b"HEAD ") else await reader.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError):
            # It may close without an answer what is no HTTP; what is must be answered.
            assert not each.whole, f"no answer to {each.wire[:2000]!r}"
            await self.close()
            return 0, b""
        if not each.whole or b"connection: close" in lines or head.startswith(b"HTTP/1.0"):
            await self.close()
        return int(head[9:12]), body

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            with contextlib.suppress(ConnectionError):
                await self._streams[1].wait_closed()
            self._streams = None


def check(each: Input, status: int, body: bytes) -> None:
    """Fail if the answer is not one that the contract has for the input."""
    shown = f"{status} {body[:200]!r} to {each.wire[:2000]!r}"
    if status == 200 and each.wire.startswith(b"POST "):
        assert each.authentic, f"not authentic, and taken: {shown}"
    elif status not in {0, 200}:
        assert status in REFUSALS, shown
        assert b"success" not in body, shown
    if each.authentic:
        assert status == 200, f"authentic, and refused: {shown}"


async def fuzz(seed: int, count: int, said: Said) -> Counter[int]:
    """Send so many inputs, many at a time; give how often each status came."""
    chance = random.Random(seed)
    todo = inputs(chance, count)
    seen: Counter[int] = Counter()

    async def work(client: Client) -> None:
        try:
            for each in todo:
                status, body = await client.exchange(each)
                check(each, status, body)
                seen[status] += 1
        finally:
            await client.close()

    with tempfile.TemporaryDirectory(prefix="leadbridge-fuzz-") as folder:
        async with endpoint(Path(folder), said) as port, asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(work(Client(port)))
    return seen


def test_seeded_inputs_over_real_http() -> None:
    said, seen = Said(), Counter[int]()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for done in range(0, INPUTS, PER_STORE):
            seen += runner.run(fuzz(SEED + done, min(PER_STORE, INPUTS - done), said))
            assert said.complaints == [], f"seed {SEED + done}: {said.complaints[0]}"
    print(f"{sum(seen.values())} inputs: {dict(seen)}")
    assert sum(seen.values()) == INPUTS
    assert seen[200] > INPUTS // 5, f"too few got through to the store to show anything: {seen}"
    assert seen.keys() >= {200, 400, 401}


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800")
_JSON: st.SearchStrategy[Any] = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
_FIELDS = st.dictionaries(st.sampled_from(sorted(lead())), _JSON, max_size=6)
_BODIES: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=400),
    _JSON.map(lambda value: json.dumps(value).encode()),
    _FIELDS.map(lambda fields: json.dumps(lead(**fields)).encode()),
    st.lists(_FIELDS.map(lambda fields: lead(**fields)), max_size=4).map(lambda leads: json.dumps(leads).encode()),
)


def test_what_hypothesis_thinks_of(tmp_path: Path) -> None:
    said = Said()
    with asyncio.Runner() as runner:
        serving = endpoint(tmp_path, said)
        client = Client(runner.run(serving.__aenter__()))

        @settings(max_examples=250, suppress_health_check=list(HealthCheck), database=None)
        @given(body=_BODIES, header=st.binary(max_size=120) | st.none())
        @example(body=b"", header=None)
        @example(body=b'{"SerialNumber":"\\ud800"}', header=None)
        @example(body=b"[" * 5_000, header=None)
        def ask(body: bytes, header: bytes | None) -> None:
            """Send it signed; or, with a header, under that, which no key has made."""
            value = sign(KEY, str(int(time.time())), body).encode() if header is None else _on_one_line(header)
            made = Input(request(body, value), authentic=header is None, whole=header is None)
            check(made, *runner.run(client.exchange(made)))
            assert said.complaints == []

        try:
            ask()
        finally:
            runner.run(client.close())
            runner.run(serving.__aexit__(None, None, None))


def _on_one_line(value: bytes) -> bytes:
    return value.translate(None, b"\r\n\0")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(request(b"x" * 400, b"t=1,v1=00")[:-1], id="hangs up in its body"),
        pytest.param(b"POST /webhook HTTP/1.1\r\nSecret\x00: lead@example.com\r\n\r\n", id="no header"),
        pytest.param(
            b'POST /webhook HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{"Email": "lead@example.com"}\r\n\r\n',
            id="a wrong length",
        ),
    ],
)
async def test_a_strange_request_leaves_neither_a_traceback_nor_its_content_in_the_log(
    sent: bytes, tmp_path: Path
) -> None:
    said = Said()
    async with endpoint(tmp_path, said) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        if not sent.endswith(b"\r\n\r\n"):
            writer.close()
        # What is no HTTP is answered, and the connection closed.
        await reader.read()
        writer.close()
    assert [*said.usual, *said.complaints] == []
