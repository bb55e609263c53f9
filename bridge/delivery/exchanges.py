"""Requests and answers of attempts, as the store keeps them for operators.

A connector's session writes them to the log that is set around each call (`connectors.exchange`). Credentials of the
settings, and texts that came from a variable or a secret file, are masked: the URL of a hook is its only secret.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from bridge.config.model import Destination
from bridge.config.secrets import SHORTEST_HIDDEN, hidden_texts, secret_settings
from bridge.store.interface import Settlement
from connectors.base import ExchangeLog, ExchangeRecorder, exchange_log

_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


PER_SECOND: Final = 5.0
BURST: Final = 100.0
"""Attempts of one kind at one destination whose exchanges are kept: as many at once, and so many per second after that.
Under load they would cost the lane a tenth of its speed, a destination that refuses everything would fill the disk, and
nobody reads a thousand equal ones."""
KINDS_LIMIT: Final = 20
"""Kinds of one destination that are told apart: a state and a cause each. All others count as one more."""


@dataclass(slots=True)
class _Room:
    """Number of attempts of one kind whose exchanges may be kept at a time."""

    left: float
    at: float

    def take(self, now: float) -> bool:
        """Take the room for one attempt; return False if there is none."""
        self.left = min(BURST, self.left + max(0.0, now - self.at) * PER_SECOND)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


class Exchanges:
    """Maker of the logs of one destination. It decides which exchanges are kept.

    Each kind of attempt has its own room: attempts that were delivered, those with a warning, and those that failed, by
    what became of the delivery and by the reason and status. So the first attempts of a new cause are kept, and the
    last ones of dead letters, however many others fail.
    """

    def __init__(self, destination: Destination) -> None:
        secrets = (secret.get_secret_value() for _, secret in secret_settings(destination.settings))
        hidden = hidden_texts(destination.settings, destination.hidden)
        self._recorder = ExchangeRecorder(*_pieces([*secrets, *hidden]))
        self._rooms: dict[tuple[object, ...], _Room] = {}

    def begin(self, records: Sequence[str]) -> ExchangeLog:
        """Begin to log the requests of the current task, for the records of these ids."""
        log = self._recorder.begin(records)
        exchange_log.set(log)
        return log

    def settled(self, settlement: Settlement, log: ExchangeLog, record_id: str, now: float) -> Settlement:
        """Return the settlement with the kept requests and answers of the record's attempt."""
        attempt = settlement.attempt
        if attempt is None:
            return settlement
        kind: tuple[object, ...]
        if attempt.outcome == "delivered":
            kind = ("delivered", settlement.warning is not None)
        else:
            kind = (settlement.state, attempt.reason, attempt.status)
        room = self._rooms.get(kind)
        if room is None:
            kind = kind if len(self._rooms) < KINDS_LIMIT else ()
            room = self._rooms.setdefault(kind, _Room(BURST, now))
        return settlement.with_exchange(kept_text(log, record_id)) if room.take(now) else settlement


def kept_text(log: ExchangeLog, record_id: str) -> str | None:
    """Return the exchanges of a record as JSON; None if there was none."""
    try:
        exchanges = log.of(record_id)
        return orjson.dumps(exchanges).decode() if exchanges else None
    except Exception:  # noqa: BLE001 - a connector's own client may note anything; its outcome is settled all the same
        return None


def _pieces(texts: Sequence[str]) -> Iterator[str]:
    """Yield each text, of a template the parts between its values."""
    for text in texts:
        if "{{" not in text and "{%" not in text:
            yield text
        else:
            yield from (each for each in _TEMPLATE.split(text) if len(each) >= SHORTEST_HIDDEN)
