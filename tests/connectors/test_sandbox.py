"""The sandbox itself: it must be as strict as what it stands for, or tests on it prove nothing."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from connectors.testing import Fault, Faults, Sandbox

JSON = {"Content-Type": "application/json"}


async def call(
    crm: Sandbox, body: bytes = b"{}", path: str = "", method: str = "POST", headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, crm.url + path, data=body, headers={**JSON, **(headers or {})}) as response,
    ):
        return response.status, await response.json(content_type=None)


async def test_upserts_by_key_without_regard_to_case(crm: Sandbox) -> None:
    assert await call(crm, b'{"email": "A@b.co", "name": "x"}') == (
        201,
        {"ok": True, "id": "1", "key": "a@b.co", "created": True},
    )
    assert await call(crm, b'{"email": "a@B.co", "phone": "1"}') == (
        200,
        {"ok": True, "id": "1", "key": "a@b.co", "created": False},
    )
    (stored,) = crm.records
    assert (stored.writes, stored.fields) == (2, {"email": "a@B.co", "name": "x", "phone": "1"})


async def test_without_a_key_each_record_is_new(crm: Sandbox) -> None:
    for _ in range(2):
        assert (await call(crm, b'{"name": "x"}'))[0] == 201
    assert len(crm.records) == 2


async def test_a_batch(crm: Sandbox) -> None:
    status, answer = await call(crm, b'[{"email": "a@b.co"}, {"email": "c@d.co"}]')
    assert (status, answer["ok"], [each["id"] for each in answer["results"]]) == (200, True, ["1", "2"])


async def test_by_address(crm: Sandbox) -> None:
    assert (await call(crm, b"{}", "/a%40b.co", "PATCH"))[0] == 404
    assert (await call(crm, b'{"n": 1}', "/a%40b.co", "PUT"))[0] == 201
    assert (await call(crm, b'{"n": 2}', "/a%40b.co", "PATCH"))[0] == 200
    assert await call(crm, b"", "/a%40b.co", "GET") == (200, {"id": "1", "email": "a@b.co", "n": 2})
    assert (await call(crm, b"", "/x", "GET"))[0] == 404
    assert (await call(crm, b"", "/x", "DELETE"))[0] == 405
    assert (await call(crm, b"[]", "/x", "PUT"))[0] == 400


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b'"text"', {}, 400),
        (b"[1]", {}, 400),
        (b"[]", {}, 400),
        (b'[{"email": "A@b.co"}, {"email": "a@B.co"}]', {}, 400),
        (b"[{}, {}, {}, {}]", {}, 400),
        (b'{"email": ""}', {}, 422),
        (b"{}", {}, 422),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"a=b&c", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"\xff=b", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"email=a%40b.co", {"Content-Type": "application/x-www-form-urlencoded"}, 201),
        (b'{"x": "%s"}' % (b"x" * 2000), {}, 413),
    ],
)
async def test_it_is_strict(body: bytes, headers: dict[str, str], status: int) -> None:
    async with Sandbox(required=["email"], max_batch=3, max_body=1000) as crm:
        found, answer = await call(crm, body, headers=headers)
    assert found == status
    assert answer["ok"] == (status == 201)


async def test_other_addresses_and_methods(crm: Sandbox) -> None:
    assert (await call(crm, method="PUT"))[0] == 405
    async with aiohttp.ClientSession() as session, session.get(crm.origin) as response:
        assert response.status == 404
    async with aiohttp.ClientSession() as session, session.post(crm.token_url) as response:
        assert response.status == 404


async def test_a_known_idempotency_key_gets_the_first_answer_and_writes_nothing() -> None:
    async with Sandbox(key=None) as crm:
        first = await call(crm, b'{"n": 1}', headers={"Idempotency-Key": '"k"'})
        assert await call(crm, b'{"n": 1}', headers={"Idempotency-Key": "k"}) == first
        assert (await call(crm, b'{"n": 2}', headers={"Idempotency-Key": "k"}))[0] == 422
        assert len(crm.records) == 1


@pytest.mark.parametrize(
    ("authorization", "form", "status"),
    [
        ("", b"grant_type=client_credentials&client_id=i&client_secret=s", 200),
        ("Basic aTpz", b"grant_type=client_credentials", 200),
        ("Basic aTp4", b"grant_type=client_credentials", 401),
        ("Basic ???", b"grant_type=client_credentials", 401),
        ("", b"grant_type=password", 400),
        ("", b"", 400),
    ],
)
async def test_the_token_endpoint(authorization: str, form: bytes, status: int) -> None:
    async with Sandbox(client=("i", "s")) as crm:
        headers = {"Authorization": authorization, "Content-Type": "application/x-www-form-urlencoded"}
        assert (await call(crm))[0] == 401
        async with aiohttp.ClientSession() as session, session.post(crm.token_url, data=form, headers=headers) as given:
            assert given.status == status
            document = await given.json()
        if status == 200:
            assert (await call(crm, headers={"Authorization": f"Bearer {document['access_token']}"}))[0] == 201


async def test_faults_fall_on_the_next_calls_or_on_a_share_of_them() -> None:
    faults = Faults(seed=1)
    one, other = Fault.answers(500), Fault.answers(429)
    faults.next(one, times=2)
    faults.share(other, 0.25)
    assert [faults.draw(), faults.draw()] == [one, one]
    drawn = [faults.draw() for _ in range(1000)]
    assert 200 < drawn.count(other) < 300
    faults.clear()
    assert faults.draw() is None


async def test_the_ledger_remembers_what_arrived_and_when() -> None:
    async with Sandbox(now=lambda: 42.0) as crm:
        crm.faults.next(Fault.answers(503, {"Retry-After": "7"}))
        assert (await call(crm, b"{}", "?a=b"))[0] == 503
        (arrival,) = crm.ledger
    assert (arrival.at, arrival.path, arrival.body) == (42.0, "/contacts?a=b", b"{}")
    assert arrival.fault == Fault.answers(503, {"Retry-After": "7"})


async def test_slow_answers_take_their_time(crm: Sandbox) -> None:
    crm.faults.next(Fault.slow(0.05))
    begun = time.monotonic()
    assert (await call(crm))[0] == 201
    assert time.monotonic() - begun >= 0.05


async def test_lost_answers(crm: Sandbox) -> None:
    for fault, written in ((Fault.disconnects(written=False), 0), (Fault.disconnects(written=True), 1)):
        crm.faults.next(fault)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await call(crm)
        assert len(crm.records) == written
    crm.faults.next(Fault.half_an_answer())
    with pytest.raises(aiohttp.ClientPayloadError):
        await call(crm)
    assert len(crm.records) == 2


async def test_a_caller_that_leaves_in_the_middle_of_a_drip_is_no_error(crm: Sandbox) -> None:
    crm.faults.next(Fault.drips(0.02))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(crm), 0.05)
    assert (await call(crm))[0] == 201
