"""The listener: a thread with its own connection that receives PostgreSQL's notifications."""

import os
import select
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import structlog

from bridge.store.driver import RemoteCommits

CHANNEL = "leadbridge"
"""Channel of the notifications. A payload is the name of a destination with new deliveries, or empty."""
RECONNECT_SECONDS = 2.0
"""Pause before a lost connection is opened again. Meanwhile the poll finds new commits, a little later."""

log = structlog.get_logger()


class Listener:
    """Reports the commits of other processes until it is closed. A lost connection is opened again.

    `connect` opens a connection in autocommit mode. `report` is called in the listener's thread.
    """

    def __init__(
        self, connect: "Callable[[], psycopg.Connection[Any]]", report: Callable[[RemoteCommits], None]
    ) -> None:
        self.own: int | None = None
        """Server process of this program's own writer, whose notifications are ignored."""
        self._connect = connect
        self._report = report
        self._closed, self._close = os.pipe()
        self._thread = threading.Thread(target=self._run, name="store-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait for its end."""
        os.close(self._close)
        self._thread.join()
        os.close(self._closed)

    def _run(self) -> None:
        while not select.select([self._closed], [], [], 0)[0]:
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._hear(connection)
            except Exception as error:  # noqa: BLE001 - see below
                # The thread goes on after any error: without it, each lead of another process waits for the poll.
                state = error.sqlstate if isinstance(error, psycopg.Error) else None
                log.warning("not_listening", error=state or type(error).__name__, again_in=RECONNECT_SECONDS)
                select.select([self._closed], [], [], RECONNECT_SECONDS)

    def _hear(self, connection: "psycopg.Connection[Any]") -> None:
        """Report notifications until the listener is closed."""
        server = connection.fileno()
        while self._closed not in select.select([server, self._closed], [], [])[0]:
            heard = {each.payload for each in connection.notifies(timeout=0) if each.pid != self.own}
            if heard:
                self._report(RemoteCommits(frozenset(heard - {""}), changed="" in heard))
