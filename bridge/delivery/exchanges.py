"""Requests and answers of attempts, as the store keeps them for operators.

A connector's session writes them to the log that is set around each call (`connectors.exchange`). Credentials of the
settings, and texts that came from a variable or a secret file, are masked: the URL of a hook is its only secret.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import orjson

from bridge.config.model import Destination
from bridge.config.secrets import SHORTEST_HIDDEN, hidden_texts, secret_settings
from bridge.store.interface import Settlement
from connectors.base import ExchangeLog, ExchangeRecorder, exchange_log

_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


DELIVERED_PER_SECOND: Final = 5.0
DELIVERED_BURST: Final = 100.0
"""Delivered attempts of one destination whose exchanges are kept: as many at once, and so many per second after that.
Under load they would cost the lane a tenth of its speed, and nobody reads a thousand equal ones. Other attempts keep
theirs always."""


class Exchanges:
    """Maker of the logs of one destination."""

    def __init__(self, destination: Destination) -> None:
        secrets = (secret.get_secret_value() for _, secret in secret_settings(destination.settings))
        hidden = hidden_texts(destination.settings, destination.hidden)
        self._recorder = ExchangeRecorder(*_pieces([*secrets, *hidden]))
        self._room = DELIVERED_BURST
        self._asked_at = 0.0

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
        plain = attempt.outcome == "delivered" and settlement.warning is None
        if plain and not self._has_room(now):
            return settlement
        return settlement.with_exchange(kept_text(log, record_id))

    def _has_room(self, now: float) -> bool:
        passed = max(0.0, now - self._asked_at)
        self._room = min(DELIVERED_BURST, self._room + passed * DELIVERED_PER_SECOND)
        self._asked_at = now
        if self._room < 1.0:
            return False
        self._room -= 1.0
        return True


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
