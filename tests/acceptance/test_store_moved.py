"""The store's files are renamed, removed or replaced under the process: no lead is acknowledged into a lost file."""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until


@contextmanager
def alerts() -> Iterator[tuple[str, list[str]]]:
    """Serve a target for alerts; give its Apprise URL and what has come."""
    came: list[str] = []

    class Target(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Target) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"json://127.0.0.1:{server.server_port}", came
        finally:
            server.shutdown()


def _renamed(file: Path) -> Callable[[], object]:
    aside = file.with_name("aside")
    file.rename(aside)
    return lambda: aside.rename(file)


def _removed(file: Path) -> Callable[[], object]:
    kept = file.with_name("kept")
    os.link(file, kept)  # else nothing could put it back
    file.unlink()
    return lambda: kept.rename(file)


def _replaced(file: Path) -> Callable[[], object]:
    aside = file.with_name("aside")
    copy = file.with_name("copy")
    shutil.copyfile(file, copy)
    file.rename(aside)
    copy.rename(file)
    return lambda: aside.rename(file)


async def said(program: Program, before: int) -> None:
    await until(lambda: len(program.events("store_moved")) > before, program.told, seconds=5)


async def test_no_lead_is_acknowledged_into_a_file_that_is_not_in_its_place(tmp_path: Path) -> None:
    with alerts() as (url, came):
        async with Sandbox(key=None) as crm:
            made = {**settings({"crm": http(crm.url)}), "alerts": {"to": [url]}}
            async with Program(tmp_path, made, ENVIRONMENT) as program, Sender(program) as sender:
                await program.start()
                await program.at_work()
                await sender.deliver(lead())
                await program.settled()
                wal = program.store.with_name(program.store.name + "-wal")
                for move, file in (
                    (_renamed, program.store),
                    (_removed, program.store),
                    (_replaced, program.store),
                    (_renamed, wal),
                ):
                    before, alerted = len(program.events("store_moved")), len(came)
                    put_back = move(file)
                    moved_at = time.monotonic()
                    answer = await sender.send(lead())
                    assert answer
                    assert answer.status == 503, f"acknowledged after {move.__name__} {file.name}"
                    await said(program, before)
                    if not alerted:
                        await until(lambda: bool(came), lambda: f"an alert; {program.told()}", seconds=10)
                        assert "not in its place" in came[0]
                        assert time.monotonic() - moved_at < 10
                    put_back()
                    await sender.insist(lead(), seconds=10)
                await program.at_work()
                rows = await program.settled()
                assert {row["state"] for row in rows} == {"delivered"}

                # Killed while it is moved: what was acknowledged is in the file.
                acknowledged = []
                put_back = _renamed(program.store)
                for each in [lead() for _ in range(20)]:
                    answer = await sender.send(each)
                    if answer and answer.succeeded:
                        acknowledged.append(each)
                assert not acknowledged
                await program.kill()
                put_back()
                assert await asyncio.to_thread(program.store.exists)


async def test_a_moved_store_is_noticed_within_a_second_although_nothing_comes(tmp_path: Path) -> None:
    async with Program(tmp_path, settings({"crm": http("http://127.0.0.1:9/")}), ENVIRONMENT) as program:
        await program.start()
        await program.at_work()
        put_back = _renamed(program.store)
        await until(lambda: bool(program.events("store_moved")), "the log to say so", seconds=5)
        put_back()
        await until(lambda: bool(program.events("store_in_place")), "the log to say so", seconds=5)
        await program.at_work()
        assert await program.stop() == 0
