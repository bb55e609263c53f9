"""The configuration in use, and its replacement while the bridge runs.

A reload is asked for by SIGHUP or by a change of the files. The whole of it is read and checked beside the traffic;
then one assignment puts it in use, between two events. Deliveries that are queued already are mapped with the
configuration that is in use when they are sent.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import structlog
from sqlalchemy.engine import URL, make_url
from watchfiles import Change, awatch

from bridge.config.model import Config
from bridge.config.problems import Problem
from bridge.config.reload import Files, Reloaded, defining_file, reload
from bridge.errors import StoreUnavailableError
from bridge.store.base import Store

TRY_AGAIN_SECONDS = 5.0
"""How long a reload, or a copy for the store, waits for a store that is in trouble."""
LOOK_AGAIN_SECONDS = 0.3
"""How often the files are looked at where the system cannot tell of their changes without telling too much."""

log = structlog.get_logger()


class Configuration:
    """Gives the configuration in use when it is called. Lives in the loop's thread."""

    def __init__(
        self,
        config: Config,
        files: Files | None,
        observe: Callable[[str, int], None] = lambda *_: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make it; without files it stays as it is. `observe` is told each reload's result and number of problems."""
        self._config = config
        self._files = files
        self._observe = observe
        self._clock = clock
        self._asked = asyncio.Event()
        self._kept = False
        """Whether the store has a copy of the files."""

    def __call__(self) -> Config:
        """Give the configuration in use: ask once per event, and use that for all of it."""
        return self._config

    def ask(self) -> None:
        """Have the files read again soon."""
        self._asked.set()

    async def run(self, store: Store, changed: Callable[[], None]) -> None:
        """Reload whenever asked, until cancelled; `changed` is called after each replacement."""
        if self._files is None:
            return
        async with _watching(self._files.path, self._config.store.url, self.ask):
            while True:
                try:
                    async with asyncio.timeout(None if self._kept else TRY_AGAIN_SECONDS):
                        await self._asked.wait()
                except TimeoutError:
                    await self.keep(store)
                    continue
                self._asked.clear()
                try:
                    await self._reload(self._files, store)
                except StoreUnavailableError as error:
                    log.warning("reload_waits_for_store", error=str(error))
                    await asyncio.sleep(TRY_AGAIN_SECONDS)
                    self._asked.set()
                else:
                    changed()
                    await self.keep(store)

    async def keep(self, store: Store) -> None:
        """Leave a copy of the files in the store, for `leadbridge explain --stored`. Nothing here depends on it.

        Where that fails, `run` does it later.
        """
        if self._files is None:
            return
        contents = {str(file.absolute()): content for file, content in self._files.contents.items()}
        try:
            await store.keep_configuration(contents, self._clock())
        except StoreUnavailableError as error:
            self._kept = False
            log.warning("configuration_not_kept", error=str(error))
        else:
            self._kept = True

    async def _reload(self, files: Files, store: Store) -> None:
        started = time.perf_counter()
        held: dict[Path, Problem] = {}
        while True:
            # In a thread: reading a thousand files takes most of a second, and the loop has events to answer.
            made = await asyncio.to_thread(reload, self._config, files, held)
            blocked = await self._still_needed(made, files, store)
            if not blocked.keys() - held.keys():
                break
            held |= blocked
        self._put_in_use(made, time.perf_counter() - started)

    async def _still_needed(self, made: Reloaded, files: Files, store: Store) -> dict[Path, Problem]:
        """Give the files whose change would take a destination away that deliveries wait for."""
        held = {}
        for name in self._config.destinations.keys() - made.config.destinations.keys():
            if not await store.due(name, 0, 1):
                continue
            file = defining_file(files.contents, "destinations", name)
            if file:
                held[file] = Problem(
                    str(file),
                    1,
                    1,
                    f"destinations.{name}",
                    "is gone, but deliveries wait for it: `leadbridge deliveries move` or `discard` them first; "
                    "until then this file stays in use as it was",
                )
        return held

    def _put_in_use(self, made: Reloaded, seconds: float) -> None:
        before, self._config, self._files = self._config, made.config, made.files
        if _fixed(before) != _fixed(made.config):
            log.warning("restart_needed", detail="listen, admin and the store's url and keys change at the next start")
        for problem in made.problems:
            log.error("configuration_problem", problem=str(problem))
        result = "partly" if made.problems else "complete"
        self._observe(result, len(made.problems))
        log.info(
            "reloaded",
            result=result,
            seconds=round(seconds, 3),
            kept=[str(file) for file in made.kept],
            chatbots=len(made.config.chatbots),
            destinations=len(made.config.destinations),
        )


def _fixed(config: Config) -> tuple[object, ...]:
    """Return what a process keeps from its start to its end."""
    kept = config.store
    return config.server.listen, config.server.admin, kept.url, kept.encryption_keys, kept.identity_key


@contextlib.asynccontextmanager
async def _watching(path: Path, store_url: str, changed: Callable[[], None]) -> AsyncIterator[None]:
    """Call `changed` after each change of the files, for as long as the context lasts."""
    # Beside the store the system would report each of its writes, thousands per second, and the thread that is told
    # would take turns with the writer's at each of them.
    watch = _look_again if _holds(_folder(path), make_url(store_url)) else _be_told
    task = asyncio.get_running_loop().create_task(watch(path, changed), name="watch")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _be_told(path: Path, changed: Callable[[], None]) -> None:
    def concerns(_: Change, name: str) -> bool:
        return _is_configuration(path, name)

    async for _ in awatch(_folder(path), recursive=False, watch_filter=concerns):
        changed()


async def _look_again(path: Path, changed: Callable[[], None]) -> None:
    before = _looks(path)
    while True:
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        now = await asyncio.to_thread(_looks, path)
        if now != before:
            before = now
            changed()


def _looks(path: Path) -> Mapping[str, tuple[int, int, int]]:
    """Give what shows that a file has changed, of each that is part of the configuration."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(_folder(path)) as entries:
        for entry in entries:
            if _is_configuration(path, entry.path):
                with contextlib.suppress(OSError):  # it has just gone
                    seen = entry.stat()
                    found[entry.name] = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
    return found


def _folder(path: Path) -> Path:
    """Give what to watch: for a single file its folder too, since editors put a new file in its place."""
    return path if path.is_dir() else path.parent


def _holds(folder: Path, store: URL) -> bool:
    """Tell whether the embedded store's file is in the folder."""
    embedded = store.get_backend_name() == "sqlite" and store.database
    return bool(embedded) and Path(str(store.database)).resolve().parent == folder.resolve()


def _is_configuration(path: Path, changed: str) -> bool:
    """Tell whether a changed file is part of the configuration.

    A mounted folder of Kubernetes is replaced by renaming the link `..data`, and shows no change of its files.
    """
    name = Path(changed).name
    return name == "..data" or (name.endswith(".yaml") if path.is_dir() else name == path.name)
