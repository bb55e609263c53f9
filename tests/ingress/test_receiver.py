"""The webhook endpoint over real HTTP, with a real store: every row of its table of answers."""

import asyncio
import contextlib
import gc
import io
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from sqlalchemy import select, text

from bridge.config.model import Ack, Config
from bridge.ingress.ack import Relay
from bridge.ingress.receiver import COLLECT_SECONDS, Receiver
from bridge.ingress.signature import sign
from bridge.log import server_log
from bridge.mapping import budget
from bridge.mapping.mapping import EVENT_NAMES
from bridge.store.driver import Driver
from bridge.store.schema import deliveries, events, quarantine
from bridge.store.sql import SqlStore
from tests.building import EXPRESSIONS, IDENTITY, KEY, NOW, SERIAL, Clock, chatbot, config, lead, route

pytestmark = pytest.mark.each_engine

SUCCESS = b'{"status":"success"}'
TEST = b'{"status":"Success: test request received"}'


class Endpoint:
    """A receiver that listens, and a client of it."""

    def __init__(self, store: SqlStore, driver: Driver, session: aiohttp.ClientSession) -> None:
        self.store = store
        self.driver = driver
        self.session = session
        self.config: Config = config(
            [
                chatbot("acme", route("crm"), test_when=EXPRESSIONS.expression('Content == "ping"', EVENT_NAMES)),
                chatbot("other", serial_numbers=("other",), signing_keys=(b"the-other-chatbots-key",)),
            ]
        )
        self.clock = Clock()
        self.results: list[tuple[str, str]] = []
        self.relay = Relay(store)
        store.on_settled = self.relay.settled
        self.receiver = Receiver(
            lambda: self.config,
            store,
            self.relay,
            self.clock,
            lambda: IDENTITY,
            lambda *result: self.results.append(result),
        )
        self.port = 0

    async def post(
        self, document: Any, *, path: str = "/webhook", key: bytes = KEY, header: str | None = None, **options: Any
    ) -> tuple[int, bytes]:
        body = document if isinstance(document, bytes) else orjson.dumps(document)
        signature = sign(key, str(int(self.clock())), body) if header is None else header
        headers = {"X-Webhook-Signature": signature, **options.pop("headers", {})}
        async with self.session.post(self.url(path), data=io.BytesIO(body), headers=headers, **options) as answer:
            return answer.status, await answer.read()

    def url(self, path: str = "/webhook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def rows(self, table: Any) -> list[Any]:
        with self.driver.engine().connect() as connection:
            return list(connection.execute(select(table)))


@pytest.fixture
async def endpoint(store: SqlStore, driver: Driver) -> AsyncIterator[Endpoint]:
    async with aiohttp.ClientSession() as session:
        made = Endpoint(store, driver, session)
        runner = web.ServerRunner(made.receiver.server(), shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.port = runner.addresses[0][1]
        yield made
        await runner.cleanup()
        made.receiver.close()


async def test_an_authentic_event_is_stored_and_answered_with_the_documented_bytes(endpoint: Endpoint) -> None:
    body = orjson.dumps(lead(FirstName="明", PhoneNumber="+49"))
    headers = {"X-Webhook-Signature": sign(KEY, str(int(NOW)), body)}
    async with endpoint.session.post(endpoint.url(), data=body, headers=headers) as answer:
        assert answer.status == 200
        assert await answer.read() == SUCCESS
        assert answer.headers["Content-Type"] == "application/json"
    (kept,) = endpoint.rows(events)
    assert (kept.payload, kept.state, kept.chatbot, kept.form) == (body, "accepted", "acme", "raw")
    assert [row.destination for row in endpoint.rows(deliveries)] == ["crm"]
    assert endpoint.results == [("acme", "accepted")]


async def test_the_same_event_again_is_a_success_and_nothing_new(endpoint: Endpoint) -> None:
    event = lead()
    assert [await endpoint.post(event) for _ in range(3)] == [(200, SUCCESS)] * 3
    at_once = [endpoint.post(lead(Email="once@b.co", SessionID=1)) for _ in range(10)]
    assert await asyncio.gather(*at_once) == [(200, SUCCESS)] * 10
    assert len(endpoint.rows(events)) == len(endpoint.rows(deliveries)) == 2
    assert ("acme", "duplicate") in endpoint.results


async def test_an_array_is_kept_as_events(endpoint: Endpoint) -> None:
    assert await endpoint.post([lead(), lead(), lead()]) == (200, SUCCESS)
    assert len(endpoint.rows(events)) == len(endpoint.rows(deliveries)) == 3
    assert all(orjson.loads(row.payload)["Type"] == "Lead" for row in endpoint.rows(events))


@pytest.mark.parametrize("document", [{}, lead(Content="ping")])
async def test_a_test_is_answered_as_a_test(endpoint: Endpoint, document: Any) -> None:
    assert await endpoint.post(document) == (200, TEST)
    assert [row.state for row in endpoint.rows(events)] == ["test"]
    assert endpoint.rows(deliveries) == []


@pytest.mark.parametrize(
    "document",
    [b"", b"no json", b"NaN", b"\xff\xfe", b"[]", lead(Type="Conversation"), lead(SerialNumber="unknown"), [1]],
)
async def test_what_is_authentic_but_not_recognised_is_kept(endpoint: Endpoint, document: Any) -> None:
    assert await endpoint.post(document) == (200, SUCCESS)
    assert await endpoint.post(document) == (200, SUCCESS)
    assert [row.state for row in endpoint.rows(events)] == ["unrecognised"]
    assert endpoint.rows(deliveries) == []


@pytest.mark.parametrize(
    "header", ["", "t=1,v1=00", "nonsense", f"t={int(NOW)}", f"t={int(NOW)},v1={'0' * 64}", "t=²,v1=ÿ", "\x80,=,,==;"]
)
async def test_a_signature_that_does_not_hold_is_refused_and_the_body_kept_aside(
    endpoint: Endpoint, header: str
) -> None:
    status, answer = await endpoint.post(lead(), header=header)
    assert (status, orjson.loads(answer)["status"]) == (401, "error")
    assert endpoint.rows(events) == []
    assert len(endpoint.rows(quarantine)) == 1


async def test_a_header_that_is_no_text_is_refused_like_any_other(endpoint: Endpoint) -> None:
    body = orjson.dumps(lead())
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: t=1795600000,v1=\xb5\xff\x80\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert b" 401 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert len(endpoint.rows(quarantine)) == 1


async def test_a_stale_signature_is_refused(endpoint: Endpoint) -> None:
    body = orjson.dumps(lead())
    header = sign(KEY, str(int(NOW - 901)), body)
    assert (await endpoint.post(body, header=header))[0] == 401
    assert endpoint.results == [("acme", "stale")]


async def test_each_refused_request_goes_to_its_room(endpoint: Endpoint) -> None:
    wrong, now = b"a-mistyped-signing-key", str(int(NOW))
    body = orjson.dumps(lead())
    for header, sent in (
        (sign(wrong, now, body), body),
        (sign(KEY, str(int(NOW - 1e6)), body := orjson.dumps(lead())), body),
        (sign(wrong, str(int(NOW - 1e6)), body := orjson.dumps(lead())), body),
        ("", orjson.dumps(lead())),
        ("t=1,v1=0", orjson.dumps(lead())),
        (sign(wrong, now, body := orjson.dumps({"SerialNumber": SERIAL})), body),
        (sign(wrong, now, body := orjson.dumps([lead(), {"SerialNumber": SERIAL}])), body),
    ):
        assert (await endpoint.post(sent, header=header))[0] == 401
    rooms = [row.room for row in endpoint.rows(quarantine)]
    assert rooms == ["mismatch", "stale", "junk", "junk", "junk", "junk", "mismatch"]


async def test_a_flood_of_junk_does_not_crowd_out_a_lead_behind_a_mistyped_key(endpoint: Endpoint) -> None:
    await asyncio.gather(*[endpoint.post(lead(), header="t=1,v1=0") for _ in range(200)])
    assert (await endpoint.post(lead(), key=b"a-mistyped-signing-key"))[0] == 401
    assert [row.room for row in endpoint.rows(quarantine)].count("mismatch") == 1


async def test_another_chatbots_key_is_refused(endpoint: Endpoint) -> None:
    assert (await endpoint.post(lead(SerialNumber="other")))[0] == 401
    assert (await endpoint.post(lead(SerialNumber="other"), path="/webhooks/other"))[0] == 401
    assert (await endpoint.post(lead(SerialNumber="other"), key=b"the-other-chatbots-key"))[0] == 200


async def test_each_chatbot_has_a_path_of_its_own(endpoint: Endpoint) -> None:
    assert await endpoint.post(lead(), path="/webhooks/acme") == (200, SUCCESS)


@pytest.mark.parametrize("path", ["/", "/webhooks/nobody", "/webhooks/", "/webhook/", "/webhooks/acme/x", "/metrics"])
async def test_unknown_paths_are_not_found(endpoint: Endpoint, path: str) -> None:
    assert (await endpoint.post(lead(), path=path))[0] == 404
    assert endpoint.rows(events) == []


@pytest.mark.parametrize("path", ["/webhook", "/webhooks/acme"])
async def test_tells_that_it_is_ready(endpoint: Endpoint, path: str) -> None:
    async with endpoint.session.get(endpoint.url(path)) as answer:
        assert (answer.status, await answer.read()) == (200, b'{"status":"ready"}')
    async with endpoint.session.head(endpoint.url(path)) as answer:
        assert answer.status == 200
    async with endpoint.session.put(endpoint.url(path)) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")


async def test_a_body_that_is_too_large_is_refused(endpoint: Endpoint) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65_536

    assert (await endpoint.post(b"x" * (1024 * 1024 + 1), header=""))[0] == 413
    async with endpoint.session.post(endpoint.url(), data=chunks()) as answer:
        assert answer.status == 413
    assert (await endpoint.post(lead(Content="x" * 900_000)))[0] == 200


async def test_who_asks_whether_to_send_the_body_is_told(endpoint: Endpoint) -> None:
    body = orjson.dumps(lead(Content="x" * 20_000))
    asking = b"POST /webhook HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\n"
    head = asking + b"Content-Length: %d\r\nX-Webhook-Signature: %b\r\n\r\n"
    signature = sign(KEY, str(int(NOW)), body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    async with asyncio.timeout(10):
        for _ in range(2):
            writer.write(head % (len(body), signature))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readexactly(len(SUCCESS)) == SUCCESS
        # One that would be refused anyway is not asked for, and one that has come already needs no asking.
        writer.write(head % (2_000_000, signature))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        small = orjson.dumps(lead())
        writer.write(head % (len(small), sign(KEY, str(int(NOW)), small).encode()) + small)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    assert len(endpoint.rows(events)) == 2


async def test_large_bodies_have_a_bound_together_and_small_ones_a_room_of_their_own(endpoint: Endpoint) -> None:
    """Requests that promise a large body and do not send it yet."""
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    held = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(4)]
    for _, writer in held:
        writer.write(head + b"{")
    async with asyncio.timeout(10):
        while endpoint.receiver._reserved.large < 4_000_000:
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(head)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 30" in answer
        writer.close()

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(8):
                yield b"x" * 60_000

        async with endpoint.session.post(endpoint.url(), data=chunks()) as response:
            assert response.status == 503
        assert await endpoint.post(lead()) == (200, SUCCESS)
        for _, writer in held:
            writer.close()
        while endpoint.receiver._reserved.large:
            await asyncio.sleep(0)
    assert await endpoint.post(lead(Content="x" * 900_000)) == (200, SUCCESS)
    assert endpoint.receiver._reserved.small == endpoint.receiver._reserved.large == 0
    assert ("", "crowded") in endpoint.results


async def test_a_body_that_comes_too_slowly_is_refused(endpoint: Endpoint) -> None:
    endpoint.config = config(list(endpoint.config.chatbots.values()), read_timeout=0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert b"408" in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_compressed_body_is_refused(endpoint: Endpoint) -> None:
    assert (await endpoint.post(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}))[0] == 415


@pytest.mark.parametrize("header", [b"X-Long: " + b"x" * 10_000, b"\r\n".join(b"X-%d: x" % n for n in range(200))])
async def test_headers_are_bounded(endpoint: Endpoint, header: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(b"POST /webhook HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_the_remains_of_what_is_no_http_are_collected_on_a_slow_machine_too(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be parsed hangs in a cycle with what had been read; here each turn of the loop takes seconds."""
    looks = itertools.count(1)
    loop = asyncio.get_running_loop()
    began = loop.time()

    gc.collect()
    gc.disable()
    try:
        monkeypatch.setattr(server_log(), "disabled", True)  # pytest keeps what is logged, and the error with it
        monkeypatch.setattr(loop, "time", lambda: began + next(looks) * 4 * COLLECT_SECONDS)
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(b"POST /webhook HTTP/1.1\r\nX-Long: " + b"x" * 10_000 + b"\r\n\r\n")
        assert b" 400 " in await reader.readline()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not [each for each in gc.get_objects() if type(each).__name__ == "_ErrInfo"]
    finally:
        gc.enable()
        monkeypatch.undo()
        writer.close()


async def test_a_condition_that_takes_long_leaves_the_event_loop(endpoint: Endpoint) -> None:
    threads = []

    def when(values: Any) -> bool:
        threads.append(threading.current_thread().name)
        if values["Content"] == "costly":
            budget.current_budget().charge(budget.INLINE_STEPS + 1)
        return True

    endpoint.config = config([chatbot("acme", route("crm", when=when))])
    main = threading.main_thread().name
    assert await endpoint.post(lead()) == (200, SUCCESS)
    assert threads == [main]
    assert await endpoint.post(lead(Content="costly")) == (200, SUCCESS)
    assert threads == [main, main, "verify_0"]
    assert await endpoint.post(lead(Content="x" * 20_000)) == (200, SUCCESS)
    assert threads[3:] == ["verify_0"]
    assert len(endpoint.rows(deliveries)) == 3


async def test_no_success_while_the_store_cannot_commit_and_success_when_it_can(
    endpoint: Endpoint, driver: Driver
) -> None:
    with driver.engine().begin() as connection:
        connection.execute(text("ALTER TABLE events RENAME TO away"))
    event = lead()
    body = orjson.dumps(event)
    headers = {"X-Webhook-Signature": sign(KEY, str(int(NOW)), body)}
    async with endpoint.session.post(endpoint.url(), data=body, headers=headers) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert b"success" not in await answer.read()
    with driver.engine().begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO events"))
    assert await endpoint.post(event) == (200, SUCCESS)


def relayed(within: float) -> Config:
    return config([chatbot("acme", route("crm"), ack=Ack.RELAYED, ack_within=within)])


async def deliver_all(store: SqlStore, settle: Callable[[int, str], Any]) -> None:
    held = (await store.claim("me", ["crm"], NOW, 10))["crm"]
    async with asyncio.timeout(5):
        while not (due := await store.due("crm", 0, 10)):
            await asyncio.sleep(0.005)
    for each in await store.read("crm", [one.id for one in due]):
        await store.settle(held, [settle(each.id, each.event_id)])


async def test_relayed_answers_success_when_everything_is_delivered(endpoint: Endpoint, store: SqlStore) -> None:
    from tests.store.test_sql import delivered

    endpoint.config = relayed(5.0)
    answer, _ = await asyncio.gather(endpoint.post(lead()), deliver_all(store, delivered))
    assert answer == (200, SUCCESS)


async def test_relayed_answers_503_while_not_delivered_and_success_to_a_later_try(
    endpoint: Endpoint, store: SqlStore
) -> None:
    from tests.store.test_sql import delivered

    endpoint.config = relayed(0.05)
    event = lead()
    assert (await endpoint.post(event))[0] == 503
    assert [row.state for row in endpoint.rows(deliveries)] == ["pending"]
    await deliver_all(store, delivered)
    assert await endpoint.post(event) == (200, SUCCESS)
    assert endpoint.relay._waiting == {}


HOSTILE = {
    "depth": b'{"a":' * 150_000 + b"1",
    "array depth": b"[" * 1_000_000,
    "digits": b"[" + b"9" * 1_000_000 + b"]",
    "numbers": b"[" + b"1.5e5," * 170_000 + b"1]",
    "escapes": b'["' + b"\\u0041" * 170_000 + b'"]',
    "objects": b"[" + b'{"a":1},' * 125_000 + b"1]",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_body_does_not_hold_up_honest_requests(endpoint: Endpoint, body: bytes) -> None:
    worst = 0.0

    async def honest() -> None:
        nonlocal worst
        for _ in range(20):
            started = time.perf_counter()
            assert await endpoint.post(lead()) == (200, SUCCESS)
            worst = max(worst, time.perf_counter() - started)

    attack = [endpoint.post(body, header=f"t={int(NOW)},v1={'0' * 64}") for _ in range(3)]
    answers = await asyncio.gather(*attack, honest())
    assert [answer[0] for answer in answers if answer] == [401] * 3
    assert worst < 1.0


async def test_a_flood_of_forged_requests_fills_only_the_quarantine(endpoint: Endpoint) -> None:
    answers = await asyncio.gather(*[endpoint.post(lead(), header="t=1,v1=0") for _ in range(400)])
    assert {status for status, _ in answers} == {401}
    assert len(endpoint.rows(quarantine)) <= 200
    assert await endpoint.post(lead()) == (200, SUCCESS)
