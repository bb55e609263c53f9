"""The grants of OAuth 2 beside client credentials: refresh token and JWT bearer."""

from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError

from connectors.base import STAND_IN, Delivered, Retry, SettingError
from connectors.google_sheets import GoogleSheetsConnector
from connectors.google_sheets.settings import GoogleSheetsSettings
from connectors.http import HttpConnector
from connectors.http.settings import HttpSettings
from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.fake import FakeApi
from connectors.testing.subject import MemoryVault
from tests.connectors.building import NOW, connector, context, record

KEY = rsa.generate_private_key(65537, 2048)


def pem(key: Any) -> str:
    form = serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()), "ascii")


class GrantsFake(FakeApi):
    """A token endpoint that replaces each refresh token, and takes assertions; and an API that checks the token."""

    def __init__(self) -> None:
        super().__init__(now=lambda: NOW)
        self.refresh_token = "refresh-0"
        self.forms: list[dict[str, str]] = []
        self.claims: list[dict[str, Any]] = []
        self.route("/token", self._token, noted=False)
        self.route("/leads", self._lead)

    def _token(self, _: web.Request, body: bytes) -> Reply:
        form = dict(parse_qsl(body.decode(), strict_parsing=True))
        self.forms.append(form)
        token = f"access-{len(self.forms)}"
        if form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            options: Any = {"verify_exp": False, "verify_iat": False}
            key = KEY.public_key()
            audience = f"{self.origin}/token"
            claims = jwt.decode(form["assertion"], key, algorithms=["RS256"], audience=audience, options=options)
            self.claims.append({**claims, "kid": jwt.get_unverified_header(form["assertion"])["kid"]})
            return Reply(200, {"access_token": token, "expires_in": 3600})
        if form.get("refresh_token") != self.refresh_token or form.get("client_id") != "app":
            return Reply(400, {"error": "invalid_grant"})
        self.refresh_token = f"refresh-{len(self.forms)}"
        return Reply(200, {"access_token": token, "expires_in": 3600, "refresh_token": self.refresh_token})

    def _lead(self, request: web.Request, _: bytes) -> Reply:
        if request.headers.get("Authorization") != f"Bearer access-{len(self.forms)}":
            raise RefusedError(401, "wrong token")
        return Reply(200, {"ok": True})


def target(fake: GrantsFake, **oauth2: Any) -> HttpConnector:
    auth = {"oauth2": {"token_url": f"{fake.origin}/token", "client_id": "app", **oauth2}}
    return connector(f"{fake.origin}/leads", auth=auth)


async def test_a_replaced_refresh_token_is_kept_and_used_after_a_restart() -> None:
    vault = MemoryVault()
    async with GrantsFake() as fake:
        for number in range(2):
            made = target(fake, refresh_token="refresh-0", client_secret="s3cret")
            made.open(vault)
            assert await made.deliver([record()]) == [Delivered(status=200)]
            await made.close()
            assert list(vault.values.values()) == [f"refresh-{number + 1}"]
        assert [form["refresh_token"] for form in fake.forms] == ["refresh-0", "refresh-1"]
        assert {form["client_secret"] for form in fake.forms} == {"s3cret"}


async def test_a_dead_refresh_token_holds_the_destination_and_is_not_shown() -> None:
    async with GrantsFake() as fake:
        made = target(fake, refresh_token="refresh-of-yesterday")
        (outcome,) = await made.deliver([record()])
        await made.close()
    assert isinstance(outcome, Retry)
    assert "invalid_grant" in outcome.detail
    assert "yesterday" not in repr(outcome)
    assert "client_secret" not in fake.forms[0]


async def test_a_service_account_signs_an_assertion() -> None:
    async with GrantsFake() as fake:
        made = target(fake, private_key=pem(KEY), key_id="k1", subject="sales@acme.example", scope="leads.write")
        assert await made.deliver([record(), record()]) == [Delivered(status=200)] * 2
        await made.close()
    (claims,) = fake.claims
    assert {name: claims[name] for name in ("iss", "sub", "scope", "kid")} == {
        "iss": "app",
        "sub": "sales@acme.example",
        "scope": "leads.write",
        "kid": "k1",
    }
    assert (claims["iat"], claims["exp"]) == (int(NOW), int(NOW) + 300)
    assert set(fake.forms[0]) == {"grant_type", "assertion"}


@pytest.mark.parametrize(
    ("path", "oauth2"),
    [
        (("auth", "oauth2", "private_key"), {"private_key": "no key"}),
        (("auth", "oauth2", "private_key"), {"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}),
        (("auth", "oauth2", "refresh_token"), {"refresh_token": "with a blank"}),
        (("auth", "oauth2", "token_url"), {"refresh_token": "r", "token_url": "http://crm.example/"}),
    ],
)
def test_grants_that_cannot_work_are_found_by_check(path: tuple[str, ...], oauth2: dict[str, Any]) -> None:
    auth = {"oauth2": {"token_url": "https://crm.example/token", "client_id": "app", **oauth2}}
    with pytest.raises(SettingError) as found:
        HttpConnector(HttpSettings.model_validate({"url": "https://crm.example/", "auth": auth}), context())
    assert found.value.path == path


@pytest.mark.parametrize(
    "oauth2",
    [
        {},
        {"private_key": "k", "client_secret": "s"},
        {"private_key": "k", "refresh_token": "r"},
        {"client_secret": "s", "subject": "x"},
        {"refresh_token": "r", "key_id": "x"},
    ],
)
def test_a_destination_has_one_grant(oauth2: dict[str, Any]) -> None:
    auth = {"oauth2": {"token_url": "https://crm.example/token", "client_id": "app", **oauth2}}
    with pytest.raises(ValidationError):
        HttpSettings.model_validate({"url": "https://crm.example/", "auth": auth})


async def test_a_key_that_is_not_set_yet_is_a_failure_of_the_token() -> None:
    async with GrantsFake() as fake:
        settings = {"service_account": f"{STAND_IN}SHEET", "spreadsheet_id": "s", "base_url": fake.origin}
        made = GoogleSheetsConnector(
            GoogleSheetsSettings.model_validate({**settings, "allow_private": True}), context()
        )
        (finding,) = await made.probe([])
        await made.close()
        assert not fake.forms
    assert finding.setting == ("service_account",)
    assert "the private key must be an RSA private key" in finding.message
