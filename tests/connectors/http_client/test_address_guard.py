import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from connectors.base import Blame, Reason, SettingError
from connectors.http_client.address_guard import (
    AddressRefused,
    GuardedResolver,
    Reach,
    check_address,
    check_url,
    guarded_sockets,
    reach,
)
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.session import HttpSession
from connectors.http_client.settings import NetworkSettings
from connectors.testing import Sandbox
from tests.connectors.building import answers, connector, context, raw_server

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "198.18.0.1",
    "::1",
    "::",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "64:ff9b::127.0.0.1",
    "64:ff9b::c0a8:101",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2002:a00:1::",
]
NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "2001::1",
    "100::1",
    "::127.0.0.1",
    "4000::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [(each, Reach.PRIVATE) for each in PRIVATE]
    + [(each, Reach.NEVER) for each in NEVER]
    + [(each, Reach.PUBLIC) for each in PUBLIC],
)
def test_reach(address: str, expected: Reach) -> None:
    assert reach(address) is expected


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_an_address_inside_another_is_judged_as_if_it_stood_alone(inner: IPv4Address, outer: str) -> None:
    carried = IPv6Address(int(IPv6Address(outer)) + int(inner))
    assert reach(str(carried)) is reach(str(inner))


@given(st.ip_addresses(v=6))
def test_only_global_unicast_is_public(address: IPv6Address) -> None:
    if reach(str(address)) is Reach.PUBLIC:
        assert address in IPv6Network("2000::/3") or address.ipv4_mapped or address in IPv6Network("64:ff9b::/96")


@pytest.mark.parametrize("address", NEVER)
def test_no_setting_opens_metadata_servers_and_reserved_ranges(address: str) -> None:
    with pytest.raises(AddressRefused, match="no destination"):
        check_address(address, allow_private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_the_setting(address: str) -> None:
    check_address(address, allow_private=True)
    with pytest.raises(AddressRefused, match="allow_private"):
        check_address(address, allow_private=False)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://crm.example/", "must be https"),
        ("ftp://crm.example/", "must begin with https://"),
        ("https:///path", "must begin with https://"),
        ("/contacts", "must begin with https://"),
        ("https://user@crm.example/", "put them into auth"),
        ("https://:secret@crm.example/", "put them into auth"),
        ("https://127.0.0.1/", "private address"),
        ("https://127.0.0.1./", "private address"),
        ("https://[::1]/", "private address"),
        ("https://[fe80::1%25eth0]/", "private address"),
        ("https://[::ffff:127.0.0.1]/", "private address"),
        ("https://169.254.169.254/latest", "no destination"),
        ("https://\uff11\uff12\uff17.0.0.1/", "private address"),
        ("https://①②⑦.⓪.⓪.①/", "private address"),
        ("https://127.1/", "four decimal numbers"),
        ("https://2130706433/", "four decimal numbers"),
        ("https://0x7f000001/", "four decimal numbers"),
        ("https://0x7f.0.0.1/", "four decimal numbers"),
        ("https://0177.0.0.1/", "four decimal numbers"),
        ("https://017700000001/", "four decimal numbers"),
    ],
)
def test_what_is_wrong_with_a_url_is_found_without_the_network(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_url(URL(url), allow_private=False)


def test_the_setting_allows_private_addresses_and_plain_http() -> None:
    check_url(URL("http://192.168.1.5:8080/x"), allow_private=True)
    check_url(URL("https://crm.example/"), allow_private=False)


class Names(AbstractResolver):
    """Gives each name the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.port = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=self.port or port, family=family, proto=0, flags=0)
            for each in self.addresses
        ]

    async def close(self) -> None:
        pass


async def send(url: str, resolver: AbstractResolver | None = None, **settings: Any) -> Answer | Failure:
    session = HttpSession(NetworkSettings.model_validate(settings), context(), resolver=resolver)
    try:
        return await session.send("POST", URL(url), {}, b"{}")
    finally:
        await session.close()


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("8.8.8.8", "127.0.0.1"), ("::1",), ("::ffff:10.0.0.1",)])
async def test_a_name_that_leads_inside_is_refused(addresses: tuple[str, ...]) -> None:
    result = await send("https://crm.example/", Names(*addresses))
    assert isinstance(result, Failure)
    assert not result.sent
    assert not result.momentary
    assert (result.outcome.reason, result.outcome.blame) == (Reason.UNREACHABLE, Blame.DESTINATION)
    assert "crm.example:443 is not reached" in result.outcome.detail
    assert "allow_private" in result.outcome.detail


async def test_of_such_a_name_not_even_the_public_addresses_are_used() -> None:
    with pytest.raises(AddressRefused):
        await GuardedResolver(Names("8.8.8.8", "10.0.0.1"), allow_private=False).resolve("crm.example")
    found = await GuardedResolver(Names("8.8.8.8"), allow_private=False).resolve("crm.example", 443)
    assert [each["host"] for each in found] == ["8.8.8.8"]


async def test_a_name_is_looked_up_by_the_system_and_then_checked() -> None:
    result = await send("https://localhost/")
    assert isinstance(result, Failure)
    assert "allow_private" in result.outcome.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0x7f000001"])
async def test_an_address_in_the_url_is_checked_though_no_resolver_is_asked(host: str) -> None:
    async with raw_server(answers(b"200 OK")) as raw:
        result = await send(f"http://{host}:{raw.port}/")
    assert isinstance(result, Failure)
    assert not result.sent
    assert raw.connections == 0


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1"])
@pytest.mark.parametrize("allow_private", [False, True])
async def test_odd_spellings_of_an_address_never_connect(host: str, *, allow_private: bool) -> None:
    async with raw_server(answers(b"200 OK")) as raw:
        result = await send(f"http://{host}:{raw.port}/", allow_private=allow_private)
    assert isinstance(result, Failure)
    assert not result.sent
    assert raw.connections == 0


async def test_the_check_is_made_on_the_socket_even_if_the_resolver_lets_something_through() -> None:
    make = guarded_sockets(allow_private=False)
    with pytest.raises(AddressRefused):
        make((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80)))


async def test_the_setting_opens_the_way(crm: Sandbox) -> None:
    names = Names("127.0.0.1")
    names.port = URL(crm.url).port or 0
    result = await send("http://crm.internal/contacts", names, allow_private=True)
    assert isinstance(result, Answer)
    assert len(crm.ledger) == 1


async def test_a_name_that_is_none_is_no_exception() -> None:
    class Odd(Names):
        async def resolve(self, *_: Any, **__: Any) -> list[ResolveResult]:
            raise UnicodeError("label too long")

    with pytest.raises(OSError, match="not a host name"):
        await GuardedResolver(Odd(), allow_private=True).resolve("x" * 70)
    result = await send("https://crm.example/", Odd())
    assert isinstance(result, Failure)
    assert not result.sent


@pytest.mark.parametrize("url", ["http://crm.example/", "https://10.0.0.1/", "https://user:pw@crm.example/"])
def test_the_connector_refuses_such_a_url_when_it_is_made(url: str) -> None:
    with pytest.raises(SettingError) as refused:
        connector(url, allow_private=False)
    assert refused.value.path == ("url",)
    assert "pw" not in refused.value.message


def test_the_token_url_is_checked_too() -> None:
    oauth2 = {"token_url": "http://10.0.0.1/token", "client_id": "id", "client_secret": "secret"}
    with pytest.raises(SettingError) as refused:
        connector("https://crm.example/", allow_private=False, auth={"oauth2": oauth2})
    assert refused.value.path == ("auth", "oauth2", "token_url")
