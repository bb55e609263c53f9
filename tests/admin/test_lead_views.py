"""Saved views: one click away for their owner, without personal data, and few."""

import re
from html import unescape

import pytest

from bridge.store import user_state
from tests.admin.conftest import Desk
from tests.admin.test_pages import log_in
from tests.admin.test_users import ADMIN, CLERK, CLIENT, Agency, agency

__all__ = ["agency"]


def shown(page: str) -> dict[str, str]:
    """Return the addresses of the views on a page, by name."""
    (found,) = re.findall(r'<ul class="views".*?</ul>', page, re.DOTALL) or [""]
    return {name: unescape(where) for where, name in re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', found)}


async def save(desk: Desk, token: str, name: str, **fields: str) -> str:
    status, page = await desk.see("/leads/views", csrf=token, name=name, **fields)
    assert status == 200
    return page


async def test_a_view_is_saved_used_replaced_and_deleted(desk: Desk) -> None:
    token = await log_in(desk)
    assert "Save the view" not in (await desk.see("/leads"))[1], "all leads need no view"
    page = (await desk.see("/leads?state=dead&days=7&zone=Asia/Tokyo"))[1]
    form = next(each for each in re.findall(r"<form.*?</form>", page, re.DOTALL) if "Save the view" in each)
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    page = (await desk.see("/leads/views", **fields, name="  Lost   this week "))[1]
    assert "The view Lost this week is saved." in page
    assert shown(page) == {"Lost this week": "/leads?state=dead&days=7&zone=Asia%2FTokyo"}
    assert 'aria-current="page">Lost this week' in page
    assert "Save the view" not in page
    page = await save(desk, token, "Lost this week", state="dead", chatbot="acme")
    assert shown(page) == {"Lost this week": "/leads?state=dead&chatbot=acme"}
    page = await save(desk, token, "All of <b>acme</b>", chatbot="acme")
    assert list(shown(page)) == ["All of &lt;b&gt;acme&lt;/b&gt;", "Lost this week"]
    page = (await desk.see("/leads/views/delete", csrf=token, name="Lost this week"))[1]
    assert len(shown(page)) == 1
    assert "You have no view" in (await desk.see("/leads/views/delete", csrf=token, name="Lost this week"))[1]


async def test_what_is_no_view(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await log_in(desk)
    assert "Choose a filter first" in await save(desk, token, "All")
    for name in ("", " ", "x" * 41):
        assert "Write a name of at most 40 characters" in await save(desk, token, name, state="dead")
    for name in ("ada@example.com", "call +1 202 555 0101"):
        page = await save(desk, token, name, state="dead")
        assert "must not hold an e-mail address or a phone number" in page
        assert "State" in page
    assert (await desk.see("/leads/views", csrf=token, name="x", state="sleeping"))[0] == 400
    assert (await desk.see("/leads/views", name="x", state="dead"))[0] == 403, "without the token of the form"
    page = await save(desk, token, "A search", state="dead", search="key-of-a-search")
    assert shown(page) == {"A search": "/leads?state=dead"}
    monkeypatch.setattr(user_state, "VIEWS_LIMIT", 2)
    await save(desk, token, "Second", state="dead")
    page = await save(desk, token, "Third", state="dead")
    assert "You have 2 views already." in page
    assert len(shown(page)) == 2


async def test_views_are_their_owners(agency: Agency) -> None:
    for token, name in ((CLIENT, "Of Maria"), (CLERK, "Of the clerk"), (ADMIN, "Of operators")):
        csrf = re.findall(r'name="csrf" value="([^"]+)"', (await agency.see("/login", token=token))[1])[0]
        page = await save(agency, csrf, name, state="dead", chatbot="other")
        assert list(shown(page)) == [name]
        assert "No lead matches." in page
    csrf = re.findall(r'name="csrf" value="([^"]+)"', (await agency.see("/login", token=CLIENT))[1])[0]
    assert "You have no view" in (await agency.see("/leads/views/delete", csrf=csrf, name="Of the clerk"))[1]
