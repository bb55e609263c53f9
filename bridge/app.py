"""The only place that wires: a configuration becomes a running bridge, and ends in order."""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from aiohttp import web

from bridge.admin.health import Metrics
from bridge.admin.listener import Admin
from bridge.admin.query_threads import QueryThreads
from bridge.alerts.reporter import Reporter
from bridge.alerts.watch import Watch
from bridge.config.live import LiveConfiguration
from bridge.config.model import Config, ListenAddress, StoreSettings
from bridge.config.reload import Files
from bridge.delivery.attempt import AttemptRunner
from bridge.delivery.supervisor import Lanes
from bridge.errors import OperatorError, StoreUnavailableError
from bridge.identity import Identity
from bridge.ingress.ack import Relay
from bridge.ingress.receiver import Receiver
from bridge.ingress.request_spans import note_result
from bridge.ingress.server import ApplicationRunner
from bridge.ingress.spool import Spool
from bridge.shutdown import Shutdown, end_at_last
from bridge.signals import Reloading
from bridge.store.config_texts import write_config_texts
from bridge.store.driver import Driver
from bridge.store.preparation import driver_for, prepare, spool_driver
from bridge.store.retention import prune_for_ever
from bridge.store.spool import SpoolStore
from bridge.store.sql import SqlStore
from bridge.telemetry.setup import start_tracing

SWITCH_SECONDS = 0.0002
"""Maximum seconds that a thread keeps the interpreter while another one waits. The loop and the store's writer
alternate often, and Python's 5 ms would be the latency of an answer (docs/architecture.md, "Hot paths")."""
YOUNG_OBJECTS = 10_000
"""Number of new objects after which Python searches them for cycles. Thousands of requests may wait for one commit,
none of them in a cycle; with the usual 700, Python would search them at each commit."""
REQUEST_SECONDS = 8.0
"""Seconds that a request may take to end after a stop began: a store that stands still, then the spool."""
ADMIN_SECONDS = 5.0
"""Seconds that each part of the admin listener may take to end."""

FIRST_REST = 1.0
LONGEST_REST = 60.0
"""Seconds after a fault until background work is begun again: doubled each time."""

log = structlog.get_logger()

Work = Callable[[], Coroutine[Any, Any, None]]
"""Begins work that goes on beside the traffic."""


@dataclass(frozen=True, slots=True)
class Running:
    """A bridge that is up."""

    listen: ListenAddress
    """Address of the webhook endpoint, with the chosen port if port 0 was configured."""
    admin: ListenAddress
    lanes: Lanes
    configuration: LiveConfiguration
    shutdown: Shutdown


