import asyncio
import gzip
import socket
import tracemalloc
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver
from yarl import URL

from connectors.base import Blame, Reason
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.session import HttpSession
from connectors.http_client.settings import NetworkSettings
from connectors.testing import Fault, Sandbox
from tests.connectors.building import Behaviour, answers, context, raw_server, sends
from tests.connectors.http_client.test_address_guard import Names


@asynccontextmanager
async def session(
    resolver: AbstractResolver | None = None, slept: list[float] | None = None, within: float = 5.0, **settings: Any
) -> AsyncIterator[HttpSession]:
    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    made = HttpSession(
        NetworkSettings.model_validate({"allow_private": True, **settings}),
        context(timeout=within),
        resolver=resolver,
        sleep=sleep,
    )
    try:
        yield made
    finally:
        await made.close()


async def send(behaviour: Behaviour, method: str = "POST", within: float = 5.0, **settings: Any) -> Answer | Failure:
    async with raw_server(behaviour) as raw, session(within=within, **settings) as made:
        result = await made.send(method, URL(raw.url), {}, b"{}")
        assert len(raw.requests) == 1  # whatever went wrong: sent once
        return result


def failed(result: Answer | Failure) -> Failure:
    assert isinstance(result, Failure)
    return result


async def test_a_whole_answer() -> None:
    result = await send(answers(b"200 OK\r\nX-Thing: 1", b"body"))
    assert isinstance(result, Answer)
    assert (result.status, result.headers["x-thing"], result.body) == (200, "1", b"body")
    assert repr(result) == "Answer(status=200, bytes=4)"
    with pytest.raises(ValueError, match="char"):
        result.json()


async def test_an_answer_that_ends_with_the_connection_is_whole() -> None:
    result = await send(sends(b"HTTP/1.1 200 OK\r\n\r\nall of it"))
    assert isinstance(result, Answer)
    assert result.body == b"all of it"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nhalf",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"220 mail.example.com ESMTP\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 10_000 + b"\r\n\r\n",
        b"",
    ],
)
async def test_half_an_answer_is_no_answer(data: bytes) -> None:
    failure = failed(await send(sends(data)))
    assert failure.sent
    assert not failure.momentary
    assert (failure.outcome.reason, failure.outcome.blame) == (Reason.BAD_ANSWER, Blame.UNCLEAR)


async def test_a_packed_answer_is_unpacked() -> None:
    result = await send(answers(b"200 OK\r\nContent-Encoding: gzip", gzip.compress(b'{"ok": true}')))
    assert isinstance(result, Answer)
    assert result.json() == {"ok": True}


async def test_half_of_a_gzipped_answer_is_no_answer() -> None:
    body = gzip.compress(b"x" * 1000)[:-10]
    failure = failed(await send(answers(b"200 OK\r\nContent-Encoding: gzip", body, close=True)))
    assert failure.outcome.reason is Reason.BAD_ANSWER


async def test_an_error_whose_body_is_cut_off_is_still_that_error() -> None:
    failure = failed(await send(sends(b"HTTP/1.1 429 Slow\r\nRetry-After: 9\r\nContent-Length: 100\r\n\r\nhalf")))
    outcome = failure.outcome
    assert (outcome.reason, outcome.blame, outcome.after) == (Reason.RATE_LIMITED, Blame.DESTINATION, 9.0)


