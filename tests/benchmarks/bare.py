"""The reference for the webhook endpoint: an aiohttp handler that reads the body and answers the same bytes.

Run as `python -m tests.benchmarks.bare`; it prints its port, and ends when its standard input does.
"""

import asyncio
import sys

import uvloop
from aiohttp import web

from tests.benchmarks.load import SUCCESS


async def _answer(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=SUCCESS, content_type="application/json")


async def _main() -> None:
    # As aiohttp's documentation has one write a server. The product saves itself the router, a seventh of this.
    app = web.Application()
    app.router.add_post("/webhook", _answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_main())
