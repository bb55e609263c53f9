from dataclasses import replace
from email.utils import formatdate
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from connectors.base import Blame, Delivered, Reason, Rejected, Retry
from connectors.http import HttpConnector, address
from connectors.http_client.status_table import (
    STATUSES,
    CallTraits,
    classify,
    retry_after,
    shorten,
    status_meaning,
    words_in,
)
from tests.connectors.building import NOW, connector, raw_server, record, sends

# Written down a second time, by what an operator will see, so that a slip in the table is noticed.
DELIVERED = {200, 201, 202, 203, 204, 205, 208, 226}
HELD = {  # Every lead would get this answer: the lane pauses, and no lead dies of it.
    Reason.BAD_ANSWER: {206, 207, 304},
    Reason.REDIRECT: {300, 301, 302, 303, 305, 306, 307, 308},
    Reason.UNAUTHORIZED: {401, 407, 419, 440, 495, 496, 498, 561},
    Reason.FORBIDDEN: {402, 403, 450, 451, 540},
    Reason.NOT_FOUND: {404, 405},
    Reason.GONE: {410},
    Reason.REFUSED: {406, 411, 415, 417, 426, 428, 463, 464, 497},
    Reason.TOO_LARGE: {414, 431, 494},
    Reason.RATE_LIMITED: {420, 429, 430, 509, 529},
    Reason.SERVER_ERROR: {501, 505, 506, 507, 508, 510},
    Reason.UNREACHABLE: {511, 521, 522, 523, 525, 526, 527, 530},
}
AGAIN = {  # The same request may well succeed later.
    Reason.BAD_ANSWER: {100, 101, 102, 103, 444},
    Reason.TIMEOUT: {408, 460, 499, 524, 598, 599},
    Reason.UNREACHABLE: {421},
    Reason.CONFLICT: {423, 425, 477},
    Reason.REFUSED: {449},
    Reason.SERVER_ERROR: {424, 500, 502, 503, 504, 520},
}
REFUSED = {  # It is the record.
    Reason.REFUSED: {400, 416, 418, 422},
    Reason.CONFLICT: {409, 412},
    Reason.TOO_LARGE: {413},
}
BY_CLASS: dict[int, tuple[Any, Reason, Blame]] = {
    1: (Retry, Reason.BAD_ANSWER, Blame.UNCLEAR),
    3: (Retry, Reason.REDIRECT, Blame.DESTINATION),
    4: (Rejected, Reason.REFUSED, Blame.BATCH),
    5: (Retry, Reason.SERVER_ERROR, Blame.UNCLEAR),
}
EXPECTED: dict[int, tuple[Any, Reason, Blame]] = {
    **{status: (Retry, reason, Blame.DESTINATION) for reason, those in HELD.items() for status in those},
    **{status: (Retry, reason, Blame.UNCLEAR) for reason, those in AGAIN.items() for status in those},
    **{status: (Rejected, reason, Blame.BATCH) for reason, those in REFUSED.items() for status in those},
}


