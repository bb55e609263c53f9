"""The configuration in use, and its replacement while the bridge runs.

A reload is asked for by SIGHUP or by a change of the files. The whole of it is read and checked beside the traffic;
then one assignment puts it in use, between two events. Deliveries that are queued already are mapped with the
configuration that is in use when they are sent.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog
from watchfiles import Change, awatch

from bridge.config.model import Config
from bridge.config.problems import Problem
from bridge.config.reload import Files, Reloaded, defining_file, reload
from bridge.errors import StoreUnavailableError
from bridge.store.base import Store

TRY_AGAIN_SECONDS = 5.0
"""How long a reload waits for a store that is in trouble."""

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
        async with _watching(self._files.path, self.ask):
            while True:
                await self._asked.wait()
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
        """Leave a copy of the files in the store, for `leadbridge explain --stored`. Nothing here depends on it."""
        if self._files is None:
            return
        contents = {str(file.absolute()): content for file, content in self._files.contents.items()}
        try:
            await store.keep_configuration(contents, self._clock())
        except StoreUnavailableError as error:
            log.warning("configuration_not_kept", error=str(error))

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
        if (before.server.listen, before.server.admin, before.store.url) != (
            made.config.server.listen,
            made.config.server.admin,
            made.config.store.url,
        ):
            log.warning("restart_needed", detail="listen, admin and store.url change with the next start only")
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


@contextlib.asynccontextmanager
async def _watching(path: Path, changed: Callable[[], None]) -> AsyncIterator[None]:
    """Call `changed` after each change of the files, for as long as the context lasts."""

    def concerns(_: Change, name: str) -> bool:
        return _is_configuration(path, name)

    async def watch() -> None:
        async for _ in awatch(_folder(path), recursive=False, watch_filter=concerns):
            changed()

    task = asyncio.get_running_loop().create_task(watch(), name="watch")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _folder(path: Path) -> Path:
    """Give what to watch: for a single file its folder too, since editors put a new file in its place."""
    return path if path.is_dir() else path.parent


def _is_configuration(path: Path, changed: str) -> bool:
    """Tell whether a changed file is part of the configuration.

    A mounted folder of Kubernetes is replaced by renaming the link `..data`, and shows no change of its files.
    """
    name = Path(changed).name
    return name == "..data" or (name.endswith(".yaml") if path.is_dir() else name == path.name)
