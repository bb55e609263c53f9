"""What a page of another site can have a person's browser do here: open a page, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from bridge import app
from bridge.admin.authentication import COOKIE
from bridge.admin.dashboard.trouble import next_path
from bridge.admin.origin import client_address, foreign_reason
from bridge.config.model import Config
from tests.admin.conftest import OPERATOR, Desk
from tests.admin.test_pages import log_in
from tests.building import Clock

OPENED = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FOREIGN: tuple[Mapping[str, str], ...] = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", **OPENED},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
)
OWN: tuple[Mapping[str, str], ...] = (
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    # The browser itself says so, and so an origin behind a proxy with another name does no harm.
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://outside.example"},
)


class Browser:
    """A browser that has logged in; each request says for itself where it comes from."""

    def __init__(self, desk: Desk) -> None:
        self.at = f"http://{desk.bridge.admin}"
        (self.cookie,) = [f"{each.key}={each.value}" for each in desk.session.cookie_jar if each.key == COOKIE]

    async def status(self, method: str, path: str, headers: Mapping[str, str], **options: Any) -> int:
        said = {"Cookie": self.cookie, **headers}
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(method, self.at + path, headers=said, allow_redirects=False, **options) as answer,
        ):
            return answer.status


async def lane(desk: Desk) -> str:
    return str((await desk.ask("GET", "/api/lanes"))[1]["lanes"][0]["state"])


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_site_has_no_file_made_and_changes_nothing(desk: Desk, headers: Mapping[str, str]) -> None:
    await log_in(desk)
    person = Browser(desk)
    for path in (
        "/leads.csv",
        "/leads%2Ecsv",
        "/api/leads.csv",
        "/api/leads.csv?reveal=true",
        "/api/events",
    ):
        assert await person.status("GET", path, headers) == 403, path
    for path in ("/leads.csv", "/destinations/crm/pause", "/logout", "/login"):
        assert await person.status("POST", path, headers, data={"token": OPERATOR}) == 403, path
    assert await person.status("POST", "/api/lanes/crm/pause", headers, json={}) == 403
    assert await lane(desk) == "running"
    entries = (await desk.ask("GET", "/api/audit"))[1]["entries"]
    assert {each["action"] for each in entries} == {"login", "refused_action"}
    assert {(each["role"], each["means"]) for each in entries if each["count"] is None} == {("operator", "session")}


@pytest.mark.parametrize("headers", OWN)
async def test_the_dashboards_own_pages_do_all(desk: Desk, headers: Mapping[str, str]) -> None:
    await log_in(desk)
    person = Browser(desk)
    for path in ("/", "/leads.csv", "/api/leads.csv", "/api/events"):
        assert await person.status("GET", path, headers) == 200, path
    assert await person.status("POST", "/api/lanes/crm/pause", headers, json={}) == 200
    assert await person.status("POST", "/destinations/crm/resume", headers) == 303


async def test_another_site_may_open_a_page_and_frame_none(desk: Desk) -> None:
    await log_in(desk)
    person = Browser(desk)
    for site in ("cross-site", "same-site"):
        from_there = {"Sec-Fetch-Site": site}
        assert await person.status("GET", "/leads", {**from_there, **OPENED}) == 200
        assert await person.status("GET", "/leads", {**from_there, **OPENED, "Sec-Fetch-Dest": "iframe"}) == 403
        assert await person.status("GET", "/leads", {**from_there, "Sec-Fetch-Mode": "no-cors"}) == 403
        assert await person.status("POST", "/leads", {**from_there, **OPENED}, data={"who": "x"}) == 403


async def test_a_change_with_a_cookie_that_says_nothing_of_its_site_is_refused(desk: Desk) -> None:
    await log_in(desk)
    person = Browser(desk)
    assert await person.status("POST", "/destinations/crm/pause", {}) == 403
    assert await person.status("POST", "/api/lanes/crm/pause", {}, json={}) == 403
    assert await lane(desk) == "running"
    token = {"Authorization": f"Bearer {OPERATOR}"}
    assert await person.status("POST", "/api/lanes/crm/pause", token, json={}) == 200
    for said in FOREIGN:
        assert await person.status("GET", "/api/leads.csv", {**token, **said}) == 200, "a program with a token"


async def test_the_name_that_a_proxy_was_asked_by_is_the_own_one(desk: Desk) -> None:
    await log_in(desk)
    person = Browser(desk)
    outside = {"Origin": "https://leads.example", "X-Forwarded-Host": "leads.example"}
    assert await person.status("POST", "/api/lanes/crm/pause", outside, json={}) == 200


@pytest.mark.parametrize("headers", FOREIGN)
async def test_without_a_token_another_site_does_no_more(configured: Config, headers: Mapping[str, str]) -> None:
    async with app.running(configured, clock=Clock()) as bridge, aiohttp.ClientSession() as session:
        for method, path in (("GET", "/leads.csv"), ("GET", "/api/leads.csv"), ("POST", "/destinations/crm/pause")):
            async with session.request(method, f"http://{bridge.admin}{path}", headers=headers) as answer:
                assert answer.status == 403, path


async def test_a_link_elsewhere_leads_on_with_the_cookie(desk: Desk) -> None:
    """The cookie stays away at first, so the login, which such a link leads to, lets the browser ask once more."""
    at = f"http://{desk.bridge.admin}"
    async with desk.session.get(f"{at}/login?next=/leads?state%3Ddead") as answer:
        assert "Refresh" not in answer.headers
    headers = {"Sec-Fetch-Site": "cross-site", **OPENED}
    async with desk.session.get(f"{at}/leads?state=dead", headers=headers) as answer:
        assert answer.headers["Refresh"] == "0; url=/leads?state=dead"


@pytest.mark.parametrize(
    "text",
    [
        "/leads.csv",
        "/leads.csv?state=dead",
        "/leads%2ecsv",
        "/leads.csv#x",
        "/api/leads.csv?reveal=true",
        "/api/events/1?reveal=true",
        "/x/../api/events",
        "/x/%2e%2e/api/events",
        "/x\\..\\api\\events",
        "//evil.example",
        "/\\evil.example",
        "/[",
    ],
)
def test_the_login_leads_to_pages_only(text: str) -> None:
    assert next_path(text) in {"/", "/["}


def test_the_login_leads_to_the_page_that_was_asked_for() -> None:
    for text in ("/leads?state=dead&chatbot=acme", "/leads/0123#deliveries", "/chatbots/caf%C3%A9.example"):
        assert next_path(text) == text


PROXIES = tuple(map(ip_network, ("127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8")))


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["198.51.100.1", "203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.9", "", "10.1.2.3,"], "203.0.113.9"),
        ("127.0.0.1", ["10.1.2.4, 10.1.2.3"], "10.1.2.4"),
        ("127.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("::1", ["[2001:db8::9]:4711"], "2001:db8::9"),
        ("::1", ["2001:DB8:0::9, fd00::5"], "2001:db8::9"),
        ("::ffff:127.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        # What is not believed: a header of a stranger, and what is no address.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9, x"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.999"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9:"], "127.0.0.1"),
        ("127.0.0.1", ["fe80::1%<b>"], "127.0.0.1"),
        ("127.0.0.1", ["\u0661.2.3.4", "9" * 5000], "127.0.0.1"),
        # Left of the client stands what it likes.
        ("127.0.0.1", ["<b>, 203.0.113.9"], "203.0.113.9"),
    ],
)
def test_the_client_is_the_right_most_address_that_is_no_trusted_proxy(
    peer: str, headers: list[str], client: str
) -> None:
    sent = CIMultiDict([("X-Forwarded-For", each) for each in headers])
    request = make_mocked_request("GET", "/", headers=sent).clone(remote=peer)
    assert client_address(request, PROXIES) == client
    assert client_address(request, ()) == peer


async def test_behind_a_trusted_proxy_each_client_has_its_own_limit_and_its_address_in_the_audit_log(
    guarded: Config,
) -> None:
    server = replace(guarded.server, trusted_proxies=(ip_network("127.0.0.1"),))
    at = "/api/audit"
    async with app.running(replace(guarded, server=server), clock=Clock()) as bridge:
        asked = f"http://{bridge.admin}{at}"

        async def status(token: str, *forwarded: str) -> int:
            headers = CIMultiDict([("Authorization", f"Bearer {token}")])
            headers.extend([("X-Forwarded-For", each) for each in forwarded])
            async with aiohttp.ClientSession() as session, session.get(asked, headers=headers) as answer:
                return answer.status

        found = [await status("wrong", f"198.51.100.{number}, 203.0.113.7") for number in range(11)]
        assert found == [401] * 10 + [429], "an invented address gives no more guesses"
        assert await status("wrong", "203.0.113.8") == 401
        assert await status(OPERATOR, "203.0.113.7") == 200
        token = {"Authorization": f"Bearer {OPERATOR}"}
        async with aiohttp.ClientSession() as session, session.get(asked, headers=token) as answer:
            entries = (await answer.json())["entries"]
    assert {each["address"] for each in entries} == {"203.0.113.7", "203.0.113.8"}


def test_a_cookie_of_another_program_on_this_host_is_no_session() -> None:
    request = make_mocked_request("POST", "/login", headers={"Cookie": "theme=dark"})
    assert foreign_reason(request, open_to_all=False) is None
