"""Contract tests for answers: the outcome of each status and each body."""

import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import ClassVar

import pytest

from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from connectors.http_client.status_table import STATUSES
from connectors.testing.faults import Fault
from connectors.testing.subject import Subject
from connectors.testing.trial import FakeT, claim

_JSON = {"Content-Type": "application/json"}
_MOVES = (301, 302, 303, 307, 308)
_CREDENTIALS = (401, 403, 407)
_UNKNOWN = (299, 399, 491, 599)  # statuses that nobody has given a meaning
_ALL = sorted({status for status in STATUSES if status >= 200} | {*_UNKNOWN})  # noqa: PLR2004 - an answer, not interim
_PASSING = [status for status in _ALL if status >= 500] + [408, 425]  # noqa: PLR2004 - the class of server errors
_BODIES = (
    b"",
    b"{",
    b"null",
    b"0",
    b"true",
    b'"text"',
    b"[]",
    b"[null]",
    b"[[]]",
    b'["a", 1]',
    b"{}",
    b'{"data": null, "results": null, "errors": null, "contact": null, "id": null}',
    b'{"data": {}, "results": {}, "errors": {}, "contact": [], "id": {}}',
    b'{"data": [], "results": [], "errors": [], "message": []}',
    b'{"data": [null], "results": [1], "errors": [null], "message": {"a": [1]}}',
    b'[{"id": null, "success": null, "errors": null}]',
    b'{"a": 1',
    b"\xff\xfe\x00",
    b"[" * 5000,
    b'{"id": "' + b"9" * 100,
    b"<html><body>Welcome</body></html>",
)
_RETRY_AFTER = 120


