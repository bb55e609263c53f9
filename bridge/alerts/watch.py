"""Looks at the bridge again and again, and tells what needs a person. Beside the traffic, and never in its way.

Where several processes serve one store, each tells what is about the lanes that it works, and the one that works the
first of all lanes also what is about none.
What is remembered of troubles does not survive the process: one that lasts is told again by the next.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog
from sqlalchemy import Connection

from bridge.alerts.notifier import Key, Known, tell
from bridge.alerts.rules import REFUSALS_SECONDS, Seen, Spooled, is_elsewhere, troubles, unsure
from bridge.alerts.sending import Outbox
from bridge.config.model import Config
from bridge.delivery.lane import Lane
from bridge.errors import StoreUnavailableError
from bridge.event import EventState
from bridge.ingress.signature import SignatureFault, fingerprint
from bridge.store import statistics
from bridge.store.statistics import AlertStatistics
from connectors.base import Quota

LOOK_SECONDS = 15.0
FAULTY_SECONDS = 600.0
"""How long after a fault a background task counts as failing."""
STORE_SECONDS = 30.0
"""How long the store may take to answer or commit before it is in trouble."""
LOOK_BACK_SECONDS = 60.0
"""Dead letters of the time before a start are told too: a process that died may not have come to it."""
REFUSALS_KEPT = 10_000

_FAULTS = frozenset(SignatureFault)
_HELD = frozenset({*EventState, "duplicate"})
"""Results of a request whose signature holds."""

log = structlog.get_logger()

Ask = Callable[[Callable[[Connection], AlertStatistics]], Awaitable[AlertStatistics]]
"""Asks the store; raises StoreUnavailableError."""


class Checked(Protocol):
    """What is asked of the store besides; see `bridge.store.interface.Store`."""

    async def check(self) -> None:
        """Raise StoreUnavailableError if it cannot commit."""
        ...

    async def keep_proofs(self, keys: Mapping[str, bytes], now: float) -> None:
        """Note under which keys a signature has held. Raises StoreUnavailableError."""
        ...


class Spools(Protocol):
    """What is asked of a spool; see `bridge.ingress.spool.Spool`."""

    size: int
    limit: int
    refusing: str | None

    @property
    def in_use(self) -> bool:
        """Whether events go there."""
        ...


class Watch:
    """Lives in the loop's thread. Nothing that goes wrong in it reaches the bridge.

    Args:
        config: Gives the configuration in use.
        lanes: Gives the lanes that are worked here, by name.
        store: Is asked whether it can commit.
        ask: Asks the store a question.
        clock: Seconds since the epoch.
        outbox: Sends.
        spool: Takes what comes while the store is away, where there is one.
        failing: Gives the destinations whose lanes fail here again and again.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        lanes: Callable[[], Mapping[str, Lane]],
        store: Checked,
        ask: Ask,
        clock: Callable[[], float],
        outbox: Outbox | None = None,
        *,
        spool: Spools | None = None,
        failing: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._config = config
        self._lanes = lanes
        self._store = store
        self._ask = ask
        self._clock = clock
        self._outbox = outbox or Outbox()
        self._begun_at = clock() - LOOK_BACK_SECONDS
        self._known: dict[Key, Known] = {}
        self._refusals: deque[tuple[float, str, str]] = deque(maxlen=REFUSALS_KEPT)
        self._mismatched: set[str] = set()
        """Chatbots whose first mismatch since the last reload has been looked at."""
        self._held: dict[str, tuple[bytes, ...]] = {}
        """The keys that chatbots had when a signature of theirs last held."""
        self._proved: dict[str, bytes] = {}
        """What of it the store knows."""
        self._problems = 0
        self._spool = spool
        self._failing = failing
        self.moved: Callable[[], Sequence[str]] = tuple
        """Gives the open files that are not in their places."""
        self._unpruned = False
        self._faults: dict[str, float] = {}
        """When each background task has last failed."""
        self._wake = asyncio.Event()

    def received(self, chatbot: str, result: str) -> None:
        """Take in a request to the webhook: its chatbot's name, if it names one, and its result."""
        if not chatbot:
            return
        if result in _FAULTS:
            self._refusals.append((self._clock(), chatbot, result))
            if result == SignatureFault.MISMATCH and chatbot not in self._mismatched:
                # Its key may be mistyped: then nothing else would be heard of it for long.
                self._mismatched.add(chatbot)
                self._wake.set()
        elif result in _HELD and (of := self._config().chatbots.get(chatbot)):
            self._held[chatbot] = of.signing_keys

    def wake(self) -> None:
        """Look soon."""
        self._wake.set()

    def pruning(self, held: bool) -> None:  # noqa: FBT001 - the one thing that it says
        """Take in whether pruning is held back."""
        self._unpruned = held

    def failed(self, work: str) -> None:
        """Take in that a background task has failed."""
        self._faults[work] = self._clock()
        self._wake.set()

    def reloaded(self, problems: int) -> None:
        """Be told of a reload of the configuration, and how many problems the files have."""
        self._problems = problems
        self._mismatched.clear()
        self._wake.set()

    async def run(self) -> None:
        """Look every `LOOK_SECONDS`, and after each reload, until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:
                # Alerts that have failed once must not be silent for ever.
                log.exception("fault", work="alerting", error=type(error).__name__)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def look(self) -> None:
        """Look once, and send what is to be told; where no alerts are configured, only note which keys hold."""
        await self._note_proofs()
        settings = self._config().alerts
        if not settings.to:
            self._known.clear()
            return
        seen = await self._see()
        now = self._clock()
        known = {key: each for key, each in self._known.items() if not is_elsewhere(key, seen)}
        messages, self._known = tell(
            known,
            troubles(seen, now, settings.oldest),
            unsure(list(known), seen, now),
            now,
            repeat=settings.repeat,
            begun_at=self._begun_at,
        )
        await self._outbox.post(settings.to, messages, now)

    async def _see(self) -> Seen:
        destinations = self._config().destinations
        lanes = self._lanes()
        whole = min(destinations, default=None) in {None, *lanes}
        stored, commits = await self._stored(list(lanes), whole=whole), await self._commits()
        spool = self._spool
        while self._refusals and self._refusals[0][0] < self._clock() - REFUSALS_SECONDS:
            self._refusals.popleft()
        return Seen(
            stored=stored,
            store_commits=commits,
            pauses={name: lane.pause for name, lane in lanes.items() if lane.pause},
            quotas={name: _quotas(lane) for name, lane in lanes.items()},
            refusals=[(chatbot, fault) for _, chatbot, fault in self._refusals],
            keys={name: fingerprint(each.signing_keys) for name, each in self._config().chatbots.items()},
            problems=self._problems,
            failing=self._failing(),
            moved=self.moved(),
            unpruned=self._unpruned,
            faulty=[work for work, at in self._faults.items() if self._clock() - at < FAULTY_SECONDS],
            held=[each.path for each in self._config().held],
            left_out=[Path(each.file).name for each in self._config().left_out],
            spooled=Spooled(spool.size, spool.limit, spool.refusing) if spool and spool.in_use else None,
            spools=spool is not None,
            here=frozenset(lanes),
            whole=whole,
        )

    async def _note_proofs(self) -> None:
        """Write down under which keys signatures have held; once for each chatbot and change of its keys."""
        held = {name: fingerprint(keys) for name, keys in self._held.items()}
        news = {name: mark for name, mark in held.items() if self._proved.get(name) != mark}
        if not news:
            return
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._store.keep_proofs(news, self._clock())
        except (StoreUnavailableError, TimeoutError) as error:
            log.warning("proofs_not_kept", error=str(error) or "no answer in time")
        else:
            self._proved.update(news)

    async def _stored(self, destinations: list[str], *, whole: bool) -> AlertStatistics | None:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await self._ask(
                    lambda connection: statistics.alert_statistics(connection, destinations, whole=whole)
                )
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
        # A connector may be anybody's code.
        log.exception("connector_failed", destination=lane.destination.name, error=type(error).__name__)
        return []