@contextlib.asynccontextmanager
async def running(
    config: Config, files: Files | None = None, clock: Callable[[], float] = time.time
) -> AsyncIterator[Running]:
    """Run a bridge inside the current loop: everything is up when the context begins, and settled when it ends.

    With `files` it follows their changes. A database that cannot be reached may be so: then events are spooled, and it
    is migrated, and the lanes begin, when it can.
    Raises OperatorError if it can be and does not let this process work, or if an embedded store, a lock or a port is
    not to be had.
    """
    metrics = Metrics()

    def reloaded(result: str, problems: int) -> None:
        metrics.reloaded(result, problems)
        watch.reloaded()

    def received(chatbot: str, result: str) -> None:
        metrics.received(chatbot, result)
        watch.received(chatbot, result)
        note_result(chatbot, result)

    in_use = LiveConfiguration(config, files, reloaded)
    async with contextlib.AsyncExitStack() as stack:
        shutdown = Shutdown(stack)
        export = start_tracing(os.environ)
        if export:
            # First, so that it ends last: the others end their spans before.
            shutdown.add("tracing", export.close, store=True)
        driver = driver_for(config.store.url, config.store.encryption_keys)
        driver.lock()
        stack.callback(driver.unlock)
        if away := await asyncio.to_thread(_away, driver):
            log.warning("database_away", store=driver.name, detail="what comes is kept in the spool until it is back")
            store = SqlStore(driver, metrics.committed, partial(_prepare, driver))
        else:
            store = SqlStore(driver, metrics.committed)
        shutdown.add("store", store.close, store=True)
        if driver.exclusive:
            # Whoever held a lease has died: nobody else can have the lock.
            await store.release(None)
        identity = None if away else await store.identity(config.store.identity_key)
        lanes = Lanes(in_use, store, clock, AttemptRunner(metrics.attempted, export.tracer if export else None))
        _begin_lanes(shutdown, lanes, store)
        query_threads = QueryThreads(driver)
        shutdown.add("queries", query_threads.close, most=ADMIN_SECONDS)
        spool = (
            None
            if driver.exclusive
            else await _spooled(stack, shutdown, config.store, store, identity, metrics.spooled)
        )
        watch = Watch(
            in_use, lambda: lanes.running, store, query_threads.ask, clock, spool=spool, failing=lanes.failing
        )
        _background(
            shutdown,
            watch,
            store,
            spool,
            prune=partial(prune_for_ever, in_use, store, clock),
            report=Reporter(in_use, store, query_threads.ask, clock).run,
        )
        _beside(
            shutdown, "reloading", partial(in_use.run, partial(_keep_texts, store), lanes.reconfigure), watch.failed
        )
        relay = Relay(store)
        store.on_settled = relay.settled
        receiver = Receiver(
            in_use,
            spool or store,
            relay,
            clock,
            _identity_of(spool, identity),
            received,
        )
        receiver.tracer = export.tracer if export else None
        stack.callback(receiver.close)
        admin = contextlib.AsyncExitStack()
        shutdown.add("admin", admin.aclose, most=2 * ADMIN_SECONDS)
        # Added last, so that it ends first: nothing is accepted any more while the rest is being settled.
        address = await _listen(
            partial(shutdown.add, "requests"),
            web.ServerRunner(receiver.server(), shutdown_timeout=REQUEST_SECONDS),
            config.server.listen,
        )
        console = _console(admin, store, driver, lanes, metrics, in_use, clock, spool)
        admin_address = await _listen(admin.push_async_callback, console, config.server.admin)
        stack.callback(_begin_end, shutdown, relay, lanes)
        log.info("ready", listen=str(address), admin=str(admin_address), destinations=len(config.destinations))
        yield Running(address, admin_address, lanes, in_use, shutdown)
        log.info("stopping")
    log.info("stopped", **({"cut_off": shutdown.cut_off} if shutdown.cut_off else {}))


async def serve(config: Config, files: Files) -> None:
    """Run a bridge until SIGTERM or SIGINT: then it ends in order, and a second signal ends it at once.

    SIGHUP has the configuration read again.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_connections()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            # Nothing can be lost by it: what is not settled is pending.
            log.warning("stopped_at_once")
            os._exit(1)
        stop.set()
        end_at_last()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    reloading = Reloading(loop)
    async with running(config, files) as bridge:
        reloading.begin(bridge.configuration.ask)
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        await stop.wait()
    await bridge.shutdown.leave()


def _allow_connections() -> None:
    """Let the process have as many open files as the system grants it: the usual 1,024 are as many silent clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(soft, 65_536) if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _begin_lanes(shutdown: Shutdown, lanes: Lanes, store: SqlStore) -> None:
    """Run the lanes. A commit wakes those of its deliveries; after another process's change all read the store anew."""
    store.on_accepted = lanes.wake
    store.on_changed = lanes.change
    running_lanes = asyncio.get_running_loop().create_task(lanes.run(), name="lanes")
    shutdown.add("lanes", partial(_ended, lanes, running_lanes))


def _begin_end(shutdown: Shutdown, relay: Relay, lanes: Lanes) -> None:
    """Let neither a sender that waits for its delivery nor a call that could still begin hold up the end."""
    shutdown.begin()
    relay.close()
    lanes.stop()


async def _ended(lanes: Lanes, task: asyncio.Task[None]) -> None:
    """Wait until the lanes have settled what was on its way; if that is cut off, so are they."""
    lanes.stop()
    await asyncio.gather(task, return_exceptions=True)


def _away(driver: Driver) -> bool:
    """Migrate the database, unless it is away. Raises OperatorError if it is there and cannot be used."""
    if driver.is_unreachable():
        return True
    try:
        prepare(driver)
    except StoreUnavailableError:
        # It may have gone, or run out of connections, since the look.
        if not driver.is_unreachable():
            raise
        return True
    return False


def _prepare(driver: Driver) -> None:
    """Migrate a database that was away at the start, in the writer's thread. Raises StoreUnavailableError.

    Also for what would have ended the start, such as the tables of a newer version: by now this process has taken
    events into its spool, and goes on taking them. The lanes log the error every two seconds.
    """
    try:
        prepare(driver)
    except StoreUnavailableError:
        raise
    except OperatorError as error:
        raise StoreUnavailableError(str(error)) from error


