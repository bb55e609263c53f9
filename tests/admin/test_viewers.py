"""A viewer sees no word of a person or of a destination, on no page and in no answer of the API."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge import app
from bridge.admin.authentication import Caller, LoginSession, RequestRefusedError, Role, User
from bridge.admin.request_schemas import SearchRequest
from bridge.admin.responses import REFRESH
from bridge.admin.searches import SEARCH_LIMIT, SEARCH_TOTAL, Searches
from bridge.config.reload import load_files
from bridge.operations.masking import MEANINGS
from connectors.base import Reason
from tests.admin.conftest import CRM_TOKEN, OPERATOR, VIEWER, Crm, Desk, browser
from tests.admin.test_audit import short, told
from tests.admin.test_pages import log_in
from tests.building import KEY, SERIAL, Clock

PERSON: dict[str, Any] = {
    "FirstName": "Xiaoming-Testname",
    "LastName": "王",
    "Email": "xiao.ming.secret@example.com",
    "PhoneNumber": "+86 138 5550 8000",
    "Content": 'my "very own" <words> & more',
    "URI": "https://www.example.com/?who=planted-visitor",
}
WORDS = "Zebulon says <no> to 'this' \u00fc"
PLANTED = {
    **{name: text for name, text in PERSON.items() if name != "LastName"},
    "the phone number's digits": "5550 8000",
    "the destination's words": WORDS,
    "a record's id": "planted-record-0042",
    "a link": "crm.example.com/planted-link",
    "a variable's URL": "planted-hook-path",
    "an operator's reason": "Wang wants it so",
    "a key of an unknown document": "planted-key-of-a-document",
    "a type that nobody knows": "planted type of an event",
    "the CRM's token": CRM_TOKEN,
    "the operator's token": OPERATOR,
    "the viewer's token": VIEWER,
    "the signing key": KEY.decode(),
}
CONFIG = """
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", admin_token: "${{ADMIN}}", viewer_token: "${{VIEWER}}"}}
store: {{url: "${{STORE}}"}}
destinations:
  good: {{connector: http, url: "${{GOOD}}", auth: {{bearer: "${{CRM_TOKEN}}"}}, allow_private: true,
    remote_id: answer.id, remote_url: answer.link}}
  odd: {{connector: http, url: "${{GOOD}}", allow_private: true, remote_id: answer.none}}
  refusing: {{connector: http, url: "${{REFUSING}}", allow_private: true}}
  closed: {{connector: http, url: "${{CLOSED}}", allow_private: true}}
  held: {{connector: http, url: "${{GOOD}}", allow_private: true}}
chatbots:
  acme:
    serial_number: {serial}
    signing_keys: ["${{KEY}}"]
    signature_tolerance: 0s
    routes: [{routes}]
