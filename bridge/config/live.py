"""The configuration in use, and its replacement while the bridge runs.

SIGHUP or a change of the files, their secrets or plug-ins starts a reload, once the files have not changed for a
moment. All files are read and checked beside the traffic; then one assignment replaces the configuration between two
events. Queued deliveries use the configuration that is in use when they are sent.

A change that removes a chatbot with events, or a route with waiting deliveries, may come from a file that was cut off
while it was saved. Such a change is held: its file stays in use as before until a SIGHUP confirms the change.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.engine import URL, make_url
from watchfiles import Change, awatch

from bridge.config.diagnostics import ConfigProblem
from bridge.config.model import Config
from bridge.config.reload import Files, ReloadResult, defining_files, reload
from bridge.errors import StoreUnavailableError
from bridge.store.interface import Store
from bridge.store.lane_queries import active_chatbots, has_pending

RETRY_SECONDS = 5.0
"""Seconds until a reload is tried again if the store is unavailable."""
QUIET_SECONDS = 0.3
"""Seconds without a change before the files are read, since an editor may empty a file before it writes it."""
MAX_CHECKS = 20
"""Maximum number of such checks: a file that changes all the time must not block the others."""
POLL_SECONDS = 0.3
"""Seconds between two checks of the files where the system's change events are not used."""

_MOVE = "`leadbridge deliveries move` or `discard` them first; until then this file's previous version stays in use"
CONFIRM = "send SIGHUP to confirm it, or restore it; until then the previous version of this file stays in use"

LEFT_OUT = "its chatbots are not served; their events are kept: fix the file, then `leadbridge deliveries replay`"

log = structlog.get_logger()

FileStates = Mapping[str, tuple[int, int, int]]
"""Inode, modification time and size of each file, by name."""


