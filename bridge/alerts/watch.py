"""Repeated check of the bridge for problems, and the alerts about them. Runs beside the traffic.

If several processes share one store, each reports about the lanes that it works, and the process with the first lane
also reports about everything else. The memory of problems ends with the process, so the next one reports a persisting
problem again.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
from sqlalchemy import Connection

from bridge.alerts.notifier import AlertState, ConditionKey, due_notifications
from bridge.alerts.rules import (
    REFUSALS_SECONDS,
    BridgeState,
    SpoolState,
    find_conditions,
    is_elsewhere,
    unobserved_keys,
)
from bridge.alerts.targets import Outbox
from bridge.config.model import Config
from bridge.delivery.lane import Lane
from bridge.errors import StoreUnavailableError
from bridge.event import EventState
from bridge.ingress.signature import SignatureFault, fingerprint
from bridge.operations.acknowledgement import ProblemList, sort_problems
from bridge.operations.problems import find_problems
from bridge.store.filter import EVERYTHING
from bridge.store.interface import Store
from bridge.store.quarantine import keep_proofs
from connectors.base import Quota

CHECK_SECONDS = 15.0
FAULTY_SECONDS = 600.0
"""Seconds after a fault during which a background task counts as failing."""
STORE_SECONDS = 30.0
"""Seconds that the store may take to answer or commit."""
LOOK_BACK_SECONDS = 60.0
"""Dead letters of this time before a start are reported too, since a crashed process may not have reported them."""
REFUSALS_KEPT = 10_000

_FAULTS = frozenset(SignatureFault)
_HELD = frozenset({*EventState, "duplicate"})
"""Results of a request whose signature holds."""

log = structlog.get_logger()

StatisticsQuery = Callable[[Callable[[Connection], ProblemList]], Awaitable[ProblemList]]
"""Queries the store; raises StoreUnavailableError."""


class AlertSpool(Protocol):
    """The used part of a spool; see `bridge.ingress.spool.Spool`."""

    size: int
    limit: int
    refusing: str | None

    @property
    def in_use(self) -> bool:
        """Return True if events go to the spool."""
        ...


class Watch:
    """Watcher in the event loop's thread. Its own faults do not affect the bridge.

    Args:
        config: Returns the configuration in use.
        lanes: Returns the lanes that this process works, by name.
        store: The store, which is asked if it can commit.
        ask: Queries the store.
        clock: Returns seconds since the epoch.
        outbox: Sends messages.
        spool: The spool, if there is one.
        failing: Returns the destinations whose lanes fail repeatedly here.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        lanes: Callable[[], Mapping[str, Lane]],
        store: Store,
        ask: StatisticsQuery,
        clock: Callable[[], float],
        outbox: Outbox | None = None,
        *,
        spool: AlertSpool | None = None,
        failing: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._config = config
        self._lanes = lanes
        self._store = store
        self._ask = ask
        self._clock = clock
        self._outbox = outbox or Outbox()
        self._begun_at = clock() - LOOK_BACK_SECONDS
        self._states: dict[ConditionKey, AlertState] = {}
        self._refusals: deque[tuple[float, str, str]] = deque(maxlen=REFUSALS_KEPT)
        self._mismatched: set[str] = set()
        """Chatbots whose first mismatch since the last reload was handled."""
        self._held: dict[str, tuple[bytes, ...]] = {}
        """Keys of each chatbot when one of its signatures last matched."""
        self._proved: dict[str, bytes] = {}
        """Fingerprints that the store has."""
        self._spool = spool
        self._failing = failing
        self.moved: Callable[[], Sequence[str]] = tuple
        """Returns the open files that are not in their places."""
        self._faults: dict[str, float] = {}
        """Time of the last failure of each background task."""
        self._wake = asyncio.Event()

    def received(self, chatbot: str, result: str) -> None:
        """Record a request to the webhook: its chatbot's name, if it names one, and its result."""
        if not chatbot:
            return
        if result in _FAULTS:
            self._refusals.append((self._clock(), chatbot, result))
            if result == SignatureFault.MISMATCH and chatbot not in self._mismatched:
                # Its key may be mistyped: report it soon, since nothing else will show it for a long time.
                self._mismatched.add(chatbot)
                self._wake.set()
        elif result in _HELD and (of := self._config().chatbots.get(chatbot)):
            self._held[chatbot] = of.signing_keys

    def wake(self) -> None:
        """Request a check soon."""
        self._wake.set()

    def failed(self, work: str) -> None:
        """Record that a background task has failed."""
        self._faults[work] = self._clock()
        self._wake.set()

    def reloaded(self) -> None:
        """Record a reload of the configuration."""
        self._mismatched.clear()
        self._wake.set()

    async def run(self) -> None:
        """Check every `CHECK_SECONDS`, and after each reload, until cancelled."""
        while True:
            try:
                await self.check()
            except Exception as error:
                # A failed check must not end all alerts.
                log.exception("fault", work="alerting", error=type(error).__name__)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._wake.wait()

    async def check(self) -> None:
        """Check once and send the messages; without configured alerts, only store which keys have matched."""
        await self._note_proofs()
        settings = self._config().alerts
        if not settings.to:
            self._states.clear()
            return
        state = await self._state()
        now = self._clock()
        states = {key: each for key, each in self._states.items() if not is_elsewhere(key, state)}
        notifications, self._states = due_notifications(
            states,
            find_conditions(state, now),
            unobserved_keys(list(states), state, now),
            now,
            repeat=settings.repeat,
            begun_at=self._begun_at,
        )
        await self._outbox.post(settings.to, notifications, now)

    async def _state(self) -> BridgeState:
        destinations = self._config().destinations
        lanes = self._lanes()
        whole = min(destinations, default=None) in {None, *lanes}
        stored, commits = await self._stored(), await self._commits()
        spool = self._spool
        while self._refusals and self._refusals[0][0] < self._clock() - REFUSALS_SECONDS:
            self._refusals.popleft()
        return BridgeState(
            stored=stored,
            store_commits=commits,
            pauses={name: lane.pause for name, lane in lanes.items() if lane.pause},
            quotas={name: _quotas(lane) for name, lane in lanes.items()},
            refusals=[(chatbot, fault) for _, chatbot, fault in self._refusals],
            faults=[Path(each.file).name for each in self._config().faults],
            failing=self._failing(),
            moved=self.moved(),
            faulty=[work for work, at in self._faults.items() if self._clock() - at < FAULTY_SECONDS],
            spooled=SpoolState(spool.size, spool.limit, spool.refusing) if spool and spool.in_use else None,
            spools=spool is not None,
            here=frozenset(lanes),
            whole=whole,
        )

    async def _note_proofs(self) -> None:
        """Store which keys have verified requests, once for each chatbot and change of its keys."""
        held = {name: fingerprint(keys) for name, keys in self._held.items()}
        news = {name: mark for name, mark in held.items() if self._proved.get(name) != mark}
        if not news:
            return
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._store.change(partial(keep_proofs, keys=news, now=self._clock()))
        except (StoreUnavailableError, TimeoutError) as error:
            log.warning("proofs_not_kept", error=str(error) or "no answer in time")
        else:
            self._proved.update(news)

    async def _stored(self) -> ProblemList | None:
        config, now = self._config(), self._clock()

        def problems(connection: Connection) -> ProblemList:
            found = find_problems(connection, config, now)
            return sort_problems(connection, found, EVERYTHING, EVERYTHING, now)

        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await self._ask(problems)
        except (StoreUnavailableError, TimeoutError) as error:
            log.warning("alerts_without_store", error=str(error) or "no answer in time")
            return None

    async def _commits(self) -> bool:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._store.check()
        except (StoreUnavailableError, TimeoutError):
            return False
        return True


def _quotas(lane: Lane) -> list[Quota]:
    try:
        return list(lane.destination.connector.quotas())
    except Exception as error:
        # A connector may be foreign code.
        log.exception("connector_failed", destination=lane.destination.name, error=type(error).__name__)
        return []
