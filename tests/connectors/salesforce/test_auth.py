import asyncio
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from multidict import CIMultiDict
from pydantic import ValidationError

from connectors.base import Blame, Delivered, Reason, Retry, SettingError, VaultError
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.tokens import Token
from connectors.salesforce.auth import login_url, read_instance, token_form
from connectors.testing.salesforce import SalesforceSandbox, faults
from connectors.testing.salesforce.tokens import Client
from tests.connectors.building import NOW, context
from tests.connectors.salesforce.building import connector, leads, record, settings

USER = "integration@acme.example"


class MemoryVault:
    """Keeps what is written, and may be in trouble."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.is_well = True

    async def read(self, name: str) -> str | None:
        return self.kept.get(name)

    async def write(self, name: str, value: str) -> None:
        if not self.is_well:
            raise VaultError("the store is full")
        self.kept[name] = value


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def public(key: rsa.RSAPrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def by_jwt(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    return {"client_secret": None, "private_key": pem(key), "username": USER}


async def test_client_credentials(org: SalesforceSandbox) -> None:
    target = connector(org)
    for each in leads(3):
        assert isinstance((await target.deliver([each]))[0], Delivered)
    await target.close()
    assert org.tokens.requests == [
        {"grant_type": "client_credentials", "client_id": "client", "client_secret": "secret"}
    ]


async def test_jwt_bearer(key: rsa.RSAPrivateKey) -> None:
    client = Client("client", "secret", username=USER, certificate=public(key))
    async with SalesforceSandbox(client=client, now=lambda: NOW) as org:
        target = connector(org, **by_jwt(key))
        (outcome,) = await target.deliver([record()])
        await target.close()
    assert isinstance(outcome, Delivered)
    (form,) = org.tokens.requests
    assert set(form) == {"grant_type", "assertion"}


@pytest.mark.parametrize(
    ("login", "audience"),
    [
        ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://login.salesforce.com", "https://login.salesforce.com"),
        ("https://test.salesforce.com", "https://test.salesforce.com"),
        ("https://acme--dev.sandbox.my.salesforce.com", "https://test.salesforce.com"),
    ],
)
def test_an_assertion_is_for_the_right_audience(key: rsa.RSAPrivateKey, login: str, audience: str) -> None:
    form = token_form(settings(login_url=login, **by_jwt(key)), NOW, None)
    claims = jwt.decode(form["assertion"], public(key), ["RS256"], options={"verify_exp": False, "verify_aud": False})
    assert claims == {"iss": "client", "sub": USER, "aud": audience, "exp": int(NOW) + 180}


@pytest.mark.parametrize("wrong", ["no key", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_cannot_sign_is_found_at_once(wrong: str) -> None:
    with pytest.raises(SettingError) as caught:
        connector(None, client_secret=None, private_key=wrong, username="u")
    assert caught.value.path == ("private_key",)
    assert wrong not in str(caught.value)


def refreshing(rotates: bool = True) -> Client:
    return Client("client", "secret", refresh_token="first", rotates=rotates)


async def test_a_rotated_refresh_token_is_kept_before_the_access_token_is_used() -> None:
    vault = MemoryVault()
    async with SalesforceSandbox(client=refreshing(), now=lambda: NOW) as org:
        for times in range(3):  # a restart each time
            target = connector(org, refresh_token="first")
            target.open(vault)
            assert isinstance((await target.deliver([record()]))[0], Delivered)
            await target.close()
            assert list(vault.kept.values()) == [org.tokens.client.refresh_token]
            assert len(org.tokens.requests) == times + 1


async def test_a_refresh_token_that_cannot_be_kept_is_not_used() -> None:
    vault = MemoryVault()
    vault.is_well = False
    async with SalesforceSandbox(client=refreshing(), now=lambda: NOW) as org:
        target = connector(org, refresh_token="first")
        target.open(vault)
        (held,) = await target.deliver([record()])
        assert isinstance(held, Retry)
        assert (held.blame, list(org.ledger)) == (Blame.DESTINATION, [])
        assert "the store is full" in held.detail
        vault.is_well = True
        assert isinstance((await target.deliver([record()]))[0], Delivered)
        await target.close()
    assert list(vault.kept.values()) == [org.tokens.client.refresh_token]


async def test_without_rotation_nothing_is_kept() -> None:
    vault = MemoryVault()
    async with SalesforceSandbox(client=refreshing(rotates=False), now=lambda: NOW) as org:
        target = connector(org, refresh_token="first")
        target.open(vault)
        await target.deliver([record()])
        org.tokens.expire()
        assert isinstance((await target.deliver([record()]))[0], Delivered)
        await target.close()
    assert vault.kept == {}


async def test_fifty_calls_that_find_the_token_expired_renew_it_once(org: SalesforceSandbox) -> None:
    target = connector(org, context(concurrency=50))
    await target.deliver([record()])
    org.tokens.expire()
    outcomes = await asyncio.gather(*(target.deliver([each]) for each in leads(50)))
    await target.close()
    assert all(isinstance(each, Delivered) for (each,) in outcomes)
    assert len(org.tokens.requests) == 2
    assert len(org.leads) == 51


async def test_fifty_first_calls_need_one_token_and_one_describe(org: SalesforceSandbox) -> None:
    target = connector(org, context(concurrency=50))
    await asyncio.gather(*(target.deliver([each]) for each in leads(50)))
    await target.close()
    assert len(org.tokens.requests) == 1
    assert sum("/describe" in each.path for each in org.ledger) == 1


async def test_a_token_that_never_holds_is_the_destinations_trouble(org: SalesforceSandbox) -> None:
    org.faults.share(faults.session_expired(), 1.0)
    target = connector(org)
    (held,) = await target.deliver([record()])
    await target.close()
    assert isinstance(held, Retry)
    assert (held.blame, held.reason) == (Blame.DESTINATION, Reason.UNAUTHORIZED)
    assert (len(org.tokens.requests), len(org.ledger)) == (2, 2)


@pytest.mark.parametrize("described", [True, False])
async def test_wrong_credentials_hold_the_destination(org: SalesforceSandbox, described: bool) -> None:
    org.tokens.describes_errors = described
    target = connector(org, client_secret="wr0ng")
    (held,) = await target.deliver([record()])
    await target.close()
    assert isinstance(held, Retry)
    assert (held.blame, held.reason, list(org.ledger)) == (Blame.DESTINATION, Reason.UNAUTHORIZED, [])
    assert "invalid_client" in held.detail
    assert "wr0ng" not in held.detail


async def test_leads_do_not_go_to_another_address_than_salesforces(org: SalesforceSandbox) -> None:
    org.tokens.instance_url = "https://evil.example"
    target = connector(org)
    (held,) = await target.deliver([record()])
    await target.close()
    assert isinstance(held, Retry)
    assert (held.blame, held.reason, list(org.ledger)) == (Blame.DESTINATION, Reason.BAD_ANSWER, [])
    assert "evil.example" in held.detail


@pytest.mark.parametrize(
    ("said", "private", "good"),
    [
        ("https://acme.my.salesforce.com", False, True),
        ("https://acme--dev.sandbox.my.salesforce.com", False, True),
        ("https://acme.my.salesforce.mil", False, True),
        ("http://acme.my.salesforce.com", False, False),
        ("https://acme.my.salesforce.com:8443", False, False),
        ("https://salesforce.com.evil.example", False, False),
        ("https://evilsalesforce.com", False, False),
        ("https://user:password@acme.my.salesforce.com", False, False),
        ("http://127.0.0.1:8080", False, False),
        ("http://127.0.0.1:8080", True, True),
        ("http://localhost:8080", True, True),
        ("http://crm:8080", True, True),
        ("http://other:8080", True, False),
        ("https://evil.example", True, False),
        ("", False, False),
        (None, False, False),
        (7, False, False),
    ],
)
def test_the_orgs_address_is_pinned(said: object, private: bool, good: bool) -> None:
    made = settings(login_url="http://crm:80" if private else "https://a.my.salesforce.com", allow_private=private)
    body = (
        b'{"instance_url": %b}' % ("null" if said is None else f'"{said}"' if isinstance(said, str) else "7").encode()
    )
    found = read_instance(Token("t", float("inf")), Answer(200, CIMultiDict(), body), made)
    assert isinstance(found, Failure) is not good


@pytest.mark.parametrize(
    "url",
    [
        "http://a.my.salesforce.com",
        "https://a.my.salesforce.com/services/oauth2/token",
        "https://salesforce.con",
        "https://127.0.0.1",
        "nothing",
        "https://login.salesforce.com",
        "https://test.salesforce.com/",
    ],
)
def test_a_login_address_that_is_not_salesforces_is_refused(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        login_url(settings(login_url=url))
    assert caught.value.path == ("login_url",)


@pytest.mark.parametrize("flow", [{"private_key": "k", "username": "u", "client_secret": None}, {"refresh_token": "r"}])
def test_other_flows_may_ask_the_host_of_all_orgs(flow: dict[str, Any]) -> None:
    assert str(login_url(settings(login_url="https://login.salesforce.com", **flow))) == "https://login.salesforce.com"


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_secret": None},
        {"private_key": "k", "username": "u"},
        {"client_secret": None, "private_key": "k"},
        {"username": "u"},
        {"api_version": "45.0"},
        {"api_version": "v68"},
        {"quota_reserve": 101},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)


@pytest.mark.parametrize("wrong", ["", " ", "secret\n", "se cret", "secr\x00et", "sécret"])
@pytest.mark.parametrize("name", ["client_id", "client_secret", "refresh_token"])
def test_what_can_be_no_credential_is_told(name: str, wrong: str) -> None:
    with pytest.raises(SettingError) as caught:
        connector(None, None, **{name: wrong})
    assert caught.value.path == (name,)
    assert not wrong.strip() or wrong not in str(caught.value)


@pytest.mark.parametrize("wrong", ["", "a user@acme.example", "user@acme.example\n"])
def test_what_can_be_no_user_is_told(key: rsa.RSAPrivateKey, wrong: str) -> None:
    with pytest.raises(SettingError) as caught:
        connector(None, None, **{**by_jwt(key), "username": wrong})
    assert caught.value.path == ("username",)


async def test_secrets_are_in_no_repr(key: rsa.RSAPrivateKey, org: SalesforceSandbox) -> None:
    target = connector(org)
    (outcome,) = await target.deliver([record()])
    made = settings(**by_jwt(key))
    assert "PRIVATE KEY" not in repr(made)
    shown = repr((outcome, settings(org), target.preview([record()])))
    await target.close()
    assert "secret'" not in shown.replace("client_secret", "")
    await target.close()


def test_half_a_key_or_one_with_a_password_cannot_sign(key: rsa.RSAPrivateKey) -> None:
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    for wrong in (public(key).decode(), locked.decode()):
        with pytest.raises(SettingError) as caught:
            connector(None, client_secret=None, private_key=wrong, username="u")
        assert caught.value.path == ("private_key",)
