"""A 302 after the write, as Google Apps Script answers it: followed once, as a GET, to a named host only."""

from typing import Any

import pytest
from aiohttp import web

from connectors.base import Blame, Delivered, Outcome, Reason, Retry, SettingError
from connectors.http import HttpConnector
from connectors.http.settings import HttpSettings
from connectors.http_client.answer import Answer
from connectors.testing import Fault
from connectors.testing.contacts import Reply
from connectors.testing.fake import FakeApi, json_object
from tests.connectors.building import connector, context, deliver, record

FOLLOW: dict[str, Any] = {
    "follow": "get",
    "follow_hosts": ["127.0.0.1"],
    "success": {"when": "answer.ok"},
    "remote_id": "answer.id",
}


class ScriptFake(FakeApi):
    """A web app of Apps Script: `POST /exec` does the work, `GET /echo` holds the text of its answer."""

    def __init__(self, location: str = "/echo?user_content_key=k") -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.location = location
        self.route("/exec", self._exec)
        self.route("/echo", self._echo)

    @property
    def url(self) -> str:
        return f"{self.origin}/exec"

    def _exec(self, request: web.Request, body: bytes) -> Reply:
        if request.method == "POST":
            self.rows.append(json_object(body))
        return Reply(302, None, {"Location": self.location})

    def _echo(self, request: web.Request, body: bytes) -> Reply:
        if request.method != "GET" or body or "Authorization" in request.headers:
            return Reply(411, {"ok": False})
        return Reply(200, {"ok": True, "id": str(len(self.rows))})


async def test_the_answer_is_read_where_the_redirect_points() -> None:
    async with ScriptFake() as fake:
        outcome = await deliver(fake.url, **FOLLOW, auth={"bearer": "for-the-script-only"})
        assert outcome == Delivered("1", status=200)
        assert [(each.method, each.path.partition("?")[0]) for each in fake.ledger] == [
            ("POST", "/exec"),
            ("GET", "/echo"),
        ]
        assert len(fake.rows) == 1


@pytest.mark.parametrize("location", ["https://script.googleusercontent.com/echo", "https://elsewhere.example/x"])
async def test_a_redirect_that_is_not_followed_names_the_settings_that_help(location: str) -> None:
    async with ScriptFake(location) as fake:
        outcome = await deliver(fake.url)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.REDIRECT, Blame.DESTINATION)
    assert "set `follow: get` and `success.when`" in outcome.detail
    assert ("follow_hosts: [elsewhere.example]" in outcome.detail) == ("elsewhere" in location)


@pytest.mark.parametrize(
    ("location", "settings", "said"),
    [
        ("https://accounts.google.com/signin?secret=1", {}, "publish the web app for Anyone"),
        ("https://elsewhere.example/x", {}, "elsewhere.example, which `follow` does not allow"),
        ("https://elsewhere.example/x", {"follow_hosts": []}, "does not allow"),
        ("ftp://127.0.0.1/x", {}, "the address must begin with"),
        ("/exec", {}, "once more"),
    ],
)
async def test_no_other_place_is_asked(location: str, settings: dict[str, Any], said: str) -> None:
    async with ScriptFake(location) as fake:
        outcome = await deliver(fake.url, **{**FOLLOW, **settings})
        assert isinstance(outcome, Retry)
        assert said in outcome.detail
        assert "secret" not in outcome.detail
        assert sum(each.method == "POST" for each in fake.ledger) == 1


async def test_without_https_only_where_the_settings_allow_it() -> None:
    settings = HttpSettings.model_validate({"url": "https://crm.example/exec", **FOLLOW})
    target = HttpConnector(settings, context())
    found = target._redirects.target(answered("http://127.0.0.1/echo"), target._requests.request(record(), 0).url)
    assert isinstance(found, Retry)
    assert "https" in found.detail
    await target.close()


def answered(location: str) -> Any:
    return Answer(302, {"Location": location}, b"")


@pytest.mark.parametrize(
    "fault",
    [
        Fault.html_error(200),
        Fault.answers(500),
        Fault.disconnects(written=False),
        Fault.answers(200),
        Fault.answers(404),
    ],
)
async def test_an_answer_that_cannot_be_read_is_no_delivery(fault: Fault) -> None:
    async with ScriptFake() as fake:
        fake.faults.next(fault, on="/echo")
        target = connector(fake.url, **FOLLOW)
        outcome: Outcome = (await target.deliver([record()]))[0]
        await target.close()
    assert isinstance(outcome, Retry)
    assert outcome.blame is not Blame.RECORD


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        (("url",), {"url": "https://script.google.com/macros/s/x/exec"}),
        (("follow",), {"follow": "get"}),
        (("follow",), {**FOLLOW, "method": "GET"}),
        (("follow_hosts",), {"follow_hosts": ["a.example"]}),
    ],
)
def test_settings_that_would_double_or_lose_leads_are_refused(path: tuple[str], keys: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as found:
        HttpConnector(HttpSettings.model_validate({"url": "https://crm.example/exec", **keys}), context())
    assert found.value.path == path
    assert "follow: get" in found.value.message or "success.when" in found.value.message or "url" in found.value.message
