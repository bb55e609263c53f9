"""Many senders of large bodies: memory stays far below what the manifests allow, and small leads are served."""

import asyncio
from collections import Counter
from pathlib import Path

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead, signature, written
from tests.acceptance.waiting import until

SENDERS = 60
ROUNDS = 3
LIMIT_MB = 400.0
"""The manifests allow 512 MiB."""


def _large(number: int) -> bytes:
    """Make a lead of nearly 1 MiB: a long text, or a great many values, which take most memory once they are read."""
    if number % 2:
        return written(lead(Content="x" * 1_040_000))
    return written(lead())[:-1] + b',"more":[' + b",".join([b"[]"] * 340_000) + b"]}"


async def test_senders_of_large_bodies_cannot_fill_the_memory(tmp_path: Path) -> None:
    answers: Counter[int] = Counter()
    async with (
        Sandbox(key="lead") as crm,
        Program(tmp_path, settings({"crm": http(crm.url, timeout="30s")}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()

        async def send(number: int) -> None:
            for _ in range(ROUNDS):
                body = _large(number)
                answer = await sender.post(body, signature(body))
                assert answer is not None
                answers[answer.status] += 1
                assert answer.status == 200 or answer.headers["Retry-After"], answer

        large = asyncio.gather(*map(send, range(SENDERS)))
        small = 0
        while not large.done():
            await sender.deliver(lead())
            small += 1
        await large
        assert small > 0
        assert answers.keys() <= {200, 503}, answers
        assert answers[200] > 0, answers
        assert (peak := program.peak_memory) < LIMIT_MB, f"{peak:.0f} MiB; {answers}, {small} small ones"
        await until(
            lambda: len(crm.records) == answers[200] + small,
            lambda: f"all to arrive: {len(crm.records)} of {answers} and {small}; {program.told()}",
        )
        assert program.peak_memory < LIMIT_MB
        assert await program.stop() == 0
