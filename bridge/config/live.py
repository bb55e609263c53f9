"""The configuration in use, and its replacement while the bridge runs.

SIGHUP or a change of the files, their secrets or plug-ins starts a reload, once the files have not changed for a
moment. All files are read and checked beside the traffic; then one assignment replaces the configuration between two
events. Queued deliveries use the configuration that is in use when they are sent.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from pathlib import Path

import structlog
from sqlalchemy.engine import URL, make_url
from watchfiles import Change, awatch

from bridge.config.model import Config
from bridge.config.reload import Files, reload
from bridge.errors import StoreUnavailableError

RETRY_SECONDS = 5.0
"""Seconds until the last good texts are written again if the store is unavailable."""
QUIET_SECONDS = 0.3
"""Seconds without a change before the files are read, since an editor may empty a file before it writes it."""
MAX_CHECKS = 20
"""Maximum number of such checks: a file that changes all the time must not block the others."""
READS = 5
"""Number of further readings of files that change while they are read."""
POLL_SECONDS = 0.3
"""Seconds between two checks of the files where the system's change events are not used."""

log = structlog.get_logger()

Keep = Callable[[Mapping[str, bytes], Collection[str]], Awaitable[None]]
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

    async def run(self, keep: Keep, changed: Callable[[], None]) -> None:
        """Reload on each request until cancelled; call `changed` after each replacement.

        `keep` writes the texts in use to the store, by the absolute path of their file, and removes all others but
        those of the named files, which have errors.
        """
        if self._files is None:
            return
        self._report()
        kept = False
        async with _watching(self._files_in_use, self._config.store.url, self.ask):
            while True:
                if not kept:
                    kept = await self._keep(keep)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if kept else RETRY_SECONDS):
                        await self._requested.wait()
                if self._requested.is_set():
                    self._requested.clear()
                    try:
                        await self._reload()
                    except Exception:
                        # The files have still changed when this is started again.
                        self._requested.set()
                        raise
                    kept = False
                    changed()

    def _files_in_use(self) -> Files:
        if self._files is None:
            raise RuntimeError("a configuration without files is never reloaded")
        return self._files

    async def _keep(self, keep: Keep) -> bool:
        """Have the texts in use written to the store; return False if it is unavailable."""
        try:
            await keep(*self._texts_to_keep())
        except StoreUnavailableError as error:
            log.warning("configuration_not_kept", error=str(error))
            return False
        return True

    def _texts_to_keep(self) -> tuple[dict[str, bytes], list[str]]:
        texts = {str(file.absolute()): text for file, text in self._files_in_use().contents.items()}
        return texts, [str(Path(each.file).absolute()) for each in self._config.faults]

    async def _reload(self) -> None:
        # A file that has changed while it was read may have been read in part, so it is read again.
        for last in (*[False] * READS, True):
            seen = await self._wait_until_quiet()
            started = time.perf_counter()
            # In a thread: reading a thousand files takes most of a second, and the loop has events to answer.
            config, files = await asyncio.to_thread(reload, self._config, self._files_in_use())
            seconds = time.perf_counter() - started
            if last or await asyncio.to_thread(_all_states, self._files_in_use()) == seen:
                self._put_in_use(config, files, seconds)
                return

    async def _wait_until_quiet(self) -> FileStates:
        """Wait until the files stop changing, at most for a limited time; return their state."""
        now: FileStates = {}
        for _ in range(MAX_CHECKS):
            before, now = now, await asyncio.to_thread(_all_states, self._files_in_use())
            if now == before:
                break
            await asyncio.sleep(QUIET_SECONDS)
        return now

    def _report(self) -> None:
        for fault in self._config.faults:
            log.error("file_has_errors", file=fault.file, problems=len(fault.problems), in_use=fault.in_use)
            for problem in fault.problems:
                log.error("configuration_problem", problem=str(problem))

    def _put_in_use(self, config: Config, files: Files, seconds: float) -> None:
        before, self._config, self._files = self._config, config, files
        if _fixed(before) != _fixed(config):
            log.warning("restart_needed", detail="listen, admin and the store's url and keys change at the next start")
        self._report()
        result = "partly" if config.faults else "complete"
        self._observe(result, sum(len(each.problems) for each in config.faults))
        log.info(
            "reloaded",
            result=result,
            seconds=round(seconds, 3),
            files_with_errors=len(config.faults),
            chatbots=len(config.chatbots),
            destinations=len(config.destinations),
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
