"""The only place that wires: a configuration becomes a running bridge, and ends in order."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web

from bridge.admin.health import Admin
from bridge.admin.metrics import Metrics
from bridge.config.model import Address, Config
from bridge.errors import OperatorError
from bridge.lanes import Lanes
from bridge.receiver import Receiver
from bridge.relay import Relay
from bridge.retention import prune_for_ever
from bridge.store.migrate import migrate
from bridge.store.opening import driver_for
from bridge.store.sql import SqlStore

SWITCH_SECONDS = 0.0002
"""How long a thread may keep the interpreter from another one: the loop and the store's writer hand over often, and
Python's 5 ms would be the latency of an answer (docs/architecture.md, "Hot paths")."""
GRACE_SECONDS = 25.0
"""How long calls that are on their way may take to end after a stop; container engines kill after 30 or less."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A bridge that is up."""

    listen: Address
    """Where the webhook endpoint really listens: the port is chosen where 0 was asked for."""
    admin: Address
    lanes: Lanes


@contextlib.asynccontextmanager
async def running(config: Config, clock: Callable[[], float] = time.time) -> AsyncIterator[Running]:
    """Run a bridge inside the current loop: everything is up when the context begins, and settled when it ends.

    Raises OperatorError if the store, its lock or a port is not to be had.
    """
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        driver = driver_for(config.store.url)
        driver.lock()
        stack.callback(driver.unlock)
        await asyncio.to_thread(migrate, driver.engine())
        store = SqlStore(driver, metrics.committed)
        stack.push_async_callback(store.close)
        for destination in config.destinations.values():
            stack.push_async_callback(destination.connector.close)
        if driver.exclusive:
            # Whoever held a lease has died: nobody else can have the lock.
            await store.release(None)
        lanes = Lanes(lambda: config, store, clock, metrics.attempted)
        await stack.enter_async_context(_lanes(lanes))
        pruning = asyncio.get_running_loop().create_task(prune_for_ever(lambda: config, store, clock), name="pruning")
        stack.push_async_callback(_cancel, pruning)
        relay = Relay(store)
        store.on_settled = relay.settled
        receiver = Receiver(lambda: config, store, relay, clock, metrics.received)
        stack.callback(receiver.close)
        admin = Admin(store, lanes, metrics, lambda: config.server.admin_token)
        admin_address = await _listen(
            stack,
            web.AppRunner(admin.application(), access_log=None, shutdown_timeout=GRACE_SECONDS),
            config.server.admin,
        )
        # Last, so that it is first to go: nothing is accepted any more while the rest is being settled.
        address = await _listen(
            stack, web.ServerRunner(receiver.server(), shutdown_timeout=GRACE_SECONDS), config.server.listen
        )
        log.info("ready", listen=str(address), admin=str(admin_address), destinations=len(config.destinations))
        yield Running(address, admin_address, lanes)
        log.info("stopping")
    log.info("stopped")


async def serve(config: Config) -> None:
    """Run a bridge until SIGTERM or SIGINT: then it ends in order, and a second signal ends it at once."""
    sys.setswitchinterval(SWITCH_SECONDS)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            # Nothing can be lost by it: what is not settled is pending.
            log.warning("stopped_at_once")
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    async with running(config):
        gc.collect()
        gc.freeze()
        await stop.wait()


@contextlib.asynccontextmanager
async def _lanes(lanes: Lanes) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(lanes.run(), name="lanes")
    try:
        yield
    finally:
        lanes.stop()
        _, late = await asyncio.wait({task}, timeout=GRACE_SECONDS)
        if late:
            log.warning("calls_cut_off", after=GRACE_SECONDS)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _listen(stack: contextlib.AsyncExitStack, runner: web.BaseRunner, address: Address) -> Address:
    """Begin to listen; answers the address with the port that was taken. Raises OperatorError."""
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, address.host, address.port)
    try:
        await site.start()
    except OSError as error:
        raise OperatorError(
            f"cannot listen on {address}: {error.strerror}; choose another address or free it"
        ) from error
    taken = runner.addresses[0]
    return Address(address.host, taken[1])
