import asyncio
import time
from typing import Any

import pytest

from connectors.base import Blame, Delivered, ExpressionError, Outcome, Reason, Rejected, Retry
from connectors.testing import Fault, Sandbox
from tests.connectors.building import answers, connector, context, deliver, raw_server, record, records, sends

JSON = b"200 OK\r\nContent-Type: application/json"


async def test_a_lead_is_written(crm: Sandbox) -> None:
    assert await deliver(crm.url) == Delivered(status=201)
    (stored,) = crm.records
    assert stored.fields == {"email": "david@example.com", "name": "David"}
    (arrival,) = crm.ledger
    assert (arrival.method, arrival.path, arrival.headers["content-type"]) == ("POST", "/contacts", "application/json")
    assert arrival.headers["user-agent"] == "Leadbridge"


async def test_id_and_link_are_read_from_the_answer(crm: Sandbox) -> None:
    outcome = await deliver(
        crm.url,
        remote_id="answer.id",
        remote_url='"https://crm.example/contacts/" ~ answer.id',
        success={"when": "answer.ok"},
    )
    assert outcome == Delivered(remote_id="1", remote_url="https://crm.example/contacts/1", status=201)


async def test_put_to_an_address_of_its_own(crm: Sandbox) -> None:
    for status in (201, 200):
        assert await deliver(crm.url + "/{{ Email }}", method="PUT") == Delivered(status=status)
    (stored,) = crm.records
    assert (stored.key, stored.writes) == ("david@example.com", 2)


async def test_other_ways_to_write(crm: Sandbox) -> None:
    assert await deliver(crm.url, body="form") == Delivered(status=201)
    template = {"template": '{"email": {{ Email | json }}, "note": {{ Content | json }}}'}
    assert await deliver(crm.url, body=template) == Delivered(status=200)
    assert await deliver(crm.url, body="event", method="POST") == Delivered(status=201)
    assert crm.records[0].fields == {"email": "david@example.com", "name": "David", "note": 'said "hello"'}
    assert crm.records[1].fields["Email"] == "david@example.com"


@pytest.mark.parametrize(
    "auth",
    [
        {"bearer": "tok"},
        {"header": {"name": "Authorization", "value": "Bearer tok"}},
    ],
)
async def test_credentials(auth: dict[str, Any]) -> None:
    async with Sandbox(authorization="Bearer tok") as crm:
        assert await deliver(crm.url, auth=auth) == Delivered(status=201)
        outcome = await deliver(crm.url, auth={"basic": {"username": "u", "password": "p"}})
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.UNAUTHORIZED, Blame.DESTINATION)
    assert outcome.detail == 'it answered 401: it refuses the credentials ("wrong credentials")'


async def test_signatures() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    async with Sandbox(signing_secret=secret) as crm:
        signing = context(now=time.time)
        assert await deliver(crm.url, signing, sign={"secrets": [secret]}) == Delivered(status=201)
        assert isinstance(await deliver(crm.url, signing, sign={"secrets": ["whsec_b3RoZXI="]}), Retry)
        assert isinstance(await deliver(crm.url, signing), Retry)
    assert len(crm.records) == 1


@pytest.mark.parametrize("form", ["quoted", "bare"])
async def test_an_answer_that_is_lost_doubles_nothing_under_an_idempotency_key(form: str) -> None:
    async with Sandbox(key=None) as crm:
        crm.faults.next(Fault.disconnects(written=True))
        crm.faults.next(Fault.half_an_answer())
        target = connector(crm.url, idempotency_key=form)
        lead = record()
        outcomes = [(await target.deliver([lead]))[0] for _ in range(3)]
        await target.close()
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry, Delivered]
    assert len(crm.records) == 1
    assert {arrival.headers["Idempotency-Key"].strip('"') for arrival in crm.ledger} == {lead.id}


@pytest.mark.parametrize(
    ("fault", "reason", "written"),
    [
        (Fault.disconnects(written=False), Reason.BAD_ANSWER, 0),
        (Fault.disconnects(written=True), Reason.BAD_ANSWER, 1),
        (Fault.half_an_answer(), Reason.BAD_ANSWER, 1),
        (Fault.slow(60, written=False), Reason.TIMEOUT, 0),
        (Fault.slow(60, written=True), Reason.TIMEOUT, 1),
        (Fault.drips(0.05), Reason.TIMEOUT, 1),
        (Fault.html_error(), Reason.SERVER_ERROR, 0),
        (Fault.redirects("https://elsewhere.example/"), Reason.REDIRECT, 0),
        (Fault.answers(500, written=True), Reason.SERVER_ERROR, 1),
    ],
)
async def test_what_is_not_known_to_be_written_is_tried_again(fault: Fault, reason: Reason, written: int) -> None:
    async with Sandbox() as crm:
        crm.faults.next(fault)
        outcome = await deliver(crm.url, context(timeout=0.2))
        assert isinstance(outcome, Retry)
        assert outcome.reason is reason
        assert (len(crm.ledger), len(crm.records)) == (1, written)


