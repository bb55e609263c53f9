"""Contract tests for secrecy, and for the start and the end of a connector."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import orjson
import pytest

from connectors.base import Delivered, Finding, MappedField, MappedRoute, Preview, Quota, Severity
from connectors.testing.faults import Fault
from connectors.testing.subject import Subject
from connectors.testing.trial import FakeT, claim, nothing_left_behind

_REPEATING = (200, 400, 401, 403, 409, 422, 429, 500)
_SAID = "SAID"  # stands for the words
_BODIES: tuple[object, ...] = (
    _SAID,
    {"message": _SAID, "error": _SAID, "error_description": _SAID, "status": "error", "category": "VALIDATION_ERROR"},
    [{"message": _SAID, "errorCode": "INVALID_FIELD", "fields": [_SAID]}],
    {"errors": [{"message": _SAID, "code": _SAID}], "data": [{"code": _SAID, "message": _SAID, "status": "error"}]},
)


class SecrecyClauses(Subject[FakeT]):
    """Tests of secrets, personal data, resources, and calls other than deliveries."""

    pytestmark: ClassVar = [pytest.mark.asyncio]

    async def test_no_secret_is_shown(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Not in a log, a repr, an outcome, a preview: not even if the API repeats the request in its errors."""
        caplog.set_level(logging.DEBUG)
        secrets, texts = await self._texts_when_well()
        for status in _REPEATING:
            for body in _BODIES:
                async with self.running() as run:
                    await run.one(self.record())
                    secrets |= self.secrets(run)
                    run.fake.faults.share(_repeating(status, body, self.secrets(run)), 1.0, self.on)
                    texts.append(await run.one(self.record(1)))
        texts += [*caplog.messages, caplog.text, *capfd.readouterr()]
        found = {text[:200] for text in map(repr, texts) for secret in secrets if secret in text}
        claim(not found, f"a secret is shown in: {found}")

    async def test_no_personal_data_is_logged(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Neither on success nor on failure."""
        caplog.set_level(logging.DEBUG)
        async with self.running() as run:
            await run.one(self.record())
            for fault in (Fault.answers(400), Fault.answers(500), Fault.disconnects(written=False)):
                run.fake.faults.next(fault, on=self.on)
                await run.one(self.record())
        shown = caplog.text + "".join(capfd.readouterr())
        found = [each for each in self.personal() if each in shown]
        claim(not found, f"personal data in the log: {found}")

    async def test_no_personal_data_is_in_a_detail_of_the_connectors_own(self) -> None:
        """Without a message of the API there is nothing to quote."""
        async with self.running() as run:
            for fault in (
                *map(Fault.answers, (200, 302, 400, 404, 409, 422, 429, 500)),
                Fault.disconnects(written=False),
            ):
                run.fake.faults.share(fault, 1.0, self.on)
                outcome = await run.one(self.record())
                run.fake.faults.clear()
                found = [each for each in self.personal() if each in repr(outcome)]
                claim(not found, f"personal data in {outcome!r}")

    async def test_a_preview_sends_nothing(self) -> None:
        """It shows the request, and works without any earlier call."""
        async with self.running() as run:
            shown = run.connector.preview([self.record()])
        claim(isinstance(shown, Preview), f"preview gave a {type(shown).__name__}")
        claim(shown.url.startswith(("http://", "https://")), f"a preview's url is whole: {shown.url}")
        claim(not run.fake.ledger, "a preview must send nothing")

    async def test_a_probe_writes_nothing(self) -> None:
        """It checks the routes and returns its findings."""
        async with self.running() as run:
            findings = await run.connector.probe([self._wanted()])
        claim(all(isinstance(each, Finding) for each in findings), f"probe gave {findings!r}")
        wrong = [each for each in findings if each.severity is Severity.ERROR]
        claim(not wrong, f"nothing is wrong, but the probe says {wrong}")
        claim(not self.held(run.fake), "a probe must not write")

    async def test_a_probe_says_what_went_wrong(self) -> None:
        """As findings, not as exceptions."""
        for fault in (*map(Fault.answers, (200, 302, 401, 403, 404, 429, 500)), Fault.disconnects(written=False)):
            async with self.running() as run:
                run.fake.faults.share(fault, 1.0)
                findings = await run.connector.probe([self._wanted()])
            claim(all(isinstance(each, Finding) for each in findings), f"probe gave {findings!r} after {fault}")
        async with self.fake() as fake:
            connector = self.make(fake)
        await connector.probe([self._wanted()])
        await connector.close()

    async def test_quotas_are_told_without_asking(self) -> None:
        """Before and after a delivery; nothing is sent for it."""
        async with self.running() as run:
            self._check_quotas(run.connector.quotas())
            claim(not run.fake.ledger, "quotas() must send nothing")
            await run.one(self.record())
            self._check_quotas(run.connector.quotas())

    async def test_every_request_waits_for_the_rate_limit(self) -> None:
        """`Context.pace` is entered before each and left after its answer, as `HttpSession` does."""
        waits, within = 0, 0

        async with self.fake() as fake:

            @asynccontextmanager
            async def pace() -> AsyncIterator[None]:
                nonlocal waits, within
                waits += 1
                before = len(fake.ledger)
                try:
                    yield
                finally:
                    within += len(fake.ledger) - before

            async with self.at_work(fake, pace=pace) as run:
                await run.one(self.record())
        claim(waits >= len(fake.ledger), f"{len(fake.ledger)} requests, but the rate limit was asked {waits} times")
        claim(within >= len(fake.ledger), "send each request, and read its answer, within `async with context.pace():`")

    async def test_it_is_made_without_touching_the_network(self) -> None:
        """`leadbridge check` creates connectors, in a thread without an event loop, and discards them."""
        async with self.fake() as fake:
            connector = await asyncio.to_thread(self.make, fake)
            await connector.close()
        claim(not fake.ledger, "the constructor must not send anything")

    async def test_it_is_closed_twice(self) -> None:
        """After work, and without any."""
        async with self.fake() as fake:
            for works in (False, True):
                connector = self.make(fake)
                if works:
                    await connector.deliver([self.record()])
                await connector.close()
                await connector.close()

    async def test_nothing_is_left_open(self) -> None:
        """No task, no session, no connection, after success and after failure."""
        async with nothing_left_behind(), self.running() as run:
            await run.one(self.record())
            run.fake.faults.next(Fault.disconnects(written=True), on=self.on)
            await run.one(self.record(1))

    async def test_two_destinations_know_nothing_of_each_other(self) -> None:
        """No state is kept in the class or its module."""
        async with self.running() as bad, self.running() as good:
            bad.fake.faults.share(Fault.answers(401), 1.0)
            await bad.one(self.record())
            outcome = await good.one(self.record())
        claim(isinstance(outcome, Delivered), f"another destination's trouble gave {outcome!r}")

    async def _texts_when_well(self) -> tuple[set[str], list[object]]:
        """Return the secrets, and the visible texts of a connector whose calls succeed."""
        async with self.running() as run:
            settings = run.connector.destination_settings.model_validate(dict(self.settings(run.fake)))
            outcome = await run.one(self.record())
            shown = run.connector.preview([self.record()])
            findings = await run.connector.probe([self._wanted()])
            return self.secrets(run), [run.connector, settings, outcome, shown, findings]

    def _wanted(self) -> MappedRoute:
        fields = self.record().fields
        return MappedRoute(
            self.route_settings(), tuple(MappedField(name, text=isinstance(fields[name], str)) for name in fields)
        )

    def _check_quotas(self, quotas: Sequence[Quota]) -> None:
        claim(all(isinstance(each, Quota) for each in quotas), f"quotas() gave {quotas!r}")
        good = all(each.remaining >= 0 and each.limit >= 0 and each.name for each in quotas)
        claim(good, f"a quota has a name, and no number below 0: {quotas!r}")


def _repeating(status: int, body: object, secrets: Collection[str]) -> Fault:
    """Return an answer that repeats the request's secrets in a body of some form."""
    said = "bad request, Authorization: Bearer " + " ".join(sorted(secrets))
    if body == _SAID:
        return Fault.answers(status, {"Content-Type": "text/plain"}, said.encode())
    filled = orjson.dumps(body).replace(orjson.dumps(_SAID), orjson.dumps(said))
    return Fault.answers(status, {"Content-Type": "application/json"}, filled)
