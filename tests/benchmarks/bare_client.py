"""The reference for a lane: a bare aiohttp client loop that sends the same requests at the same concurrency.

Run as `python -m tests.benchmarks.bare_client PORT CONCURRENCY`; it prints 0, and for each line with a number it sends
so many requests and prints `done`.
"""

import asyncio
import sys
from collections.abc import Iterator

import aiohttp
import orjson
import uvloop
from yarl import URL

from tests.benchmarks.leads import payloads
from tests.benchmarks.program import record_of


def _bodies(count: int) -> list[bytes]:
    leads = payloads()
    return [orjson.dumps(record_of(orjson.loads(next(leads)[1]))) for _ in range(count)]


async def _work(http: aiohttp.ClientSession, url: URL, bodies: Iterator[bytes]) -> None:
    for body in bodies:
        async with http.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
            await response.read()
            assert response.status == 200


async def _main(port: int, concurrency: int) -> None:
    url = URL(f"http://127.0.0.1:{port}/leads")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as http:
        print(0, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            bodies = iter(_bodies(int(line)))
            await asyncio.gather(*[_work(http, url, bodies) for _ in range(concurrency)])
            print("done", flush=True)


if __name__ == "__main__":
    uvloop.run(_main(*map(int, sys.argv[1:3])))