async def test_retry_after_is_passed_on_uncapped(crm: Sandbox) -> None:
    crm.faults.next(Fault.answers(429, {"Retry-After": "1000000"}))
    outcome = await deliver(crm.url)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame, outcome.after) == (Reason.RATE_LIMITED, Blame.DESTINATION, 1_000_000.0)


async def test_a_refusal_carries_the_destinations_own_words() -> None:
    async with Sandbox(required=["phone"]) as crm:
        outcome = await deliver(crm.url)
    assert outcome == Rejected(
        Reason.REFUSED, 'it answered 422: it refuses the values ("required: phone")', Blame.BATCH, 422
    )


async def test_an_error_inside_a_success(crm: Sandbox) -> None:
    crm.faults.share(Fault.error_inside("no such list"), 1)
    assert await deliver(crm.url) == Delivered(status=200)
    detail = 'it answered 200, but success.when is not true ("no such list")'
    assert await deliver(crm.url, success={"when": "answer.ok"}) == Retry(
        Reason.REFUSED, detail, Blame.UNCLEAR, None, 200
    )
    assert await deliver(crm.url, success={"when": "answer.ok", "otherwise": "reject"}) == Rejected(
        Reason.REFUSED, detail, Blame.BATCH, 200
    )


@pytest.mark.parametrize(
    ("when", "body", "kind"),
    [
        ("answer.ok", b'{"ok": true}', Delivered),
        ("answer.ok", b'{"ok": "true"}', Delivered),
        ("answer.ok", b'{"ok": "false"}', Retry),
        ("answer.ok", b'{"ok": " No "}', Retry),
        ("answer.ok", b'{"ok": 0}', Retry),
        ("answer.ok", b"{}", Retry),
        ("answer.ok", b"null", Retry),
        ("answer.ok", b"", Retry),
        ("answer.ok", b'{"ok": tr', Retry),
        ("answer.ok", b"<html>Please log in</html>", Retry),
        ("answer.ok", b"\xff\xfe", Retry),
        ("answer.id", b'{"id": "x-1"}', Delivered),
        ("answer.id", b'{"id": null}', Retry),
        ("answer.n > 1", b'{"n": 2}', Delivered),
        ("answer.n > 1", b'{"n": "2"}', Retry),
        ("answer.n > 1", b"{}", Retry),
        ("answer[0].ok", b'[{"ok": 1}]', Delivered),
        ("status == 200", b"<html>", Delivered),
        ('headers["Content-Type"] == "application/json"', b"", Delivered),
        ('headers["x-nothing"]', b"", Retry),
    ],
)
async def test_success_only_where_the_expression_says_so(when: str, body: bytes, kind: type[Outcome]) -> None:
    async with raw_server(answers(JSON, body)) as raw:
        assert isinstance(await deliver(raw.url, success={"when": when}), kind)


@pytest.mark.parametrize(
    ("status", "settings", "kind"),
    [
        (200, {"status": [201]}, Retry),
        (202, {"status": ["200-201"]}, Retry),
        (409, {"status": ["200-299", 409]}, Delivered),
        (500, {"status": [500]}, Delivered),
        (207, {}, Retry),
        (207, {"when": "answer.ok"}, Delivered),
        (206, {"when": "answer.ok"}, Retry),
    ],
)
async def test_which_statuses_are_success(status: int, settings: dict[str, Any], kind: type[Outcome]) -> None:
    async with raw_server(answers(b"%d X\r\nContent-Type: application/json" % status, b'{"ok": true}')) as raw:
        outcome = await deliver(raw.url, success=settings)
    assert isinstance(outcome, kind)
    assert outcome.status == status


@pytest.mark.parametrize(
    ("body", "remote_id", "remote_url", "warns"),
    [
        (b'{"id": 7, "url": "https://crm.example/7"}', "7", "https://crm.example/7", False),
        (b'{"id": " x ", "url": "http://crm/7"}', "x", "http://crm/7", False),
        (b'{"id": true, "url": "javascript:alert(1)"}', None, None, True),
        (b'{"id": {"a": 1}, "url": 7}', None, None, True),
        (b"{}", None, None, True),
        (b"[]", None, None, True),
    ],
)
async def test_an_id_or_link_that_is_not_there_is_a_warning(
    body: bytes, remote_id: str | None, remote_url: str | None, *, warns: bool
) -> None:
    async with raw_server(answers(JSON, body)) as raw:
        outcome = await deliver(raw.url, remote_id="answer.id", remote_url="answer.url")
    assert isinstance(outcome, Delivered)
    assert (outcome.remote_id, outcome.remote_url, outcome.warning is not None) == (remote_id, remote_url, warns)


