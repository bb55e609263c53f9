"""The store, read and prepared beside the running program, by the program's own code."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

import orjson
from sqlalchemy import update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import make_url

from bridge.config import load
from bridge.event import Form, Verified, decode
from bridge.ingress.routing import route
from bridge.store.driver import raw
from bridge.store.encryption import KeyRing
from bridge.store.installation import adopt
from bridge.store.preparation import migrate
from bridge.store.queue import Accept, write
from bridge.store.schema import lanes
from bridge.store.sqlite import SqliteDriver
from tests.benchmarks.program import Setup


class Ledger:
    """Looks into one store, and writes what an operator or a receiver would have written."""

    def __init__(self, made: Setup) -> None:
        config = load(made.config, os.environ)
        self._keys = KeyRing(config.store.encryption_keys)
        self._driver = SqliteDriver(make_url(f"sqlite:///{made.database}"), self._keys)
        self._chatbot = config.chatbots["website"]
        self._destinations = tuple(made.settings["destinations"])
        self._path = made.database
        migrate(self._driver.engine())

    def fill(self, payloads: Sequence[bytes]) -> None:
        """Accept the leads as the receiver does, in one transaction, with all their deliveries pending."""
        now = time.time()
        verified = [Verified(each, decode(each), Form.RAW, self._chatbot.name) for each in payloads]
        with contextlib.closing(self._driver.connect()) as connection:
            raw(connection).execute(self._driver.begin)
            identity = adopt(connection, None)
            routed = [route(each, self._chatbot, now, identity) for each in verified]
            write(connection, [Accept(routed)])
            raw(connection).execute("COMMIT")

    def pause(self) -> None:
        """Pause all lanes as an operator does: they stay so until `resume`."""
        values = {"paused_by": "operator", "pause_reason": "operator", "paused_until": None}
        with self._driver.engine().begin() as connection:
            for name in self._destinations:
                statement = insert(lanes).values(name=name, fence=0, **values)
                connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))

    def resume(self) -> None:
        """End the pause of all lanes."""
        with self._driver.engine().begin() as connection:
            connection.execute(update(lanes).values(paused_by=None, pause_reason=None, paused_until=None))

    def pending(self) -> int:
        """Count the deliveries that are not settled yet."""
        with self._reading() as connection:
            # By the partial index of what is due, so that it may be asked often.
            counts = [
                connection.execute(
                    "SELECT count(*) FROM deliveries WHERE destination = ? AND state = 'pending'", (name,)
                ).fetchone()[0]
                for name in self._destinations
            ]
        return sum(counts)

    def missing(self, sessions: Collection[int]) -> int:
        """Count those of the leads that are not in the store with all their deliveries."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id, payload, (SELECT count(*) FROM deliveries WHERE event_seq = seq) FROM events"
            )
            kept = {self._session(*row) for *row, count in rows if count == len(self._destinations)}
        return len(set(sessions) - kept)

    def received(self) -> Mapping[int, float]:
        """Give when each lead was received, by its `SessionID`."""
        with self._reading() as connection:
            rows = connection.execute("SELECT id, payload, received_at FROM events").fetchall()
        return {self._session(*row): received_at for *row, received_at in rows}

    def _session(self, event_id: bytes, payload: bytes) -> int:
        session: int = orjson.loads(self._keys.open(payload, "events.payload", event_id))["SessionID"]
        return session

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=5.0)) as connection:
            yield connection
