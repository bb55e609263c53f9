"""The reference for the webhook endpoint: an aiohttp handler that reads the body and answers the same bytes.

Run as `python -m tests.benchmarks.bare`; it prints its port, and ends when its standard input does.
"""

import asyncio
import sys

import uvloop
from aiohttp import web

from tests.benchmarks.load import SUCCESS


async def _answer(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response(body=SUCCESS, content_type="application/json")


async def _main() -> None:
    # As the product does it, below aiohttp's router: what the product does not pay for, its reference does not either.
    runner = web.ServerRunner(web.Server(_answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_main())