async def test_a_refusal_whose_body_is_cut_off_kills_no_lead() -> None:
    failure = failed(await send(sends(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\nhalf")))
    assert (failure.outcome.reason, failure.outcome.blame) == (Reason.BAD_ANSWER, Blame.UNCLEAR)
    assert failure.outcome.status == 400


async def test_an_answer_may_be_as_large_as_allowed_and_no_larger() -> None:
    result = await send(answers(b"200 OK", b"x" * 1000), max_answer=1000)
    assert isinstance(result, Answer)
    failure = failed(await send(answers(b"200 OK", b"x" * 1001), max_answer=1000))
    assert failure.outcome.reason is Reason.TOO_LARGE
    assert "max_answer" in failure.outcome.detail


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_small_answer_that_unpacks_to_a_huge_one_is_stopped_early(encoding: str) -> None:
    huge = bytes(200_000_000)
    bomb = gzip.compress(huge, 9) if encoding == "gzip" else zlib.compress(huge, 9)
    tracemalloc.start()
    try:
        failure = failed(await send(answers(b"200 OK\r\nContent-Encoding: " + encoding.encode(), bomb)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert failure.outcome.reason is Reason.TOO_LARGE
    assert peak < 8_000_000


async def test_an_endless_answer_is_stopped() -> None:
    async def behave(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    assert failed(await send(behave)).outcome.reason is Reason.TOO_LARGE


async def test_no_answer_in_time() -> None:
    async def behave(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    failure = failed(await send(behave, within=0.1))
    assert failure.sent
    assert (failure.outcome.reason, failure.outcome.blame) == (Reason.TIMEOUT, Blame.UNCLEAR)


async def test_an_answer_that_drips_is_not_waited_for() -> None:
    async with Sandbox() as crm, session(within=0.2) as made:
        crm.faults.next(Fault.drips(0.05))
        failure = failed(await made.send("POST", URL(crm.url), {"Content-Type": "application/json"}, b"{}"))
        assert len(crm.records) == 1
    assert failure.outcome.reason is Reason.TIMEOUT
    assert failure.outcome.status == 201


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_answers(crm: Sandbox, status: int) -> None:
    async with session() as made:
        crm.faults.next(Fault.redirects(crm.url, status))
        result = await made.send("POST", URL(crm.url), {}, b"{}")
    assert isinstance(result, Answer)
    assert result.status == status
    assert len(crm.ledger) == 1


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "GET", "DELETE"])
async def test_a_request_that_may_have_arrived_is_never_sent_again(method: str) -> None:
    async def hang_up(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    failure = failed(await send(hang_up, method))
    assert failure.sent
    assert failure.outcome.reason is Reason.BAD_ANSWER


async def test_nor_on_a_connection_that_was_used_before() -> None:
    async def once(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"second" in request:
            writer.transport.abort()
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(once) as raw, session() as made:
        for method in ("POST", "PUT"):
            assert isinstance(await made.send(method, URL(raw.url), {}, b"first"), Answer)
            assert failed(await made.send(method, URL(raw.url), {}, b"second")).sent
    assert len(raw.requests) == 4


async def test_a_late_answer_is_not_taken_for_the_answer_to_the_next_request() -> None:
    answered = asyncio.Event()

    async def twice(request: bytes, writer: asyncio.StreamWriter) -> None:
        body = request[-1:]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + body)
        await writer.drain()
        if body == b"1":
            await answered.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!")

    async with raw_server(twice) as raw, session() as made:
        result = await made.send("POST", URL(raw.url), {}, b"1")
        assert isinstance(result, Answer)
        answered.set()
        await asyncio.sleep(0.02)  # until the second answer has come
        for number in (b"2", b"3"):
            result = await made.send("POST", URL(raw.url), {}, number)
            assert isinstance(result, Answer)
            assert result.body == number


async def test_a_refused_connection_is_tried_again_at_once_and_then_given_up() -> None:
    slept: list[float] = []
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with session(slept=slept) as made:
            failure = failed(await made.send("POST", URL(f"http://127.0.0.1:{port}/"), {}, b"{}"))
    assert len(slept) == 2
    assert all(0.1 <= seconds <= 0.4 for seconds in slept)
    assert not failure.sent
    assert (failure.outcome.reason, failure.outcome.blame) == (Reason.UNREACHABLE, Blame.DESTINATION)
    assert failure.outcome.detail == f"no connection with 127.0.0.1:{port}: Connection refused"


class Flaky(Names):
    """A name server that fails a few times."""

    def __init__(self, failures: int, port: int) -> None:
        super().__init__("127.0.0.1")
        self.failures = failures
        self.port = port
        self.asked = 0
        self.closed = False

    async def resolve(self, *args: Any, **named: Any) -> Any:
        self.asked += 1
        if self.asked <= self.failures:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return await super().resolve(*args, **named)

    async def close(self) -> None:
        self.closed = True


async def test_a_name_that_cannot_be_looked_up_for_a_moment_costs_no_attempt(crm: Sandbox) -> None:
    names = Flaky(2, URL(crm.url).port or 0)
    async with session(names) as made:
        result = await made.send("POST", URL("http://crm.internal/contacts"), {}, b"{}")
    assert isinstance(result, Answer)
    assert (names.asked, len(crm.ledger)) == (3, 1)
    assert names.closed


class FlakyEach(Flaky):
    """A name server that fails a few times for each name."""

    def __init__(self, failures: int, port: int) -> None:
        super().__init__(failures, port)
        self.by_name: Counter[str] = Counter()

    async def resolve(self, host: str, *args: Any, **named: Any) -> Any:
        await asyncio.sleep(0)
        self.asked = self.by_name[host]
        self.by_name[host] += 1
        return await super().resolve(host, *args, **named)


async def test_parallel_quick_tries_do_not_disturb_each_other(crm: Sandbox) -> None:
    names = FlakyEach(2, URL(crm.url).port or 0)
    async with session(names) as made:
        urls = [URL(f"http://crm{number}.internal/contacts") for number in range(4)]
        results = await asyncio.gather(*(made.send("POST", url, {}, b"{}") for url in urls))
    assert all(isinstance(result, Answer) for result in results)
    assert set(names.by_name.values()) == {3}
    assert len(crm.ledger) == 4


async def test_a_name_that_cannot_be_looked_up_at_all() -> None:
    names = Flaky(99, 0)
    async with session(names) as made:
        failure = failed(await made.send("POST", URL("http://crm.internal/contacts?token=secret"), {}, b"{}"))
    assert names.asked == 3
    assert not failure.sent
    assert failure.outcome.detail == (
        "the name in crm.internal:80 cannot be looked up: Temporary failure in name resolution"
    )


async def test_a_connection_that_is_not_made_in_time_was_not_sent() -> None:
    class Slow(Names):
        async def resolve(self, *_: Any, **__: Any) -> Any:
            await asyncio.Event().wait()

    slept: list[float] = []
    async with session(Slow(), slept, within=0.1) as made:
        failure = failed(await made.send("POST", URL("http://crm.internal/"), {}, b"{}"))
    assert not failure.sent
    assert not slept
    assert (failure.outcome.reason, failure.outcome.blame) == (Reason.UNREACHABLE, Blame.DESTINATION)


async def test_the_wait_for_a_free_connection_is_not_counted_as_an_attempt_to_connect() -> None:
    """The only connection is busy with a slow answer: the destination can be reached, so its lane need not pause."""

    async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw_server(silent) as raw:
        made = HttpSession(NetworkSettings(allow_private=True), context(timeout=0.4, concurrency=1))
        try:
            results = await asyncio.gather(*(made.send("POST", URL(raw.url), {}, b"{}") for _ in range(3)))
        finally:
            await made.close()
    outcomes = [failed(each).outcome for each in results]
    assert [each.reason for each in outcomes] == [Reason.TIMEOUT] * 3
    assert Blame.DESTINATION not in [each.blame for each in outcomes]
    assert raw.connections == 1


async def test_proxies_of_the_environment_are_not_used(crm: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answers(b"200 OK")) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        async with session() as made:
            assert isinstance(await made.send("POST", URL(crm.url), {}, b"{}"), Answer)
    assert proxy.connections == 0
    assert len(crm.ledger) == 1


async def test_connections_are_kept_and_as_many_as_calls_at_once() -> None:
    async with raw_server(answers(b"200 OK")) as raw, session() as made:
        for _ in range(3):
            await asyncio.gather(*(made.send("POST", URL(raw.url), {}, b"{}") for _ in range(10)))
    assert raw.connections == 10
    assert len(raw.requests) == 30


async def test_cookies_are_not_kept() -> None:
    async with raw_server(answers(b"200 OK\r\nSet-Cookie: a=b")) as raw, session() as made:
        for _ in range(2):
            await made.send("POST", URL(raw.url), {}, b"{}")
    assert b"cookie" not in b"".join(raw.requests).lower()


async def test_a_call_that_is_cancelled_ends_at_once_and_the_session_goes_on(crm: Sandbox) -> None:
    async with session() as made:
        crm.faults.next(Fault.slow(60))
        call = asyncio.create_task(made.send("POST", URL(crm.url), {}, b"{}"))
        while not crm.ledger:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert isinstance(await made.send("POST", URL(crm.url), {}, b"{}"), Answer)


async def test_nothing_is_opened_before_the_first_call_and_closing_twice_is_fine() -> None:
    made = HttpSession(NetworkSettings(), context())
    await made.close()
    await made.close()
    with pytest.raises(RuntimeError, match="closed"):
        await made.send("POST", URL("https://crm.example/"), {}, b"")


async def test_closing_after_calls_twice_is_fine(crm: Sandbox) -> None:
    async with session() as made:
        await made.send("POST", URL(crm.url), {}, b"{}")
        await made.close()
        with pytest.raises(RuntimeError, match="closed"):
            await made.send("POST", URL(crm.url), {}, b"")


async def test_a_header_with_a_line_break_is_never_sent(crm: Sandbox) -> None:
    async with session() as made:
        with pytest.raises(ValueError, match=r"[Nn]ewline|[Hh]eader|injection"):
            await made.send("POST", URL(crm.url), {"X-Name": "a\r\nX-Other: b"}, b"{}")
    assert not crm.ledger
