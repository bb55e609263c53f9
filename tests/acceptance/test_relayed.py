"""`ack: relayed`: success is answered only when every destination has the lead."""

import asyncio
import socket
import time
from pathlib import Path

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, chatbot, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

WITHIN = 1.0


async def test_success_comes_with_the_last_delivery(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    async with Sandbox() as up:
        down = Sandbox(port=port)
        destinations = {"up": http(up.url), "down": http(down.url)}
        website = chatbot(list(destinations), ack="relayed", ack_within=f"{WITHIN:g}s")
        async with (
            Program(tmp_path, settings(destinations, website), ENVIRONMENT) as program,
            Sender(program) as sender,
        ):
            await program.start()
            document = lead()
            began = time.monotonic()
            answer = await sender.send(document)
            assert answer is not None
            assert answer.status == 503, f"answered {answer.status} though one destination is down"
            assert int(answer.headers["Retry-After"]) > 0
            assert b"success" not in answer.body.lower()
            assert time.monotonic() - began >= WITHIN * 0.9, "it did not wait for the deliveries"
            await until(lambda: len(up.records) == 1, "the lead to arrive where it can")
            again = await sender.send(document)
            assert again is not None
            assert again.status == 503, "a repeated request was answered with success, and the lead is not delivered"
            async with down:
                await until(lambda: len(down.records) == 1, f"the lead to arrive when it is up again; {program.told()}")
                await sender.insist(document)
                await sender.deliver(lead())
                assert (len(up.records), len(down.records)) == (2, 2), "success came before the deliveries"
                assert len(up.ledger) == 2, "a lead was sent again to where it had arrived"

                # Many wait at once for a slow destination, each for its own lead.
                down.faults.share(Fault.slow(0.2), 1.0)
                await asyncio.gather(*(sender.insist(lead()) for _ in range(10)))
                assert len(down.records) == 12
