"""Who is let in, and how often: tokens, versions, limits, and the errors of the table."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors.testing import Fault
from connectors.testing.salesforce import Client, SalesforceSandbox, faults
from tests.building import Clock
from tests.connectors.testing.salesforce_client import LEAD, NOW, UPSERTS, batch, call, fetch_token, lead

PRIVATE_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_KEY = PRIVATE_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
CREDENTIALS = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "secret"}
CLAIMS = {"iss": "client", "sub": "lead@acme.example", "aud": "https://login.salesforce.com", "exp": NOW + 300}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def crm(clock: Clock) -> AsyncIterator[SalesforceSandbox]:
    app = Client("client", "secret", username="lead@acme.example", certificate=PUBLIC_KEY, refresh_token="first")
    async with SalesforceSandbox(client=app, now=clock) as sandbox:
        yield sandbox


async def with_assertion(crm: SalesforceSandbox, key: Any = PRIVATE_KEY, **claims: Any) -> tuple[int, Any]:
    assertion = jwt.encode({**CLAIMS, **claims}, key, algorithm="RS256")
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    got = await fetch_token(crm, grant_type=grant, assertion=assertion)
    return got.status, got.document


async def test_client_credentials(crm: SalesforceSandbox) -> None:
    got = await fetch_token(crm, **CREDENTIALS)
    assert got.status == 200
    assert set(got.document) == {
        *("access_token", "scope", "instance_url", "id", "token_type", "signature", "token_format", "issued_at")
    }
    assert (got.document["instance_url"], got.document["issued_at"]) == (crm.origin, "1795600000000")
    assert (await call(crm, "GET", "/limits", token=got.document["access_token"])).status == 200
    basic = await fetch_token(crm, aiohttp.encode_basic_auth("client", "secret"), grant_type="client_credentials")
    assert basic.status == 200
    assert len(crm.tokens.requests) == 2


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({**CREDENTIALS, "client_id": "x"}, "invalid_client_id"),
        ({**CREDENTIALS, "client_secret": "x"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_id": "client"}, "invalid_request"),
        ({**CREDENTIALS, "grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
    ],
)
async def test_token_errors_with_and_without_a_description(
    crm: SalesforceSandbox, form: dict[str, str], error: str
) -> None:
    got = await fetch_token(crm, **form)
    assert (got.status, got.document["error"], set(got.document)) == (400, error, {"error", "error_description"})
    crm.tokens.describes_errors = False
    assert (await fetch_token(crm, **form)).document == {"error": error}


async def test_the_login_host_gives_no_token_for_client_credentials(crm: SalesforceSandbox) -> None:
    crm.tokens.my_domain = False
    assert (await fetch_token(crm, **CREDENTIALS)).document["error"] == "invalid_grant"


async def test_another_instance_url(crm: SalesforceSandbox) -> None:
    crm.tokens.instance_url = "https://evil.example"
    assert (await fetch_token(crm, **CREDENTIALS)).document["instance_url"] == "https://evil.example"


async def test_a_refresh_token_that_rotates_dies(crm: SalesforceSandbox) -> None:
    form = {**CREDENTIALS, "grant_type": "refresh_token", "refresh_token": "first"}
    assert "refresh_token" not in (await fetch_token(crm, **form)).document
    crm.tokens.client.rotates = True
    second = (await fetch_token(crm, **form)).document["refresh_token"]
    lost = await fetch_token(crm, **form)
    assert lost.document == {"error": "invalid_grant", "error_description": "expired access/refresh token"}
    assert (await fetch_token(crm, **{**form, "refresh_token": second})).status == 200


async def test_jwt_bearer(crm: SalesforceSandbox) -> None:
    status, document = await with_assertion(crm)
    assert (status, "refresh_token" in document) == (200, False)
    assert (await with_assertion(crm, exp=str(int(NOW + 180))))[0] == 200


@pytest.mark.parametrize(
    ("claims", "description"),
    [
        ({"exp": NOW + 301}, "invalid assertion"),
        ({"exp": NOW}, "invalid assertion"),
        ({"exp": "soon"}, "invalid assertion"),
        ({"iss": "x"}, "client identifier invalid"),
        ({"aud": "https://test.salesforce.com"}, "audience is invalid"),
        ({"sub": "x"}, "user hasn't approved this consumer"),
    ],
)
async def test_jwt_bearer_is_strict(crm: SalesforceSandbox, claims: dict[str, Any], description: str) -> None:
    status, document = await with_assertion(crm, **claims)
    assert (status, document["error_description"]) == (400, description)


async def test_a_jwt_of_another_key_or_of_no_key(crm: SalesforceSandbox) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert (await with_assertion(crm, other))[1]["error_description"] == "invalid assertion"
    crm.tokens.client.certificate = None
    assert (await with_assertion(crm))[1]["error_description"] == "invalid assertion"


async def test_a_session_expires_by_time_and_by_command(crm: SalesforceSandbox, clock: Clock) -> None:
    token = crm.tokens.grant()
    assert (await call(crm, "GET", "", token=token)).status == 200
    clock.now += 7200
    got = await call(crm, "GET", "", token=token)
    assert (got.status, got.document) == (
        401,
        [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}],
    )
    token = crm.tokens.grant()
    crm.tokens.expire()
    assert (await call(crm, "GET", "", token=token)).status == 401
    assert (await call(crm, "GET", "", Authorization="Basic eDp5")).code == "INVALID_AUTH_HEADER"


@pytest.mark.parametrize(
    ("version", "status", "code"), [("30.0", 410, "GONE"), ("69.0", 404, "NOT_FOUND"), ("x", 404, "NOT_FOUND")]
)
async def test_versions(crm: SalesforceSandbox, version: str, status: int, code: str) -> None:
    got = await call(crm, "GET", "/limits", version=version)
    assert (got.status, got.code) == (status, code)
    assert (await call(crm, "GET", "/limits", version="31.0")).status == 200


async def test_the_daily_limit_is_over_the_last_24_hours(crm: SalesforceSandbox, clock: Clock) -> None:
    crm.limits.daily = 3
    assert (await call(crm, "GET", "")).headers["Sforce-Limit-Info"] == "api-usage=1/3"
    clock.now += 3600
    token = (await fetch_token(crm, **CREDENTIALS)).document["access_token"]  # which is no call of the API
    assert (await call(crm, "GET", "/limits", token=token)).document["DailyApiRequests"] == {"Max": 3, "Remaining": 1}
    crm.limits.use(1)
    got = await call(crm, "POST", "/sobjects/Lead", LEAD)
    assert (got.status, got.code, got.document[0]["message"], crm.leads) == (
        *(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
        [],
    )
    assert got.headers["Sforce-Limit-Info"] == "api-usage=3/3"
    clock.now += 24 * 3600 - 3601
    assert (await call(crm, "GET", "")).status == 403
    clock.now += 1
    assert (await call(crm, "GET", "")).status == 200


async def test_an_app_has_a_quota_of_its_own(crm: SalesforceSandbox) -> None:
    crm.limits.app = ("leads", 2)
    crm.limits.use(5)  # by others, which is not the app's
    assert (await call(crm, "GET", "")).headers["Sforce-Limit-Info"] == (
        "api-usage=6/100000; per-app-api-usage=1/2(appName=leads)"
    )
    assert (await call(crm, "GET", "")).status == 200
    got = await call(crm, "POST", "/sobjects/Lead", LEAD)
    assert (got.status, got.code, crm.leads) == (403, "REQUEST_LIMIT_EXCEEDED", [])


async def test_an_org_may_go_on_past_its_limit_for_so_many_hours(crm: SalesforceSandbox, clock: Clock) -> None:
    crm.limits.daily, crm.limits.burst_hours, crm.limits.app = 1, 2, ("leads", 250)
    seen = []
    for seconds in (0, 0, 60, 3600, 3600):
        clock.now += seconds
        got = await call(crm, "GET", "")
        seen.append((got.status, got.headers["Sforce-Limit-Info"].rpartition("; ")[2]))
    assert seen == [
        (200, "api-bursts=0/2"),
        (200, "api-bursts=1/2"),
        (200, "api-bursts=1/2"),  # the same hour
        (200, "api-bursts=2/2"),
        (403, "api-bursts=2/2"),
    ]
    clock.now += 30 * 24 * 3600
    got = await call(crm, "GET", "")
    assert got.headers["Sforce-Limit-Info"] == ("api-usage=1/1; per-app-api-usage=1/250(appName=leads); api-bursts=0/2")


async def test_calls_that_take_long_count_while_they_last(crm: SalesforceSandbox, clock: Clock) -> None:
    crm.limits.concurrent = 1
    crm.faults.next(Fault.slow(0.2))
    begun = time.monotonic()
    slow = asyncio.create_task(call(crm, "POST", "/sobjects/Lead", LEAD))
    while not crm.leads:
        await asyncio.sleep(0)
    assert (await call(crm, "GET", "")).status == 200  # not long yet
    clock.now += 20
    got = await call(crm, "GET", "")
    assert (got.status, got.document[0]["message"]) == (
        403,
        "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
    )
    assert time.monotonic() - begun < 0.2
    assert (await slow).status == 201
    assert (await call(crm, "GET", "")).status == 200


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (faults.session_expired(), 401, "INVALID_SESSION_ID"),
        (faults.total_limit(), 403, "REQUEST_LIMIT_EXCEEDED"),
        (faults.concurrent_limit(), 403, "REQUEST_LIMIT_EXCEEDED"),
        (faults.invalid_field("X__c"), 400, "INVALID_FIELD"),
        (faults.invalid_type("X__c"), 400, "INVALID_TYPE"),
        (faults.api_disabled(), 403, "API_DISABLED_FOR_ORG"),
        (faults.insufficient_access(), 403, "INSUFFICIENT_ACCESS_OR_READONLY"),
        (faults.row_lock(), 400, "UNABLE_TO_LOCK_ROW"),
        (faults.row_lock(in_trigger=True), 400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
        (faults.not_found(), 404, "NOT_FOUND"),
        (faults.entity_deleted(), 404, "ENTITY_IS_DELETED"),
        (faults.retired(), 410, "GONE"),
        (faults.validation_failed("No", "Email"), 400, "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
        (faults.unknown_exception(), 500, "UNKNOWN_EXCEPTION"),
        (faults.server_unavailable(), 503, "SERVER_UNAVAILABLE"),
    ],
)
async def test_the_table_of_errors(crm: SalesforceSandbox, fault: Fault, status: int, code: str) -> None:
    crm.faults.next(fault)
    got = await call(crm, "PATCH", UPSERTS, batch(lead("k1")))
    assert (got.status, got.code, crm.leads) == (status, code, [])
    assert ("UNABLE_TO_LOCK_ROW" in got.body.decode()) == ("LOCK" in code or "ACTIVATE" in code)


@pytest.mark.parametrize(
    ("url", "header", "status"), [(16_384, 0, 431), (16_385, 0, 414), (16_000, 0, 404), (8_000, 8_400, 431)]
)
async def test_an_address_and_its_headers_have_16384_bytes(
    crm: SalesforceSandbox, url: int, header: int, status: int
) -> None:
    token, start = crm.tokens.grant(), "/services/data/v68.0"
    path = "/".ljust(url - len(start), "x")
    got = await call(crm, "GET", path, token=token, X_Filler="x" * header)
    assert (got.status, len(crm.ledger[-1].path)) == (status, url)
    assert (got.headers["Content-Type"] == "text/html") == (status != 404)
    assert crm.limits.used == (status == 404)


async def test_a_gateway_answers_with_a_page(crm: SalesforceSandbox) -> None:
    crm.faults.next(faults.gateway_page(504))
    got = await call(crm, "GET", "")
    assert (got.status, got.headers["Content-Type"]) == (504, "text/html")


async def test_an_answer_that_is_lost_after_the_write(crm: SalesforceSandbox) -> None:
    crm.faults.next(faults.lost_answer(), on="/composite/sobjects/")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await call(crm, "PATCH", UPSERTS, batch(lead("k1")))
    assert len(crm.leads) == 1


async def test_faults_of_the_token_endpoint(crm: SalesforceSandbox) -> None:
    crm.token_faults.next(faults.token_refused(description="audience is invalid"))
    crm.token_faults.next(faults.token_refused())
    assert [(await fetch_token(crm, **CREDENTIALS)).document for _ in range(2)] == [
        {"error": "invalid_grant", "error_description": "audience is invalid"},
        {"error": "invalid_grant"},
    ]
    assert (await fetch_token(crm, **CREDENTIALS)).status == 200
