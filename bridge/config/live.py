"""The configuration in use, and its replacement while the bridge runs.

A reload is asked for by SIGHUP or by a change of the files. It begins when the files have been still for a moment. The
whole of it is read and checked beside the traffic; then one assignment puts it in use, between two events. Deliveries
that are queued already are mapped with the configuration that is in use when they are sent.

A change that would drop a chatbot with events, or a route that deliveries wait for, may be a file that was cut while it
was saved. It is held: its file stays in use as it was, until a SIGHUP confirms it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import structlog
from sqlalchemy.engine import URL, make_url
from watchfiles import Change, awatch

from bridge.config.diagnostics import ConfigProblem
from bridge.config.model import Config
from bridge.config.reload import Files, ReloadResult, defining_file, reload
from bridge.errors import StoreUnavailableError
from bridge.store.interface import Store

TRY_AGAIN_SECONDS = 5.0
"""How long a reload waits for a store that is in trouble."""
STILL_SECONDS = 0.3
"""How long the files must have been still before they are taken up: an editor may empty a file before it writes it."""
STILL_LOOKS = 20
"""So many looks at the most: a file that is written all the time must not keep the others from use."""
LOOK_AGAIN_SECONDS = 0.3
"""How often the files are looked at where the system cannot tell of their changes without telling too much."""

_MOVE = "`leadbridge deliveries move` or `discard` them first; until then this file stays in use as it was"
CONFIRM = "send SIGHUP to confirm it, or put it back; until then this file stays in use as it was"

LEFT_OUT = "its chatbots are not served; their events are kept: fix the file, then `leadbridge deliveries replay`"

log = structlog.get_logger()

FileStates = Mapping[str, tuple[int, int, int]]
"""By file name: what shows that it has changed."""


class LiveConfiguration:
    """Gives the configuration in use when it is called. Lives in the loop's thread."""

    def __init__(
        self,
        config: Config,
        files: Files | None,
        observe: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        """Make it; without files it stays as it is. `observe` is told each reload's result and number of problems."""
        self._config = config
        self._files = files
        self._observe = observe
        self._asked = asyncio.Event()
        self._held: FileStates | None = None
        """How the files looked when a change of them was held."""
        self._confirmed: FileStates | None = None
        """The same, once somebody has confirmed that change."""

    def __call__(self) -> Config:
        """Give the configuration in use: ask once per event, and use that for all of it."""
        return self._config

    @property
    def files(self) -> Files | None:
        """The files of the configuration in use; None if it was not made of files."""
        return self._files

    def ask(self) -> None:
        """Have the files read again soon."""
        self._asked.set()

    def confirm(self) -> None:
        """Have the files read again soon; a change that is held by now is taken over, unless it changes again."""
        self._confirmed = self._held
        self.ask()

    async def run(self, store: Store, changed: Callable[[], None]) -> None:
        """Reload whenever asked, until cancelled; `changed` is called after each replacement."""
        if self._files is None:
            return
        for problem in (each for file in self._config.left_out for each in file.problems):
            log.error("configuration_problem", problem=str(problem))
        self._report()
        async with _watching(self._files.path, self._config.store.url, self.ask):
            while True:
                await self._asked.wait()
                self._asked.clear()
                try:
                    await self._reload(self._files, store)
                except Exception as error:
                    # Whoever begins this anew must not forget that the files have changed.
                    self._asked.set()
                    if not isinstance(error, StoreUnavailableError):
                        raise
                    log.warning("reload_waits_for_store", error=str(error))
                    await asyncio.sleep(TRY_AGAIN_SECONDS)
                else:
                    changed()

    async def _reload(self, files: Files, store: Store) -> None:
        seen = await self._still(files.path)
        started = time.perf_counter()
        moving = await self._moving(files.path, seen)
        confirmed = self._confirmed is not None and self._confirmed == seen
        held: dict[Path, ConfigProblem] = {}
        while True:
            # In a thread: reading a thousand files takes most of a second, and the loop has events to answer.
            made = await asyncio.to_thread(reload, self._config, files, {**held, **moving})
            losses = await self._losses(made, files, store, confirmed=confirmed)
            # A file that has changed while it was read may have been read in part.
            moved = await self._moving(files.path, seen)
            if not (losses.keys() | moved.keys()) - (held.keys() | moving.keys()):
                break
            held |= losses
            moving |= moved
        self._held = seen if held else None
        self._confirmed = None
        made = replace(made, config=replace(made.config, held=tuple(held[file] for file in sorted(held))))
        self._put_in_use(made, time.perf_counter() - started)

    async def _still(self, path: Path) -> FileStates:
        """Wait until the files are still, or have changed for long enough; return how they looked then."""
        now: FileStates = {}
        for _ in range(STILL_LOOKS):
            before, now = now, await asyncio.to_thread(_looks, path)
            if now == before:
                break
            await asyncio.sleep(STILL_SECONDS)
        return now

    async def _moving(self, path: Path, seen: FileStates) -> dict[Path, ConfigProblem]:
        """Return the files that have changed since they were `seen`; they are read again soon."""
        now = await asyncio.to_thread(_looks, path)
        moving = [name for name in {*now, *seen} if now.get(name) != seen.get(name)]
        if moving:
            self.ask()
        files = [_folder(path) / name for name in moving]
        return {
            file: ConfigProblem(str(file), 1, 1, "(file)", "changes while it is read; it is read again")
            for file in files
        }

    async def _losses(
        self, made: ReloadResult, files: Files, store: Store, *, confirmed: bool
    ) -> dict[Path, ConfigProblem]:
        """Return the files whose change would lose something, each with a reason."""
        found = {} if confirmed else await self._dropped(made.config, store)
        for name in self._config.destinations.keys() - made.config.destinations.keys():
            if await store.due(name, 0, 1):
                found["destinations", name] = f"is gone, but deliveries wait for it: {_MOVE}"
        held = {}
        for (section, name), reason in found.items():
            if file := defining_file(files.contents, section, name):
                held[file] = ConfigProblem(str(file), 1, 1, f"{section}.{name}", reason)
        return held

    async def _dropped(self, after: Config, store: Store) -> dict[tuple[str, str], str]:
        """Return the chatbots that lose what may still be needed, each with what it loses."""
        found = {}
        lost = dict.fromkeys(self._config.chatbots.keys() - after.chatbots.keys(), "is gone, but it has events")
        for name in self._config.chatbots.keys() & after.chatbots.keys():
            before, now = self._config.chatbots[name].routes, after.chatbots[name].routes
            kept = {route.name for route in now}
            gone = [route for route in before if route.name not in kept]
            waiting = [route.name for route in gone if await store.has_pending(name, route.name, route.destination)]
            if waiting:
                found[name] = f"has lost the route {', '.join(waiting)}, but deliveries wait on it"
            elif len(now) < len(before):
                lost[name] = f"has lost {len(before) - len(now)} of its {len(before)} routes, and it has events"
        active = await store.active_chatbots(list(lost)) if lost else frozenset()
        found |= {name: lost[name] for name in active}
        return {("chatbots", name): f"{reason}: {CONFIRM}" for name, reason in found.items()}

    def _report(self) -> None:
        for file in self._config.left_out:
            log.error("file_left_out", file=file.file, problems=len(file.problems), detail=LEFT_OUT)

    def _put_in_use(self, made: ReloadResult, seconds: float) -> None:
        before, self._config, self._files = self._config, made.config, made.files
        if _fixed(before) != _fixed(made.config):
            log.warning("restart_needed", detail="listen, admin and the store's url and keys change at the next start")
        for problem in made.problems:
            log.error("configuration_problem", problem=str(problem))
        result = "partly" if made.problems else "complete"
        for problem in made.config.held:
            log.warning("change_held", problem=str(problem))
        self._report()
        self._observe(result, len(made.problems))
        log.info(
            "reloaded",
            result=result,
            seconds=round(seconds, 3),
            kept=[str(file) for file in made.kept],
            held=len(made.config.held),
            left_out=len(made.config.left_out),
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


def _looks(path: Path) -> FileStates:
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
