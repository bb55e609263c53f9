"""Hears PostgreSQL's notifications on a connection of its own, in a thread of its own."""

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
"""How long it waits before it opens a connection anew. Meanwhile the poll tells, a little later, what is new."""

log = structlog.get_logger()


class Listener:
    """Tells of others' commits until it is closed; a connection that is lost is opened again.

    `connect` opens a connection in autocommit mode. `tell` is called in the listener's thread.
    """

    def __init__(self, connect: "Callable[[], psycopg.Connection[Any]]", tell: Callable[[RemoteCommits], None]) -> None:
        self.own: int | None = None
        """The server process of this program's own writer, whose commits are known here."""
        self._connect = connect
        self._tell = tell
        self._closed, self._close = os.pipe()
        self._thread = threading.Thread(target=self._run, name="store-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; returns when it has ended."""
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
                # Whatever it is, the thread goes on: without it each lead of another process waits for the poll.
                state = error.sqlstate if isinstance(error, psycopg.Error) else None
                log.warning("not_listening", error=state or type(error).__name__, again_in=RECONNECT_SECONDS)
                select.select([self._closed], [], [], RECONNECT_SECONDS)

    def _hear(self, connection: "psycopg.Connection[Any]") -> None:
        """Tell what is notified; returns when the listener is closed."""
        server = connection.fileno()
        while self._closed not in select.select([server, self._closed], [], [])[0]:
            heard = {each.payload for each in connection.notifies(timeout=0) if each.pid != self.own}
            if heard:
                self._tell(RemoteCommits(frozenset(heard - {""}), changed="" in heard))