async def test_an_answer_that_should_be_json_and_is_not_is_no_delivery() -> None:
    async with raw_server(answers(b"200 OK\r\nContent-Type: text/html", b"<html>Log in first</html>")) as raw:
        outcome = await deliver(raw.url, remote_id="answer.id")
    assert isinstance(outcome, Retry)
    assert outcome.reason is Reason.BAD_ANSWER


async def test_a_record_that_no_request_can_be_made_of_is_a_dead_letter_without_a_call(crm: Sandbox) -> None:
    target = connector(crm.url + "/{{ Email }}", method="PUT")
    (outcome,) = await target.deliver([record(Email="")])
    await target.close()
    assert outcome == Rejected(Reason.MAPPING, "a value in the path of the URL is empty or made of dots")
    assert not crm.ledger


async def test_wrong_addresses_hold_the_lane_unless_the_record_made_them(crm: Sandbox) -> None:
    outcome = await deliver(crm.origin + "/nowhere")
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.NOT_FOUND, Blame.DESTINATION)
    outcome = await deliver(crm.url + "/{{ Email }}", method="PATCH")
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.blame) == (Reason.NOT_FOUND, Blame.RECORD)


async def test_a_get_carries_the_lead_in_its_address() -> None:
    async with raw_server(answers(b"200 OK")) as raw:
        assert await deliver(raw.url + "?email={{ Email }}", method="GET") == Delivered(status=200)
    assert raw.requests[0].startswith(b"GET /contacts?email=david%40example.com HTTP/1.1\r\n")
    assert raw.requests[0].endswith(b"\r\n\r\n")


async def test_many_at_once(crm: Sandbox) -> None:
    target = connector(crm.url)
    outcomes = await asyncio.gather(*(target.deliver([each]) for each in records(50)))
    await target.close()
    assert all(outcome == [Delivered(status=201)] for outcome in outcomes)
    assert len(crm.records) == 50


async def test_a_destination_that_is_not_there() -> None:
    async with raw_server(answers(b"200 OK")) as raw:
        url = raw.url
    outcome = await deliver(url)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.UNREACHABLE, Blame.DESTINATION)


async def test_a_call_that_is_cancelled(crm: Sandbox) -> None:
    target = connector(crm.url)
    crm.faults.next(Fault.slow(60))
    call = asyncio.create_task(target.deliver([record()]))
    while not crm.ledger:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await target.deliver([record()]) == [Delivered(status=200)]
    await target.close()
    await target.close()


async def test_a_failure_that_is_no_http(crm: Sandbox) -> None:
    async with raw_server(sends(b"SSH-2.0-OpenSSH_9.9\r\n")) as raw:
        outcome = await deliver(raw.url)
    assert isinstance(outcome, Retry)
    assert outcome.detail == f"the answer of 127.0.0.1:{raw.port} is not HTTP"


def test_a_preview_shows_the_request_and_hides_the_secrets() -> None:
    made = connector(
        "https://crm.example/c?api_key=k-1&bot={{ chatbot }}",
        headers={"X-Api-Key": "k-2", "X-Bot": "{{ chatbot }}", "Accept": "application/json"},
        auth={"basic": {"username": "u", "password": "k-3"}},
        sign={"secrets": ["whsec_c2VjcmV0"]},
        idempotency_key="bare",
    )
    shown = made.preview([record({"a": "k-3!"}, "r-1")])
    assert (shown.method, shown.url) == ("POST", "https://crm.example/c?api_key=***&bot=acme")
    assert dict(shown.headers) == {
        "Authorization": "Basic ***",
        "Content-Type": "application/json",
        "X-Api-Key": "***",
        "X-Bot": "acme",
        "Accept": "application/json",
        "Idempotency-Key": "r-1",
        "webhook-id": "r-1",
        "webhook-timestamp": "1795600000",
        "webhook-signature": "***",
    }
    assert shown.body == '{"a":"***!"}'


def test_a_preview_of_a_batch_and_of_a_token() -> None:
    client = {"token_url": "https://crm.example/t", "client_id": "i", "client_secret": "s"}
    made = connector("https://crm.example/c", results={"ok": "result.ok"}, auth={"oauth2": client})
    shown = made.preview([record({"a": 1}), record({"b": 2})])
    assert shown.body == '[{"a":1},{"b":2}]'
    assert shown.headers["Authorization"] == "Bearer ***"


def test_a_preview_of_what_cannot_be_sent_says_why() -> None:
    with pytest.raises(ExpressionError, match="empty"):
        connector("https://crm.example/{{ Email }}").preview([record(Email="")])