class LiveConfiguration:
    """The current configuration, returned by a call. Lives in the thread of the event loop."""

    def __init__(
        self,
        config: Config,
        files: Files | None,
        observe: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        """Create it; without `files` it never changes. `observe` receives each reload's result and problem count."""
        self._config = config
        self._files = files
        self._observe = observe
        self._requested = asyncio.Event()
        self._held: FileStates | None = None
        """State of the files when a change was held."""
        self._confirmed: FileStates | None = None
        """State of the held files that a SIGHUP has confirmed."""

    def __call__(self) -> Config:
        """Return the configuration in use. Call once per event and use the result for the whole event."""
        return self._config

    @property
    def files(self) -> Files | None:
        """The files of the configuration in use; None if it was not made of files."""
        return self._files

    def ask(self) -> None:
        """Request a reload."""
        self._requested.set()

    def confirm(self) -> None:
        """Request a reload that applies the held change, unless the files change again."""
        self._confirmed = self._held
        self.ask()

    async def run(self, store: Store, changed: Callable[[], None]) -> None:
        """Reload on each request until cancelled; call `changed` after each replacement."""
        if self._files is None:
            return
        for problem in (each for file in self._config.left_out for each in file.problems):
            log.error("configuration_problem", problem=str(problem))
        self._report()
        async with _watching(self._files_in_use, self._config.store.url, self.ask):
            while True:
                await self._requested.wait()
                self._requested.clear()
                try:
                    await self._reload(self._files, store)
                except Exception as error:
                    # The files have still changed when this is started again.
                    self._requested.set()
                    if not isinstance(error, StoreUnavailableError):
                        raise
                    log.warning("reload_waits_for_store", error=str(error))
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    changed()

    def _files_in_use(self) -> Files:
        if self._files is None:
            raise RuntimeError("a configuration without files is never reloaded")
        return self._files

    async def _reload(self, files: Files, store: Store) -> None:
        seen = await self._wait_until_quiet(files)
        started = time.perf_counter()
        moving = await self._changed_since(files, seen)
        confirmed = self._confirmed is not None and self._confirmed == seen
        held: dict[Path, ConfigProblem] = {}
        while True:
            # In a thread: reading a thousand files takes most of a second, and the loop has events to answer.
            reloaded = await asyncio.to_thread(reload, self._config, files, {**held, **moving})
            losses = await self._losses(reloaded, files, store, confirmed=confirmed)
            # A file that has changed while it was read may have been read in part.
            moved = await self._changed_since(files, seen)
            if not (losses.keys() | moved.keys()) - (held.keys() | moving.keys()):
                break
            held |= losses
            moving |= moved
        self._held = seen if held else None
        self._confirmed = None
        reloaded = replace(reloaded, config=replace(reloaded.config, held=tuple(held[file] for file in sorted(held))))
        self._put_in_use(reloaded, time.perf_counter() - started)

    async def _wait_until_quiet(self, files: Files) -> FileStates:
        """Wait until the files stop changing, at most for a limited time; return their state."""
        now: FileStates = {}
        for _ in range(MAX_CHECKS):
            before, now = now, await asyncio.to_thread(_all_states, files)
            if now == before:
                break
            await asyncio.sleep(QUIET_SECONDS)
        return now

    async def _changed_since(self, files: Files, seen: FileStates) -> dict[Path, ConfigProblem]:
        """Return the files that changed since the state `seen`, and request another reload for them.

        A changed secret or plug-in is read again too, but holds up no file.
        """
        now = await asyncio.to_thread(_all_states, files)
        moving = [name for name in {*now, *seen} if now.get(name) != seen.get(name)]
        if moving:
            self.ask()
        changed = [_folder(files.path) / name for name in moving if "/" not in name]
        return {
            file: ConfigProblem(str(file), 1, 1, "(file)", "changed while it was read; it will be read again")
            for file in changed
        }

    async def _losses(
        self, reloaded: ReloadResult, files: Files, store: Store, *, confirmed: bool
    ) -> dict[Path, ConfigProblem]:
        """Return the files whose change would lose events or deliveries, each with the reason."""
        reasons = {} if confirmed else await self._dropped(reloaded.config, store)
        for name in self._config.destinations.keys() - reloaded.config.destinations.keys():
            if await store.due(name, 0, 1):
                reasons["destinations", name] = f"is missing, but deliveries wait for it: {_MOVE}"
        held = {}
        for (section, name), reason in reasons.items():
            for file in defining_files(files, section, name):
                held[file] = ConfigProblem(str(file), 1, 1, f"{section}.{name}", reason)
        return held

    async def _dropped(self, after: Config, store: Store) -> dict[tuple[str, str], str]:
        """Return the chatbots whose removed parts are still needed, each with the reason."""
        reasons = {}
        lost = dict.fromkeys(self._config.chatbots.keys() - after.chatbots.keys(), "is missing, but it has events")
        for name in self._config.chatbots.keys() & after.chatbots.keys():
            before, now = self._config.chatbots[name].routes, after.chatbots[name].routes
            kept = {route.name for route in now}
            gone = [route for route in before if route.name not in kept]
            waiting = [
                route.name
                for route in gone
                if await store.query(
                    partial(has_pending, chatbot=name, route=route.name, destination=route.destination)
                )
            ]
            if waiting:
                reasons[name] = f"has lost the route {', '.join(waiting)}, but deliveries wait on it"
            elif len(now) < len(before):
                lost[name] = f"has lost {len(before) - len(now)} of its {len(before)} routes, and it has events"
        active = await store.query(partial(active_chatbots, chatbots=list(lost))) if lost else frozenset()
        reasons |= {name: lost[name] for name in active}
        return {("chatbots", name): f"{reason}: {CONFIRM}" for name, reason in reasons.items()}

    def _report(self) -> None:
        for file in self._config.left_out:
            log.error("file_left_out", file=file.file, problems=len(file.problems), detail=LEFT_OUT)

    def _put_in_use(self, reloaded: ReloadResult, seconds: float) -> None:
        before, self._config, self._files = self._config, reloaded.config, reloaded.files
        if _fixed(before) != _fixed(reloaded.config):
            log.warning("restart_needed", detail="listen, admin and the store's url and keys change at the next start")
        for problem in reloaded.problems:
            log.error("configuration_problem", problem=str(problem))
        result = "partly" if reloaded.problems else "complete"
        for problem in reloaded.config.held:
            log.warning("change_held", problem=str(problem))
        self._report()
        self._observe(result, len(reloaded.problems))
        log.info(
            "reloaded",
            result=result,
            seconds=round(seconds, 3),
            kept=[str(file) for file in reloaded.kept],
            held=len(reloaded.config.held),
            left_out=len(reloaded.config.left_out),
            chatbots=len(reloaded.config.chatbots),
            destinations=len(reloaded.config.destinations),
        )


def _fixed(config: Config) -> tuple[object, ...]:
    """Return the settings that stay the same until the process is restarted."""
    kept = config.store
    return config.server.listen, config.server.admin, kept.url, kept.encryption_keys, kept.identity_key


@contextlib.asynccontextmanager
async def _watching(files: Callable[[], Files], store_url: str, changed: Callable[[], None]) -> AsyncIterator[None]:
    """Call `changed` after each change of the files, their secrets and plug-ins while the context is open."""
    # Next to a SQLite store, the system would report each of the store's thousands of writes per second, and the thread
    # that receives the reports would compete with the writer. There the files are polled.
    path = files().path
    beside_store = _contains_store(_folder(path), make_url(store_url))
    watches = [_poll(files, changed, _all_states if beside_store else _source_states)]
    if not beside_store:
        watches.append(_follow_events(path, changed))
    tasks = [asyncio.get_running_loop().create_task(each, name="watch") for each in watches]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow_events(path: Path, changed: Callable[[], None]) -> None:
    def concerns(_: Change, name: str) -> bool:
        return _is_configuration(path, name)

    async for _ in awatch(_folder(path), recursive=False, watch_filter=concerns):
        changed()


async def _poll(files: Callable[[], Files], changed: Callable[[], None], states: Callable[[Files], FileStates]) -> None:
    """Call `changed` whenever the states of the files differ. Secrets and plug-ins may be on any mounted volume."""
    watched = files()
    before = states(watched)
    while True:
        await asyncio.sleep(POLL_SECONDS)
        watched, last = files(), watched
        now = await asyncio.to_thread(states, watched)
        if watched.sources != last.sources:
            # The reload that found new secrets or plug-ins has read them.
            before = {name: before.get(name, state) for name, state in now.items()}
        if now != before:
            before = now
            changed()


def _all_states(files: Files) -> FileStates:
    """Return the state of each configuration file, of their secrets and plug-ins."""
    return {**_file_states(files.path), **_source_states(files)}


def _source_states(files: Files) -> FileStates:
    """Return the state of each secret file and plug-in, by its absolute path."""
    states = {}
    for source in files.sources:
        with contextlib.suppress(OSError, ValueError):  # missing, closed to this process, or no path
            plugins = [*source.glob("*.py"), *source.glob("*/*.py")] if source.is_dir() else [source]
            for file in plugins:
                seen = file.stat()
                states[str(file.absolute())] = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
    return states


def _file_states(path: Path) -> FileStates:
    """Return the state of each configuration file."""
    reasons = {}
    with contextlib.suppress(OSError), os.scandir(_folder(path)) as entries:
        for entry in entries:
            if _is_configuration(path, entry.path):
                with contextlib.suppress(OSError):  # deleted since the listing
                    seen = entry.stat()
                    reasons[entry.name] = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
    return reasons


def _folder(path: Path) -> Path:
    """Return the folder to watch. For a single file it is the parent, since editors replace the file."""
    return path if path.is_dir() else path.parent


def _contains_store(folder: Path, store: URL) -> bool:
    """Return True if the file of an SQLite store is in the folder."""
    embedded = store.get_backend_name() == "sqlite" and store.database
    return bool(embedded) and Path(str(store.database)).resolve().parent == folder.resolve()


def _is_configuration(path: Path, changed: str) -> bool:
    """Return True if a changed file is part of the configuration.

    Kubernetes replaces a mounted folder by renaming the link `..data`; the files themselves show no change.
    """
    name = Path(changed).name
    return name == "..data" or (name.endswith(".yaml") if path.is_dir() else name == path.name)
