"""`leadbridge backfill`, against a server that answers as the vendor's pull API does."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from bridge.cli import COMMANDS
from bridge.config import ConfigError
from bridge.operations import vendor_list as backfill
from tests.building import SERIAL, lead
from tests.cli.conftest import CONFIGURATION

if TYPE_CHECKING:
    from typer.testing import Result

    from tests.cli.conftest import Place

API_KEY = "the-vendors-api-key-0123456789"
TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(1)


class Vendor:
    """The vendor's API: it has elements, keeps the requests, and can be told to answer otherwise."""

    def __init__(self) -> None:
        self.elements: list[Any] = []
        self.requests: list[tuple[str, Any]] = []
        self.answer: Callable[[], web.Response] | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.requests.append((request.headers.get("Authorization", ""), asked))
        if self.answer:
            return self.answer()
        if request.headers.get("Authorization") != API_KEY:
            return web.json_response({"Success": False, "Code": 401}, status=401)
        # The end is taken for a part of the range: then a day's leads come twice.
        found = [
            each
            for each in self.elements
            if not isinstance(each, dict)
            or asked["startTime"] <= str(each.get("CreateTime", TODAY))[:10] <= asked["endTime"]
        ]
        return web.json_response({"Data": found, "Success": True, "Code": 200})


@contextmanager
def serving(handle: Callable[[web.Request], Awaitable[web.Response]]) -> Iterator[str]:
    """Serve the API in a thread, since commands have a loop of their own; gives its address."""
    loop = asyncio.new_event_loop()
    application = web.Application()
    application.router.add_post("/base/chat/Chatbot/LeadList", handle)
    runner = web.AppRunner(application)

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/base/"

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def vendor(leadbridge: "Place", monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    """The API, and a configuration that knows it."""
    monkeypatch.setitem(COMMANDS, "backfill", "Accept leads that were missed, from the vendor's list.")
    made = Vendor()
    with serving(made.handle) as made.url:
        leadbridge.environ["API_KEY"] = API_KEY
        leadbridge.configure(
            CONFIGURATION.replace(
                "    routes:\n", f'    pull: {{url: "{made.url}", key: "${{API_KEY}}"}}\n    routes:\n', 1
            )
        )
        yield made


def created(hour: int = 10, day: Any = YESTERDAY) -> str:
    return f"{day}T{hour:02}:00:00.512302Z"


def listed(**fields: Any) -> dict[str, Any]:
    """Give an element as the vendor may list it: no serial number, one name, names in another case."""
    given = lead(**{"CreateTime": created(), **fields})
    element = {"Type": given["Type"], "Name": f"{given['FirstName']} {given['LastName']}", "Status": "open"}
    return {**element, **{key: given[key] for key in ("Email", "PhoneNumber", "CreateTime", "Content")}} | {
        "sessionId": given["SessionID"]
    }


def pushed(element: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Give what the webhook had sent for an element."""
    kept = {key: element[key] for key in ("Type", "Email", "PhoneNumber", "CreateTime", "Content")}
    return lead(**{**kept, "SessionID": element["sessionId"], **fields})


def run(place: "Place", *options: object) -> "Result":
    return place("backfill", "--chatbot", "acme", "--since", YESTERDAY, *options)


def now() -> float:
    return datetime.now(UTC).timestamp()


def test_what_was_missed_is_accepted_and_what_is_known_is_not(leadbridge: "Place", vendor: Vendor) -> None:
    known, missed = listed(), listed(CreateTime=created(9))
    appointment = listed(Type="Appointment", Content="mail me", CreateTime=created(11))
    leadbridge.receive(pushed(known), now=now())
    vendor.elements = [appointment, missed, known]

    result = run(leadbridge)

    assert result.exit_code == 0, result.output
    rows = leadbridge.rows("events", "list")
    assert [(row["state"], row["type"], row["form"]) for row in rows] == [
        ("accepted", "Appointment", "unsigned"),
        ("accepted", "Lead", "unsigned"),
        ("accepted", "Lead", "raw"),
    ]
    assert result.stdout.splitlines() == [
        f"accepted as event {rows[1]['id']}, for crm",
        f"accepted as event {rows[0]['id']}, for mail",
        f"acme since {YESTERDAY}: 3 in the vendor's list; 2 accepted, 1 known, 0 not accepted",
    ]
    (told,) = leadbridge.rows("audit", "list")
    assert (told["action"], told["subject_id"], told["count"], told["facts"]) == ("backfill", "acme", 2, {"of": 2})
    assert [(each["destination"], each["state"]) for each in leadbridge.rows("deliveries", "list")] == [
        ("mail", "pending"),
        ("crm", "pending"),
        ("crm", "pending"),
    ]
    payload = json.loads(leadbridge("events", "show", rows[1]["id"], "--json").stdout)["payload"]
    assert payload == {
        "SerialNumber": SERIAL,
        "Type": "Lead",
        "FirstName": "David",
        "LastName": "García",
        "Email": missed["Email"],
        "PhoneNumber": "",
        "CreateTime": missed["CreateTime"],
        "Content": missed["Content"],
        "SessionID": missed["sessionId"],
        "URI": "",
        "Name": "David García",
        "Status": "open",
    }


def test_a_second_time_and_the_webhook_itself_bring_nothing_new(leadbridge: "Place", vendor: Vendor) -> None:
    vendor.elements = [listed()]
    run(leadbridge)

    again = run(leadbridge)
    leadbridge.receive(pushed(vendor.elements[0], FirstName="", URI="elsewhere"), now=now())

    assert (again.exit_code, again.stdout.splitlines()) == (
        0,
        [f"acme since {YESTERDAY}: 1 in the vendor's list; 0 accepted, 1 known, 0 not accepted"],
    )
    assert len(leadbridge.rows("events", "list")) == 1


def test_the_request_is_the_documented_one_for_each_day(leadbridge: "Place", vendor: Vendor) -> None:
    assert run(leadbridge).exit_code == 0

    days = [YESTERDAY + timedelta(number) for number in range(3)]
    assert vendor.requests == [
        (API_KEY, {"serialNumber": SERIAL, "startTime": str(first), "endTime": str(last)})
        for first, last in pairwise(days)
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"Email": None}, ""),
        ({"Type": "Conversation"}, "its Type is not Lead or Appointment"),
        ({"Email": {"address": "a"}}, "a field of it is not a plain value"),
        ({"CreateTime": "yesterday"}, "its CreateTime is not a time"),
        ({"CreateTime": ""}, "its CreateTime is not a time"),
        ({"SerialNumber": "another"}, "its SerialNumber is that of another chatbot"),
        ({"email": "two@example.com"}, "it is not an object whose fields have a name each"),
        ({"Email": "", "PhoneNumber": "", "sessionId": 0}, "it has neither a session nor a person"),
    ],
)
def test_an_element_that_does_not_suffice_is_shown_and_not_accepted(
    leadbridge: "Place", vendor: Vendor, change: dict[str, Any], why: str
) -> None:
    element = {**listed(), **change}
    vendor.answer = lambda: web.json_response({"Data": [element, listed()], "Success": True})

    result = run(leadbridge)

    accepted = len(leadbridge.rows("events", "list"))
    if not why:  # null is the same as empty, which may be
        assert (result.exit_code, accepted) == (0, 3)
        return
    assert result.exit_code == 1
    assert accepted == 2  # `listed` gives another one each time it is asked
    assert f"not accepted: {why}\n" in result.stdout
    assert json.dumps(element["Type"]) in result.stdout
    assert "2 not accepted" in result.stdout


@pytest.mark.parametrize("missing", ["Type", "Email", "PhoneNumber", "CreateTime", "sessionId"])
def test_a_field_of_the_identity_is_not_made_up(leadbridge: "Place", vendor: Vendor, missing: str) -> None:
    element = listed()
    del element[missing]
    vendor.elements = [element]

    result = run(leadbridge)

    assert result.exit_code == 1
    named = "SessionID" if missing == "sessionId" else missing
    assert f"not accepted: it has no {named}\n" in result.stdout
    assert leadbridge.rows("events", "list") == []


@pytest.mark.parametrize("element", ["text", None, [1], 7])
def test_what_is_no_object_is_shown(leadbridge: "Place", vendor: Vendor, element: Any) -> None:
    vendor.elements = [element]
    assert run(leadbridge).exit_code == 1


@pytest.mark.parametrize(
    "spelled",
    [
        {"CreateTime": f"{YESTERDAY}T10:00:00"},
        {"CreateTime": f"{YESTERDAY} 10:00:00.5"},
        {"CreateTime": f"{YESTERDAY}T18:00:00.512302+08:00"},
        {"Email": "Known@Example.com"},
    ],
)
def test_a_known_lead_that_is_spelled_otherwise_is_known(
    leadbridge: "Place", vendor: Vendor, spelled: dict[str, Any]
) -> None:
    element = listed(Email="known@example.com")
    (event,) = leadbridge.receive(pushed(element), now=now())
    vendor.elements = [{**element, **spelled}]

    result = run(leadbridge, "--json")

    assert result.exit_code == 0
    assert [(each["state"], each["id"]) for each in json.loads(result.stdout)] == [("known", event)]
    assert len(leadbridge.rows("events", "list")) == 1


@pytest.mark.parametrize("change", [{"CreateTime": created(18)}, {"Email": "new@example.com"}])
def test_what_may_be_a_known_lead_is_shown_and_not_accepted(
    leadbridge: "Place", vendor: Vendor, change: dict[str, Any]
) -> None:
    element = listed()
    (event,) = leadbridge.receive(pushed(element), now=now())
    vendor.elements = [{**element, **change}]

    result = run(leadbridge, "--json")

    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert (row["state"], row["id"], row["element"]) == ("doubtful", event, vendor.elements[0])
    assert event in row["why"]
    assert len(leadbridge.rows("events", "list")) == 1


def test_a_second_lead_of_a_session_is_accepted_where_the_list_spells_as_the_webhook_does(
    leadbridge: "Place", vendor: Vendor
) -> None:
    first = listed()
    leadbridge.receive(pushed(first), now=now())
    vendor.elements = [first, {**first, "CreateTime": created(18)}]

    assert run(leadbridge).exit_code == 0
    assert len(leadbridge.rows("events", "list")) == 2


def test_the_rows_as_json_newest_first(leadbridge: "Place", vendor: Vendor) -> None:
    known, missed = listed(CreateTime=created(9)), listed(CreateTime=created(11))
    (event,) = leadbridge.receive(pushed(known), now=now())
    vendor.elements = [known, missed, {"Type": "Lead", "Name": "test"}]

    result = run(leadbridge, "--json")

    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert [(row["state"], row["chatbot"]) for row in rows] == [
        ("accepted", "acme"),
        ("known", "acme"),
        ("incomplete", "acme"),
        ("incomplete", "acme"),
    ]
    assert [row["id"] for row in rows[:2]] == [leadbridge.rows("events", "list")[0]["id"], event]
    assert rows[0]["created_at"] == f"{YESTERDAY}T11:00:00.512Z"
    assert [row["element"] for row in rows[1:3]] == [None, {"Type": "Lead", "Name": "test"}]


def test_an_event_of_any_state_is_known(leadbridge: "Place", vendor: Vendor) -> None:
    """A test, and one that came while its chatbot was not configured yet."""
    test, early = listed(Email="test@example.com"), listed()
    leadbridge.receive(pushed(test), now=now())
    configuration = leadbridge.path.read_text()
    leadbridge.know_other()
    leadbridge.configure(leadbridge.path.read_text().replace(SERIAL, "f" * 32))
    leadbridge.receive(pushed(early), now=now())
    leadbridge.configure(configuration)
    vendor.elements = [test, early]

    assert run(leadbridge).exit_code == 0
    assert [row["state"] for row in leadbridge.rows("events", "list")] == ["unrecognised", "test"]


def test_more_than_a_step(leadbridge: "Place", vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.operations.backfill.ACCEPTED_AT_ONCE", 2)
    monkeypatch.setattr("bridge.operations.backfill.STEP", 2)
    monkeypatch.setattr("bridge.store.queries.STEP", 2)
    vendor.elements = [listed() for _ in range(9)]
    leadbridge.receive(*map(pushed, vendor.elements[:5]), now=now())

    assert "9 in the vendor's list; 4 accepted, 5 known, 0 not accepted" in run(leadbridge).stdout


# -- what goes wrong


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: web.json_response({"Success": False, "Code": 17, "Data": []}), "does not say success, with code 17"),
        (lambda: web.json_response({"Data": []}), "does not say success"),
        (lambda: web.json_response({"Success": "true", "Data": []}), "does not say success"),
        (lambda: web.json_response({"Success": True, "Data": {}}), "Data is not a list"),
        (lambda: web.json_response([]), "does not say success"),
        (lambda: web.Response(text="<html>"), "is not JSON"),
        (lambda: web.Response(status=500, text="{}"), "answered 500"),
        (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "answered 302"),
    ],
)
def test_an_answer_that_is_no_list_accepts_nothing(
    leadbridge: "Place", vendor: Vendor, answer: Callable[[], web.Response], words: str
) -> None:
    vendor.answer = answer

    result = run(leadbridge)

    assert result.exit_code == 1
    assert words in result.stderr
    assert "nothing was accepted" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert leadbridge.rows("events", "list") == []


def test_no_leads_at_all_is_good(leadbridge: "Place", vendor: Vendor) -> None:
    vendor.answer = lambda: web.json_response({"data": None, "success": True, "code": 200})
    assert run(leadbridge).exit_code == 0


def test_a_wrong_key_is_said_and_not_shown(leadbridge: "Place", vendor: Vendor) -> None:
    leadbridge.environ["API_KEY"] = "another-key-0123456789"

    result = run(leadbridge)

    assert result.exit_code == 1
    assert "answered 401; nothing was accepted. See whether pull.key is right" in result.stderr
    assert "another-key" not in result.output


def test_nobody_there_is_one_line(leadbridge: "Place", vendor: Vendor) -> None:
    leadbridge.configure(leadbridge.path.read_text().replace(vendor.url, "http://127.0.0.1:1/secret-path"))

    result = run(leadbridge)

    assert result.exit_code == 1
    assert "See whether pull.url is right" in result.stderr
    assert "/secret-path" not in result.stderr
    assert API_KEY not in result.output


def test_an_answer_without_end_is_cut_off(leadbridge: "Place", vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.operations.backfill.ANSWER_LIMIT", 1_000)
    vendor.elements = [listed() for _ in range(50)]

    assert "larger than 1,000 bytes" in run(leadbridge).stderr


def test_what_the_store_may_have_removed_is_not_asked_for(leadbridge: "Place", vendor: Vendor) -> None:
    old = place_since(leadbridge, TODAY - timedelta(31))
    assert old.exit_code == 2
    assert "store.retention" in " ".join(old.stderr.replace("│", "").split())
    assert place_since(leadbridge, TODAY + timedelta(1)).exit_code == 2
    assert place_since(leadbridge, "last week").exit_code == 2
    assert place_since(leadbridge, TODAY - timedelta(29)).exit_code == 0
    assert len(vendor.requests) == 30


def place_since(place: "Place", since: object) -> "Result":
    return place("backfill", "--chatbot", "acme", "--since", since)


def test_without_pull_it_says_what_to_write(leadbridge: "Place", vendor: Vendor) -> None:
    leadbridge.configure(CONFIGURATION)

    assert "pull: {url: https://" in run(leadbridge).stderr
    assert (
        "no chatbot has this name (did you mean `acme`?)"
        in leadbridge("backfill", "--chatbot", "acm", "--since", YESTERDAY).stderr
    )


# -- the section `pull`


@pytest.mark.parametrize(
    ("pull", "words"),
    [
        ('{url: "http://api.example.com", key: "${API_KEY}"}', "must begin with https://"),
        ('{url: "ftp://api.example.com", key: "${API_KEY}"}', "must be https://HOST"),
        ('{url: "https://me:pw@api.example.com", key: "${API_KEY}"}', "must be https://HOST"),
        ('{url: "https://api.example.com", key: "a b"}', "must be printable ASCII"),
        ('{url: "https://api.example.com"}', "key"),
    ],
)
def test_a_wrong_pull_is_refused(leadbridge: "Place", pull: str, words: str) -> None:
    leadbridge.environ["API_KEY"] = API_KEY
    leadbridge.configure(CONFIGURATION.replace("    routes:\n", f"    pull: {pull}\n    routes:\n", 1))

    with pytest.raises(ConfigError) as refused:
        leadbridge.config()
    assert any(words in str(problem) and "pull" in str(problem) for problem in refused.value.problems)
    assert API_KEY not in str(refused.value)


def test_the_key_is_shown_nowhere(leadbridge: "Place") -> None:
    leadbridge.environ["API_KEY"] = API_KEY
    text = CONFIGURATION.replace(
        "    routes:\n", '    pull: {url: "https://api.example.com/", key: "${API_KEY}"}\n    routes:\n', 1
    )
    leadbridge.configure(text)
    pull = leadbridge.config().chatbots["acme"].pull
    assert pull is not None
    assert (pull.url, API_KEY in repr(pull)) == ("https://api.example.com", False)
    leadbridge.configure(text.replace("${API_KEY}", API_KEY))
    assert any("pull.key: a secret in plain text" in str(each) for each in leadbridge.config().warnings)


def test_the_days_are_utc_days_up_to_today() -> None:
    assert list(backfill.days(YESTERDAY, TODAY)) == [
        (str(YESTERDAY), str(TODAY)),
        (str(TODAY), str(TODAY + timedelta(1))),
    ]


def test_all_chatbots_with_a_pull(leadbridge: "Place", vendor: Vendor) -> None:
    vendor.elements = [listed()]

    done = leadbridge("backfill", "--all", "--since", "24h")

    assert (done.exit_code, done.stdout.splitlines()[-1]) == (
        0,
        f"acme since {YESTERDAY}: 1 in the vendor's list; 1 accepted, 0 known, 0 not accepted",
    )
    assert leadbridge("backfill", "--since", "24h").exit_code == 2
    assert leadbridge("backfill", "--all", "--chatbot", "acme", "--since", "24h").exit_code == 2
    leadbridge.configure(CONFIGURATION)
    assert "no chatbot has `pull`" in leadbridge("backfill", "--all", "--since", "24h").stderr