async def _spooled(
    stack: contextlib.AsyncExitStack,
    shutdown: Shutdown,
    settings: StoreSettings,
    store: SqlStore,
    identity: Identity | None,
    observe: Callable[[int], None],
) -> Spool:
    """Put a spool before a database that other machines reach too, and that may be away."""
    driver = spool_driver(settings.spool, settings.encryption_keys)
    driver.lock()
    stack.callback(driver.unlock)
    try:
        await asyncio.to_thread(prepare, driver)
        kept = SpoolStore(driver)
        shutdown.add("spool", kept.close, store=True)
        spool = Spool(store, kept, settings.spool_limit, observe, identity_key=settings.identity_key)
        await spool.open(identity)
    except StoreUnavailableError as error:
        raise OperatorError(
            f"{settings.spool}: the spool cannot be used: {error}. `leadbridge db check` says whether it is damaged. "
            f"If it is, move {settings.spool} and the files {settings.spool}-wal and -shm aside, and start again: a "
            "new spool is made. Keep the old files: leads in them that had not been moved to the database are lost "
            "unless they are read from there, or fetched with `leadbridge backfill`"
        ) from error
    return spool


def _identity_of(spool: Spool | None, identity: Identity | None) -> Callable[[], Identity]:
    """Choose who knows what ids are made with: the spool, where there is one, since its database may be away."""
    if spool is not None:
        return lambda: spool.identity
    if identity is None:
        raise RuntimeError("a store without a spool is never away")
    return lambda: identity


def _background(
    shutdown: Shutdown, watch: Watch, store: SqlStore, spool: Spool | None, *, prune: Work, report: Work
) -> None:
    """Begin the work beside the traffic; the watch learns of whatever needs a person."""
    stores: list[SqlStore | Spool] = [store, spool] if spool else [store]
    watch.moved = lambda: [each.moved for each in stores if each.moved]
    for each in stores:
        each.on_moved = watch.wake
    _beside(shutdown, "alerting", watch.run, watch.failed)
    _beside(shutdown, "reporting", report, watch.failed)
    _beside(shutdown, "pruning", prune, watch.failed)
    if spool:
        _beside(shutdown, "spool", spool.run, watch.failed)


def _beside(shutdown: Shutdown, name: str, work: Work, failed: Callable[[str], None]) -> None:
    """Do some work until the stack ends; after a fault it is begun again."""

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    task = asyncio.get_running_loop().create_task(_supervised(name, work, failed), name=name)
    shutdown.add(name, end)


async def _supervised(name: str, work: Work, failed: Callable[[str], None]) -> None:
    """Do some work to its end; after a fault, which `failed` learns of, begin it again at growing intervals."""
    rest = FIRST_REST
    while True:
        began_at = asyncio.get_running_loop().time()
        try:
            await work()
        except Exception as error:
            # Whatever it is, what nobody does any more would be missed too late.
            log.exception("fault", work=name, error=type(error).__name__)
        else:
            return
        failed(name)
        if asyncio.get_running_loop().time() - began_at > LONGEST_REST:
            rest = FIRST_REST
        await asyncio.sleep(rest)
        rest = min(2 * rest, LONGEST_REST)


async def _keep_texts(store: SqlStore, texts: Mapping[str, bytes], kept: Collection[str]) -> None:
    await store.change(partial(write_config_texts, texts=texts, kept=kept))


def _console(
    ends: contextlib.AsyncExitStack,
    store: SqlStore,
    driver: Driver,
    lanes: Lanes,
    metrics: Metrics,
    in_use: LiveConfiguration,
    clock: Callable[[], float],
    spool: Spool | None,
) -> web.BaseRunner:
    """Return the runner of the admin listener."""
    made = Admin(store, driver, lanes, metrics, config=in_use, files=lambda: in_use.files, clock=clock)
    made.health.spool = spool
    ends.push_async_callback(made.close)
    return ApplicationRunner(made.application(), listener="admin", shutdown_timeout=ADMIN_SECONDS)


async def _listen(
    at_the_end: Callable[[Callable[[], Coroutine[Any, Any, None]]], object],
    runner: web.BaseRunner,
    address: ListenAddress,
) -> ListenAddress:
    """Begin to listen, and have the runner ended; return the address with the chosen port. Raises OperatorError."""
    await runner.setup()
    at_the_end(runner.cleanup)
    site = web.TCPSite(runner, address.host, address.port)
    try:
        await site.start()
    except OSError as error:
        raise OperatorError(
            f"cannot listen on {address}: {error.strerror}; choose another address or free it"
        ) from error
    taken = runner.addresses[0]
    return ListenAddress(address.host, taken[1])