class AnswerClauses(Subject[FakeT]):
    """Tests of the reading of answers."""

    pytestmark: ClassVar = [pytest.mark.asyncio]

    async def test_a_lead_is_delivered(self) -> None:
        """The connector, the fake and the settings fit together."""
        await self.clean(0)

    async def test_a_success_without_a_word_is_not_believed(self) -> None:
        """A 2xx counts only where the answer accounts for the record."""
        await self._outcomes_of(
            (status for status in _ALL if status < 300 and status not in self.bare_success),  # noqa: PLR2004 - 2xx
            lambda outcome: not isinstance(outcome, Delivered),
            "a success whose body says nothing of the record must not be Delivered",
        )

    async def test_a_redirect_is_not_followed(self) -> None:
        """Redirects turn a POST into a GET, and lead elsewhere with the credentials."""
        async with self.fake() as elsewhere:
            for status in _MOVES:
                async with self.running() as run:
                    to = next((str(value) for value in self._addresses(elsewhere)), "http://127.0.0.1:9/")
                    run.fake.faults.share(Fault.redirects(to, status), 1.0, self.on)
                    outcome = await run.one(self.record())
                claim(isinstance(outcome, Retry), f"{status} must be Retry: nothing was written, it gave {outcome!r}")
            claim(not elsewhere.ledger, "a redirect must not be followed")

    async def test_no_error_is_a_success(self) -> None:
        """Every status from 300 up, including unknown ones."""
        await self._outcomes_of(
            (status for status in _ALL if status >= 300),  # noqa: PLR2004 - all but success
            lambda outcome: not isinstance(outcome, Delivered),
            "an error must not be Delivered",
        )

    async def test_a_failing_server_kills_no_lead(self) -> None:
        """A temporary failure is tried again; the record is never to blame."""
        await self._outcomes_of(
            _PASSING,
            lambda outcome: isinstance(outcome, Retry) and outcome.blame is not Blame.RECORD,
            "a server that fails must give Retry, and not blame the record",
        )

    async def test_refused_credentials_hold_the_destination(self) -> None:
        """Every lead would get this answer: the lane waits for an operator, and no lead becomes a dead letter."""
        await self._outcomes_of(
            _CREDENTIALS,
            lambda outcome: isinstance(outcome, Retry) and outcome.blame is Blame.DESTINATION,
            "refused credentials must give Retry with Blame.DESTINATION",
        )

    async def test_refused_credentials_are_not_hammered(self) -> None:
        """Repeated refused logins lock the account."""
        _, usual = await self.clean(0)
        async with self.running() as run:
            run.fake.faults.share(Fault.answers(401), 1.0)
            await run.one(self.record())
            many = len(run.fake.ledger)
        claim(many <= usual + 3, f"after a 401 at most one renewal and one more try; {many} requests arrived")

    async def test_too_many_requests_hold_the_destination(self) -> None:
        """The quota is the account's, not the lead's."""
        await self._outcomes_of(
            (429,),
            lambda outcome: (
                isinstance(outcome, Retry)
                and outcome.blame is Blame.DESTINATION
                and outcome.reason is Reason.RATE_LIMITED
            ),
            "429 must give Retry with Reason.RATE_LIMITED and Blame.DESTINATION",
        )

    async def test_the_status_is_told(self) -> None:
        """The history of a delivery shows it."""
        await self._outcomes_of(
            (400, 401, 403, 422, 429, 500, 503),
            lambda outcome: outcome.status is not None,
            "an outcome of an answer must carry its status",
        )

    @pytest.mark.parametrize("status", [429, 503])
    async def test_seconds_to_wait_are_obeyed(self, status: int) -> None:
        """`Retry-After: 120`."""
        outcome = await self._asked_to_wait(status, str(_RETRY_AFTER))
        claim(outcome.after == _RETRY_AFTER, f"Retry-After: {_RETRY_AFTER} gave after={outcome.after}")

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_date_to_wait_for_is_obeyed(self, status: int) -> None:
        """`Retry-After: Tue, 24 Nov 2026 10:02:00 GMT`."""
        outcome = await self._asked_to_wait(status, formatdate(time.time() + _RETRY_AFTER, usegmt=True))
        near = outcome.after is not None and abs(outcome.after - _RETRY_AFTER) < 30  # noqa: PLR2004 - seconds
        claim(near, f"a Retry-After with a date {_RETRY_AFTER} s ahead gave after={outcome.after}")

    async def test_a_long_wait_is_not_cut_short(self) -> None:
        """A destination may ask for a day; only the bridge caps the wait."""
        outcome = await self._asked_to_wait(429, "86400")
        claim(outcome.after == 86400, f"Retry-After: 86400 gave after={outcome.after}")  # noqa: PLR2004 - a day

    async def test_a_wait_that_cannot_be_read_does_no_harm(self) -> None:
        """Some servers send garbage in this header."""
        for value in ("soon", "-5", "", "1e9", "\xff"):
            await self._asked_to_wait(429, value)

    @pytest.mark.parametrize("status", [200, 201, 202, 207])
    async def test_a_success_with_a_body_that_makes_no_sense_is_not_believed(self, status: int) -> None:
        """Wrong JSON, JSON of the wrong shape, a page for people."""
        if status in self.bare_success:
            pytest.skip("this status needs no body")
        for body in _BODIES:
            outcome = await self._answered(Fault.answers(status, _JSON, body))
            sane = not isinstance(outcome, Delivered) and outcome.reason is not Reason.CONNECTOR_ERROR
            claim(sane, f"{status} with the body {body[:60]!r} gave {outcome!r}")

    @pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
    async def test_an_error_with_a_body_that_makes_no_sense_is_an_outcome(self, status: int) -> None:
        """No body causes an exception."""
        for body in _BODIES:
            outcome = await self._answered(Fault.answers(status, _JSON, body))
            claim(not isinstance(outcome, Delivered), f"{status} with the body {body[:60]!r} gave {outcome!r}")

    async def test_a_page_for_people_is_not_a_success(self) -> None:
        """Proxies and login pages answer with 200."""
        if 200 in self.bare_success:  # noqa: PLR2004 - OK
            pytest.skip("this status needs no body")
        outcome = await self._answered(Fault.html_error(200))
        claim(isinstance(outcome, Retry), f"an HTML page must be Retry, it gave {outcome!r}")

    async def test_an_answer_without_end_is_not_read_to_its_end(self) -> None:
        """Three megabytes, where an answer has a few kilobytes."""
        outcome = await self._answered(Fault.answers(200, _JSON, b'{"pad": "' + b"x" * 3 * 1024**2 + b'"}'))
        if 200 not in self.bare_success:  # noqa: PLR2004 - OK
            claim(isinstance(outcome, Retry), f"an answer that is too large must be Retry, it gave {outcome!r}")

    async def test_a_destination_that_is_not_there_is_held(self) -> None:
        """Nothing was sent, and every lead would fail the same way."""
        async with self.fake() as fake:
            connector = self.make(fake)
        (outcome,) = await connector.deliver([self.record()])
        await connector.close()
        held = isinstance(outcome, Retry) and outcome.blame is Blame.DESTINATION
        claim(held, f"no connection must give Retry with Blame.DESTINATION, it gave {outcome!r}")

    async def test_a_refused_lead_is_rejected(self) -> None:
        """At once, with the API's own reason, and nothing of it is stored."""
        async with self.running() as run:
            outcome = await run.one(self.record(fields=self.refused()))
        claim(isinstance(outcome, Rejected), f"what the API refuses must be Rejected, it gave {outcome!r}")
        claim(not self.held(run.fake), "a refused lead must leave nothing behind")

    async def _answered(self, fault: Fault) -> Outcome:
        async with self.running() as run:
            run.fake.faults.share(fault, 1.0, self.on)
            return await run.one(self.record())

    async def _asked_to_wait(self, status: int, value: str) -> Retry:
        outcome = await self._answered(Fault.answers(status, {"Retry-After": value}))
        if not isinstance(outcome, Retry):
            pytest.fail(f"{status} must give Retry, it gave {outcome!r}", pytrace=False)
        return outcome

    async def _outcomes_of(self, statuses: Iterable[int], good: Callable[[Outcome], bool], message: str) -> None:
        """Answer each request with a status and no body; fail if an outcome is wrong."""
        wrong = []
        async with self.fake() as fake:
            for status in statuses:
                fake.faults.clear()
                fake.faults.share(Fault.answers(status), 1.0, self.on)
                async with self.at_work(fake) as run:
                    outcome = await run.one(self.record())
                if not good(outcome):
                    wrong.append(f"{status}: {outcome!r}")
        claim(not wrong, "\n".join([message, *wrong]))

    def _addresses(self, fake: FakeT) -> Iterable[object]:
        """Return the settings that hold an address of the fake."""
        return (
            value
            for value in self.settings(fake).values()
            if isinstance(value, str) and value.startswith(("http://", "https://"))
        )
