"""Errors as people and programs see them: a page with the way back and the person's input, or JSON."""

from typing import Any

import pytest

from bridge.admin.api import ReadEndpoints
from bridge.admin.dashboard.rendering import Rendering
from tests.admin.conftest import OPERATOR, VIEWER, Desk
from tests.admin.test_pages import log_in


async def asked(desk: Desk, method: str, path: str, **options: Any) -> tuple[int, str, str]:
    """Return status, type and text of a response; redirects are not followed."""
    url = f"http://{desk.bridge.admin}{path}"
    async with desk.session.request(method, url, allow_redirects=False, **options) as answer:
        return answer.status, answer.content_type, await answer.text()


async def test_a_wrong_address_is_a_page_with_the_way_back(desk: Desk) -> None:
    await log_in(desk)
    for path in ("/nothing", "/static/nothing.css", "/leads/0123456789abcdef0123456789abcdef", "/chatbots/nobody"):
        status, kind, page = await asked(
            desk, "GET", path, headers={"Referer": f"http://{desk.bridge.admin}/leads?state=dead"}
        )
        assert (status, kind) == (404, "text/html"), path
        assert "<h1>There is no such page</h1>" in page
        assert '<nav id="menu" aria-label="Main">' in page
        assert '<a href="/leads?state=dead">Back to the page before</a>' in page
        assert '<a href="/">Home</a>' in page
    page = (await asked(desk, "GET", "/nothing", headers={"Referer": "http://evil.example/leads"}))[2]
    assert "evil" not in page
    status, kind, page = await asked(desk, "GET", "/deliveries/1/replay")
    assert (status, kind) == (405, "text/html")
    assert "belongs to a form" in page


async def test_nobody_sees_more_of_a_wrong_address_without_a_login(desk: Desk) -> None:
    status, kind, page = await asked(desk, "GET", "/nothing")
    assert (status, kind) == (404, "text/html")
    assert "<nav" not in page


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/api/nothing", "text/html"),
        ("/api/nothing", "*/*"),
        ("/nothing", "application/json"),
    ],
)
async def test_a_program_gets_json(desk: Desk, path: str, accept: str) -> None:
    await log_in(desk)
    status, kind, _ = await asked(desk, "GET", path, headers={"Accept": accept})
    assert (status, kind) == (404, "application/json")
    for probe in ("/healthz", "/readyz", "/metrics"):
        assert (await asked(desk, "POST", probe))[:2] == (405, "application/json")


async def test_a_fault_is_a_page_that_says_nothing_of_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await log_in(desk)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("Adalbert's secret")

    with monkeypatch.context() as context:
        context.setattr(ReadEndpoints, "overview_shown", fail)
        status, kind, page = await asked(desk, "GET", "/")
        assert (status, kind) == (500, "text/html")
        assert "Leadbridge has a fault" in page
        assert '<nav id="menu"' in page
        assert "Adalbert" not in page
    with monkeypatch.context() as context:
        context.setattr(Rendering, "text", fail)
        status, kind, page = await asked(desk, "GET", "/")
        assert (status, kind) == (500, "application/json")
        assert "secret" not in page


async def test_a_viewer_reads_which_role_is_needed(desk: Desk) -> None:
    await log_in(desk, VIEWER)
    status, _, page = await asked(desk, "GET", "/tools/audit")
    assert status == 403
    assert "You are logged in as a viewer, and this needs an operator" in page
    assert '<a href="/login?next=/tools/audit">Log in as somebody else</a>' in page
    status, _, page = await asked(desk, "POST", "/destinations/crm/pause", data={})
    assert status == 403
    assert "this needs an operator" in page


async def test_an_error_keeps_what_was_written(desk: Desk) -> None:
    await log_in(desk)
    status, _, page = await asked(desk, "POST", "/leads", data={"who": 'a"'})
    assert status == 400
    assert 'name="who" value="a&#34;"' in page
    status, _, page = await asked(desk, "GET", "/leads?from=yesterday&state=dead")
    assert status == 400
    assert 'name="from" value="yesterday"' in page
    assert '<input type="hidden" name="state" value="dead">' in page
    # Forms that hold nothing of a person's are not shown again.
    status, _, page = await asked(desk, "POST", "/problems", data={"action": "drop"})
    assert status == 400
    assert "Send it again" not in page


async def test_a_form_of_another_site_is_not_shown_again(desk: Desk) -> None:
    await log_in(desk)
    headers = {"Origin": "http://evil.example"}
    status, _, page = await asked(desk, "POST", "/leads", data={"who": "evil"}, headers=headers)
    assert status == 403
    assert "evil" not in page


async def test_a_form_after_the_end_of_the_session_leads_to_the_login_and_back_to_its_page(desk: Desk) -> None:
    await log_in(desk)
    desk.session.cookie_jar.clear()
    written = {"route": "acme:0", "yaml": "to: crm\n", "event": "{}"}
    headers = {"Referer": f"http://{desk.bridge.admin}/tools/playground"}
    status, _, page = await asked(desk, "POST", "/tools/playground", data=written, headers=headers)
    assert (status, page) == (303, "")
    wanted = {"token": OPERATOR, "next": "/tools/playground"}
    url = f"http://{desk.bridge.admin}/login"
    async with desk.session.post(url, data=wanted, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/tools/playground")