def of(status: int, headers: dict[str, str] | None = None, **traits: bool) -> Any:
    return classify(status, CIMultiDict(headers or {}), NOW, traits=CallTraits(**traits))


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status(status: int) -> None:
    outcome = of(status)
    assert outcome.status == status
    if status in DELIVERED or (status // 100 == 2 and status not in EXPECTED):
        assert isinstance(outcome, Delivered)
        return
    kind, reason, blame = EXPECTED.get(status) or BY_CLASS[status // 100]
    assert (type(outcome), outcome.reason, outcome.blame) == (kind, reason, blame)
    assert outcome.detail == f"it answered {status}: {status_meaning(status).why}"


def test_the_table_and_this_test_name_the_same_statuses() -> None:
    assert set(STATUSES) == DELIVERED | set(EXPECTED)


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_what_is_no_status_is_no_success(status: int) -> None:
    assert isinstance(of(status), Retry)


@pytest.mark.parametrize("status", [404, 405, 410, 414, 431])
def test_an_address_made_from_the_record_is_the_records_trouble(status: int) -> None:
    outcome = of(status, per_record=True)
    assert isinstance(outcome, Rejected)
    assert outcome.blame is Blame.RECORD


def test_a_redirect_of_one_records_address_does_not_hold_the_others_nor_kill_it() -> None:
    outcome = of(302, per_record=True)
    assert isinstance(outcome, Retry)
    assert outcome.blame is Blame.UNCLEAR


def test_a_conflict_after_an_idempotency_key_means_that_it_is_being_worked_on() -> None:
    assert isinstance(of(409), Rejected)
    outcome = of(409, keyed=True)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.CONFLICT, Blame.RECORD)


def test_a_destination_that_says_for_how_long_it_is_away_is_held() -> None:
    assert of(503).blame is Blame.UNCLEAR
    assert of(503, {"Retry-After": "120"}) == Retry(
        Reason.SERVER_ERROR, "it answered 503: it is not available for now", Blame.DESTINATION, 120.0, 503
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("86400", 86400.0),
        ("31536000", 31536000.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
        ("Sun Nov  6 08:49:47 1994", 10.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Mon, 06 Nov 1995 08:49:37 GMT", 365 * 86400.0),
        ("Sun, 06 Nov 1994 08:49:36 GMT", None),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("1e3", None),
        ("\u0667", None),
        ("99999999999", None),
        ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ("Sun, 99 Nov 1994 99:99:99 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    now = 784111777.0  # RFC 9110's own example of a date: Sun, 06 Nov 1994 08:49:37 GMT
    assert retry_after(CIMultiDict({"retry-after": value}), now) == seconds


def test_a_date_is_compared_with_the_answers_own_clock() -> None:
    headers = CIMultiDict(
        {"Retry-After": formatdate(NOW + 600, usegmt=True), "Date": formatdate(NOW + 500, usegmt=True)}
    )
    assert retry_after(headers, NOW) == 100.0


@given(st.text() | st.from_regex(r"[A-Za-z0-9 ,:+-]{0,40}"), st.text(max_size=30))
def test_no_retry_after_is_an_exception(value: str, date: str) -> None:
    wait = retry_after(CIMultiDict({"Retry-After": value, "Date": date}), NOW)
    assert wait is None or 0 <= wait < 10**12


@given(st.integers(0, 10**9))
def test_every_date_that_lies_ahead_is_read_exactly(ahead: int) -> None:
    assert retry_after(CIMultiDict({"Retry-After": formatdate(NOW + ahead, usegmt=True)}), NOW) == ahead


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"message": "email is invalid"}, "email is invalid"),
        ({"error": {"message": "no\nsuch\tthing"}}, "no such thing"),
        ({"error": "invalid_grant", "error_description": "expired"}, "expired"),
        ({"errors": [{"message": "a"}, {"message": "b"}]}, "a; b"),
        ({"errors": {"email": ["is invalid", "is taken"]}}, "email: is invalid; is taken"),
        ([{"message": "x", "errorCode": "Y"}], "x"),
        ({"title": "Bad", "detail": "Really bad"}, "Really bad"),
        ({"ok": False, "email": "a@b.co"}, ""),
        ("just text", "just text"),
        (None, ""),
        (5, ""),
    ],
)
def test_the_destinations_own_words_are_found_in_json(document: Any, words: str) -> None:
    assert words_in(orjson.dumps(document), "application/json; charset=utf-8") == words


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"<html><h1>Sorry</h1></html>", "text/html; charset=utf-8", ""),
        (b"no such key\r\n", "text/plain", "no such key"),
        (b"\xff\xfe\x00", "application/octet-stream", ""),
        (b"\xff", "text/plain", "�"),
        (b'{"message": "half', "application/json", ""),
        (b"", "application/json", ""),
        (b"[" * 1000 + b"]" * 1000, "application/json", ""),
    ],
)
def test_other_answers_are_quoted_only_where_they_are_text(body: bytes, content_type: str, words: str) -> None:
    assert words_in(body, content_type) == words


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["errors", "error", "message"]), inner),
)


@given(json_values)
def test_words_are_one_line_whatever_the_answer(document: Any) -> None:
    words = shorten(words_in(orjson.dumps(document), "application/json"))
    assert len(words) <= 300
    assert words.isprintable() or not any(ord(character) < 32 for character in words)


async def test_each_status_over_the_network_means_what_the_table_says() -> None:
    status = 0

    async def behave(_: bytes, writer: Any) -> None:
        body = b"" if status in (204, 304) else b'{"message": "so it is"}'
        length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(body)
        writer.write(b"HTTP/1.1 %d Whatever\r\nContent-Type: application/json\r\n%b\r\n%b" % (status, length, body))

    async with raw_server(behave) as raw:
        target = connector(raw.url)
        for status in range(200, 600):
            found = await _deliver(target)
            meant = classify(status, CIMultiDict(), NOW, "" if status in (204, 304) or status < 300 else "so it is")
            if status in address.STATUSES:  # the `http` connector says which setting helps
                assert isinstance(meant, Retry)
                meant = replace(meant, detail=found.detail)
            assert found == meant or status in (206, 207), status
        await target.close()
    assert len(raw.requests) == 400


async def _deliver(target: HttpConnector) -> Any:
    (outcome,) = await target.deliver([record()])
    return outcome


async def test_interim_statuses_are_waited_through() -> None:
    async with raw_server(
        sends(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    ) as raw:
        target = connector(raw.url)
        assert await _deliver(target) == Delivered(status=201)
        await target.close()


async def test_a_switch_of_protocols_is_no_success() -> None:
    async with raw_server(sends(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")) as raw:
        target = connector(raw.url)
        outcome = await _deliver(target)
        await target.close()
    assert isinstance(outcome, Retry)
