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
from connectors.base import ExchangeLog, ExchangeRecorder, exchange_log

_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


class Exchanges:
    """Maker of the logs of one destination."""

    def __init__(self, destination: Destination) -> None:
        secrets = (secret.get_secret_value() for _, secret in secret_settings(destination.settings))
        self._recorder = ExchangeRecorder(*_pieces([*secrets, *hidden_texts(destination.settings, destination.hidden)]))

    def begin(self, records: Sequence[str]) -> ExchangeLog:
        """Begin to log the requests of the current task, for the records of these ids."""
        log = self._recorder.begin(records)
        exchange_log.set(log)
        return log


def kept_text(log: ExchangeLog, record_id: str) -> str | None:
    """Return the exchanges of a record as JSON; None if there was none."""
    exchanges = log.of(record_id)
    return orjson.dumps(exchanges).decode() if exchanges else None


def _pieces(texts: Sequence[str]) -> Iterator[str]:
    """Yield each text, of a template the parts between its values."""
    for text in texts:
        if "{{" not in text and "{%" not in text:
            yield text
        else:
            yield from (each for each in _TEMPLATE.split(text) if len(each) >= SHORTEST_HIDDEN)
