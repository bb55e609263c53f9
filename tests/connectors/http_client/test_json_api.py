"""Calls to JSON APIs, and the language of templates that the kit brings."""

from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from connectors.base import Blame, ExpressionError, Outcome, Reason, Rejected, Retry
from connectors.http.settings import HttpSettings
from connectors.http_client.answer import Answer
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.testing import Fault, Sandbox
from connectors.testing.subject import PlainExpressions
from tests.connectors.building import NOW, context

SECRET = "token-of-the-api"


def api(session: HttpSession | None = None, **options: Any) -> JsonApi:
    made = session or HttpSession(HttpSettings(url="http://127.0.0.1:9", allow_private=True), context())
    return JsonApi(made, Secrets(SECRET), lambda: NOW, **options)


def answer(status: int, body: bytes) -> Answer:
    return Answer(status, CIMultiDict({"Content-Type": "application/json"}), body)


def outcome(read: Reply | Outcome) -> Retry | Rejected:
    assert isinstance(read, Retry | Rejected)
    return read


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("a", "b", 0, "id"), 7),
        (("a",), {"b": [{"id": 7}]}),
        ((), {"a": {"b": [{"id": 7}]}}),
        (("a", "b", 1), None),
        (("a", 0), None),
        (("a", "b", "id"), None),
        (("x", "y"), None),
    ],
)
def test_a_path_that_is_not_there_gives_nothing(path: tuple[str | int, ...], found: object) -> None:
    assert Reply(200, {"a": {"b": [{"id": 7}]}}, {}).get(*path) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [(7, "7"), (" x ", "x"), ("", None), ("  ", None), (None, None), (True, None), (1.5, None), ([], None), ({}, None)],
)
def test_only_text_and_whole_numbers_are_ids(value: object, found: str | None) -> None:
    assert Reply(200, {"id": value}, {}).id_at("id") == found


def test_an_error_is_told_in_the_apis_own_words_without_secrets() -> None:
    read = outcome(api().read(answer(400, b'{"message": "no such field, %b"}' % SECRET.encode())))
    assert isinstance(read, Rejected)
    assert read.detail == 'it answered 400: it refuses the request ("no such field, ***")'
    assert read.blame is Blame.BATCH


def test_a_status_whose_document_speaks_of_the_records_is_given() -> None:
    per_record_statuses = api(per_record_statuses=frozenset({207, 400}))
    for status in (207, 400):
        reply = per_record_statuses.read(answer(status, b'{"data": [1]}'))
        assert isinstance(reply, Reply)
        assert reply.get("data") == [1]
    assert isinstance(per_record_statuses.read(answer(400, b"no JSON")), Rejected)
    assert isinstance(api().read(answer(207, b"{}")), Retry)


def test_a_document_that_does_not_speak_of_them_counts_by_its_status() -> None:
    per_record_statuses = api(per_record_statuses=frozenset({400}))
    refused = per_record_statuses.refused(Reply(400, {"message": f"wrong {SECRET}"}, {}))
    assert isinstance(refused, Rejected)
    assert refused.detail.endswith('("wrong ***")')
    assert per_record_statuses.refused(Reply(200, {}, {})).reason is Reason.BAD_ANSWER


def test_a_success_that_is_no_json_is_unclear() -> None:
    read = outcome(api().read(answer(200, b"<html>")))
    assert (read.reason, read.blame, read.status) == (Reason.BAD_ANSWER, Blame.UNCLEAR, 200)


async def test_what_json_does_not_have_is_not_sent() -> None:
    async with Sandbox() as crm:
        session = HttpSession(HttpSettings(url=crm.url, allow_private=True), context())
        read = outcome(await api(session).call("POST", URL(crm.url), {"email": 2**70}))
        await session.close()
    assert (type(read), read.reason) == (Rejected, Reason.MAPPING)
    assert not crm.ledger


async def test_headers_and_document_arrive() -> None:
    async with Sandbox(authorization="Bearer x") as crm:
        session = HttpSession(HttpSettings(url=crm.url, allow_private=True), context())
        calls = api(session, headers={"Authorization": "Bearer x"})
        reply = await calls.call("POST", URL(crm.url), {"email": "a@b.co"}, {"X-Trace": "7"})
        crm.faults.next(Fault.disconnects(written=False))
        lost = outcome(await calls.call("GET", URL(f"{crm.url}/a@b.co")))
        await session.close()
    assert isinstance(reply, Reply)
    assert reply.id_at("id") == "1"
    assert crm.ledger[0].headers["X-Trace"] == "7"
    assert crm.ledger[0].headers["Content-Type"] == "application/json"
    assert "Content-Type" not in crm.ledger[1].headers
    assert isinstance(lost, Retry)


def test_the_kits_templates_are_strict_and_show_no_value() -> None:
    plain = PlainExpressions()
    assert plain.template("{{ Email | lower }}!", frozenset({"Email"}))({"Email": "A@B.co"}) == "a@b.co!"
    assert plain.expression("answer.ok")({"answer": {"ok": True}}) is True
    assert plain.expression("nothing")({}) is None
    for wrong in ("{{ Emial }}", "{{ Email", "{{ Email | no_such_filter }}"):
        with pytest.raises(ExpressionError):
            plain.template(wrong, frozenset({"Email"}))
    with pytest.raises(ExpressionError) as caught:
        plain.template("{{ Email + 1 }}")({"Email": "secret@example.com"})
    assert "secret" not in str(caught.value)