"""
ROUTES = ", ".join(
    f"{{to: {name}, fields: {{mail: Email, name: '{{{{ FirstName }}}} {{{{ LastName }}}}', text: Content}}}}"
    for name in ("good", "odd", "refusing", "closed", "held")
)


async def answer(request: web.Request) -> web.Response:
    """Do what the path says, and repeat the record, as many CRMs do."""
    status = {"refusing": 422, "closed": 401}.get(request.path.rpartition("/")[2], 200)
    said = {"message": f"{WORDS}: {await request.text()}", "error": WORDS}
    done = {"id": "planted-record-0042", "link": "https://crm.example.com/planted-link"}
    return web.json_response(done if status == 200 else said, status=status)


@pytest.fixture
async def planted(routes: list[tuple[str, str]], tmp_path: Path) -> AsyncIterator[Desk]:
    """A bridge that has met a person, destinations that say so in every way, and documents of unknown shape."""
    application = web.Application()
    application.router.add_post("/planted-hook-path/{what}", answer)
    async with TestServer(application, host="127.0.0.1") as server:
        environ = {"ADMIN": OPERATOR, "VIEWER": VIEWER, "CRM_TOKEN": CRM_TOKEN, "KEY": KEY.decode()}
        for what in ("good", "refusing", "closed"):
            environ[what.upper()] = str(server.make_url(f"/planted-hook-path/{what}"))
        environ["STORE"] = f"sqlite:///{tmp_path}/leadbridge.db"
        file = tmp_path / "config.yaml"
        file.write_text(CONFIG.format(serial=SERIAL, routes=ROUTES))
        async with app.running(*load_files(file, environ)) as running, browser(running) as session:
            desk = Desk(running, session, Crm())
            await meet(desk)
            yield desk


async def meet(desk: Desk) -> None:
    assert (await desk.ask("POST", "/api/lanes/held/pause", json={"reason": "Wang wants it so"}))[0] == 200
    await desk.send(**PERSON)
    strange_ones: tuple[dict[str, Any], ...] = (
        {"Type": "planted type of an event"},
        {"Content": [{"planted-key-of-a-document": PERSON["Content"]}]},
        {"planted-key-of-a-document": PERSON["Email"], "Type": PERSON["FirstName"]},
    )
    for strange in strange_ones:
        await desk.send(**{**PERSON, **strange})
    await desk.send(key=b"a-key-that-is-not-the-right-one", **PERSON)
    while True:
        lanes = {each["name"]: each for each in (await desk.ask("GET", "/api/lanes"))[1]["lanes"]}
        states = {each["destination"]: each["state"] for each in await deliveries(desk)}
        if lanes["closed"]["state"] == "paused" and list(map(states.get, ("good", "odd", "refusing"))) == [
            "delivered",
            "delivered",
            "dead",
        ]:
            break
    assert (await desk.ask("POST", "/api/reconcile/online", json={}))[0] == 200
    assert (await desk.ask("POST", "/api/bulk", json={"action": "replay", "chatbot": "nobody"}))[0] == 200


async def deliveries(desk: Desk) -> list[Any]:
    return list((await desk.ask("GET", "/api/deliveries"))[1]["deliveries"])


def forms(text: str) -> Iterator[str]:
    """Write a text in every way in which it could stand in an answer."""
    for each in {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}:
        yield from (each, escape(each), escape(each, quote=False), each.replace('"', "&#34;"), quote(each))
        yield from (escape(each).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"), json.dumps(each)[1:-1])
        raw = each.encode()
        yield raw.hex()
        for shift, start in enumerate((0, 2, 3)):
            whole = (shift + len(raw)) // 3 * 4
            yield base64.b64encode(b"x" * shift + raw).decode()[start:whole]


FORMS = {(what, form.casefold()) for what, text in PLANTED.items() for form in forms(text)}


def found_in(text: str) -> set[str]:
    folded = text.casefold()
    return {what for what, form in FORMS if form in folded}


async def test_a_viewer_gets_no_word_of_a_person_or_a_destination(planted: Desk, routes: list[tuple[str, str]]) -> None:
    ids = {
        "events": [each["id"] for each in (await planted.ask("GET", "/api/events"))[1]["events"]],
        "deliveries": [str(each["id"]) for each in await deliveries(planted)],
        "quarantine": ["1"],
        "lanes": ["held", "closed", "refusing"],
        "destinations": ["held", "closed", "refusing"],
        "chatbots": ["acme"],
        "static": ["style.css", "live.js", "leads.js", "icon.svg"],
    }
    ids["leads"] = ids["events"]
    assert len(ids["events"]) == 4
    assert len(ids["deliveries"]) == 5
    await log_in(planted, VIEWER)
    leaks, seen, statuses = {}, set(), set()

    async def look(method: str, path: str, canonical: str) -> None:
        api = path.startswith("/api/") or path == "/metrics"
        for query, headers in (("", {}), ("?reveal=true", {}), ("?limit=2&state=dead", {}), ("", {REFRESH: "1"})):
            options: dict[str, Any] = {"headers": headers}
            if method == "POST" and api:
                options["json"] = {"email": PERSON["Email"]} if path.endswith("/search") else {}
            elif method == "POST":
                options["data"] = {"who": "nobody@example.com", "route": "acme:0", "yaml": "{}"}
            status, text = await planted.ask(method, path + query, VIEWER if api else None, **options)
            statuses.add(status)
            if status < 300:
                seen.add((method, canonical))
            if leak := found_in(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)):
                leaks[f"{method} {path}{query}"] = leak

    for method, canonical in routes:
        if method == "HEAD" or canonical in {"/logout", "/login"}:
            continue
        kind = canonical.removeprefix("/api").split("/")[1]
        for one in ids.get(kind, ["1"]) if "{" in canonical else ["1"]:
            await look(method, canonical.replace("{id}", one).replace("{name}", one), canonical)
    assert leaks == {}
    # Else it would have been the door that was tested.
    assert {("GET", "/"), ("GET", "/leads/{id}"), ("GET", "/api/deliveries/{id}"), ("GET", "/api/lanes")} <= seen
    assert {
        ("POST", "/api/events/search"),
        ("GET", "/leads"),
        ("GET", "/destinations"),
        ("GET", "/tools/configuration"),
        ("GET", "/metrics"),
    } <= seen
    assert len(seen) >= 28
    assert 500 not in statuses


async def test_a_reason_is_a_sentence_for_a_viewer(planted: Desk) -> None:
    by_name = {each["destination"]: each["id"] for each in await deliveries(planted)}
    for token in (VIEWER, OPERATOR):
        lanes = {each["name"]: each for each in (await planted.ask("GET", "/api/lanes", token))[1]["lanes"]}
        assert (lanes["closed"]["reason"], lanes["closed"]["detail"]) == ("unauthorized", None)
        assert lanes["closed"]["meaning"] == MEANINGS[Reason.UNAUTHORIZED]
        assert lanes["held"]["reason"] == ("by an operator" if token == VIEWER else "Wang wants it so")
        _, refused = await planted.ask("GET", f"/api/deliveries/{by_name['refusing']}", token)
        assert (refused["detail"], refused["meaning"]) == (None, MEANINGS[Reason.REFUSED])
        assert [each["detail"] for each in refused["attempts"]] == [None]
        _, odd = await planted.ask("GET", f"/api/deliveries/{by_name['odd']}", token)
        assert (odd["delivery"]["warned"], odd["warning"]) == (True, None)
    await log_in(planted, VIEWER)
    assert MEANINGS[Reason.UNAUTHORIZED] in (await planted.see("/"))[1]
    (event,) = {each["event"] for each in await deliveries(planted)}
    assert MEANINGS[Reason.REFUSED] in (await planted.see(f"/leads/{event}"))[1]


def test_every_reason_has_its_sentence() -> None:
    assert MEANINGS.keys() == set(Reason)


async def test_an_operator_reads_a_destinations_words_after_a_reveal_that_is_logged(planted: Desk) -> None:
    by_name = {each["destination"]: each for each in await deliveries(planted)}
    event = by_name["good"]["event"]
    await log_in(planted)
    before = (await planted.see(f"/leads/{event}"))[1] + (await planted.see("/"))[1]
    assert found_in(before) <= {"an operator's reason", "FirstName"}
    _, lanes = await planted.ask("GET", "/api/lanes?reveal=true")
    assert WORDS in next(each for each in lanes["lanes"] if each["name"] == "closed")["detail"]
    _, refused = await planted.ask("GET", f"/api/deliveries/{by_name['refusing']['id']}?reveal=true")
    assert WORDS in refused["detail"]
    assert WORDS in refused["attempts"][0]["detail"]
    _, good = await planted.ask("GET", f"/api/deliveries/{by_name['good']['id']}?reveal=true")
    assert (good["remote_id"], good["remote_url"]) == (
        "planted-record-0042",
        "https://crm.example.com/planted-link",
    )
    assert "the destination's words" in found_in((await planted.post("/destinations"))[1])
    page = (await planted.post(f"/leads/{event}"))[1]
    assert {"the destination's words", "a record's id", "a link"} <= found_in(page)
    revealed = [(*each[:3], each[4]) for each in short(await told(planted)) if each[0] == "reveal"]
    assert revealed == [
        ("reveal", None, None, {"where": "lanes"}),
        ("reveal", "delivery", str(by_name["refusing"]["id"]), {}),
        ("reveal", "delivery", str(by_name["good"]["id"]), {}),
        ("reveal", None, None, {"where": "lanes"}),
        ("reveal", "event", event, {}),
    ]


async def test_a_url_from_a_variable_is_in_no_configuration(planted: Desk) -> None:
    await log_in(planted)
    for text in (
        json.dumps((await planted.ask("GET", "/api/configuration"))[1]),
        json.dumps((await planted.ask("GET", "/api/destinations"))[1]),
        (await planted.see("/tools/configuration"))[1],
    ):
        assert found_in(text) == set()
        assert "connector" in text


async def test_a_viewers_searches_are_bounded_and_need_a_whole_address(planted: Desk) -> None:
    async def search(token: str, **by: str) -> tuple[int, Any]:
        return await planted.ask("POST", "/api/events/search", token, json=by)

    assert (await search(VIEWER, phone="5550 8000"))[0] == 400
    assert (await search(VIEWER, email_part="secret@"))[0] == 403
    status, found = await search(VIEWER, phone=PERSON["PhoneNumber"])
    assert (status, len(found["events"])) == (200, 4)
    for _ in range(SEARCH_LIMIT - 1):
        assert (await search(VIEWER, email=PERSON["Email"]))[0] == 200
    status, refused = await search(VIEWER, email=PERSON["Email"])
    assert status == 429
    assert "try again in" in refused["error"]
    assert (await planted.ask("GET", "/api/events", VIEWER))[0] == 200
    for _ in range(SEARCH_LIMIT + 1):
        assert (await search(OPERATOR, phone="5550 8000"))[0] == 200
    entries = [each for each in await told(planted) if each["action"] == "search"]
    assert [each["facts"] for each in entries if each["role"] == "viewer"] == [
        {"by": "phone"},
        *[{"by": "email"}] * (SEARCH_LIMIT - 1),
    ]
    await log_in(planted, VIEWER)
    status, page = await planted.post("/leads", who="5550 8000")
    assert (status, "ten digits" in page or "10 digits" in page) == (400, True)
    for _ in range(SEARCH_LIMIT):
        assert (await planted.post("/leads", who=PERSON["Email"]))[0] == 200
    assert (await planted.post("/leads", who=PERSON["Email"]))[0] == 429


class Noting:
    """Stands for the audit log."""

    async def note(self, *_: Any, **__: Any) -> int:
        return 1


async def test_a_new_login_gives_no_new_allowance_for_ever() -> None:
    clock = Clock()
    searches = Searches(Noting(), clock)  # type: ignore[arg-type]
    asked = [SearchRequest(email="ada@example.com")]
    made = 0
    for login in range(SEARCH_TOTAL // SEARCH_LIMIT):
        caller = Caller(Role.VIEWER, "127.0.0.1", session(login))
        for _ in range(SEARCH_LIMIT):
            await searches.begin(caller, asked)
            made += 1
        with pytest.raises(RequestRefusedError, match="too many searches"):
            await searches.begin(caller, asked)
    assert made == SEARCH_TOTAL
    with pytest.raises(RequestRefusedError, match="too many searches") as refused:
        await searches.begin(Caller(Role.VIEWER, "127.0.0.1", session(99)), asked)
    assert (refused.value.status, refused.value.retry_after) == (429, 61)
    clock.now += 61
    await searches.begin(Caller(Role.VIEWER, "127.0.0.1", session(99)), asked)


def session(number: int) -> LoginSession:
    return LoginSession(f"key {number}", User("", Role.VIEWER))
