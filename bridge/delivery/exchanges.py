"""Requests and answers of attempts, as the store keeps them for operators.

A connector's session writes them to the log that is set around each call (`connectors.exchange`). Credentials of the
settings, and texts that came from a variable or a secret file, are masked: the URL of a hook is its only secret.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import orjson

from bridge.config.diagnostics import ConfigPath
from bridge.config.model import Destination
from bridge.config.secrets import secret_settings
from connectors.base import ExchangeLog, ExchangeRecorder, exchange_log

SHORTEST: Final = 8
"""Minimum number of characters of a text from a variable that is masked. Shorter ones are no secrets."""
_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


class Exchanges:
    """Maker of the logs of one destination."""

    def __init__(self, destination: Destination) -> None:
        secrets = (secret.get_secret_value() for _, secret in secret_settings(destination.settings))
        self._recorder = ExchangeRecorder(*_pieces([*secrets, *hidden_texts(destination)]))

    def begin(self, records: Sequence[str]) -> ExchangeLog:
        """Begin to log the requests of the current task, for the records of these ids."""
        log = self._recorder.begin(records)
        exchange_log.set(log)
        return log


def kept_text(log: ExchangeLog, record_id: str) -> str | None:
    """Return the exchanges of a record as JSON; None if there was none."""
    exchanges = log.of(record_id)
    return orjson.dumps(exchanges).decode() if exchanges else None


def hidden_texts(destination: Destination) -> list[str]:
    """Return the texts of the settings that came from a variable or a secret file, except short ones."""
    if not destination.hidden:
        return []
    settings = destination.settings.model_dump(by_alias=True, exclude_none=True)
    found = _at(settings, (), destination.hidden)
    return [each for each in found if len(each) >= SHORTEST]


def _at(value: Any, path: ConfigPath, hidden: AbstractSet[ConfigPath]) -> Iterator[str]:  # noqa: ANN401 - a setting
    if isinstance(value, str) and path in hidden:
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _at(each, (*path, str(key)), hidden)
    elif isinstance(value, list | tuple):
        for at, each in enumerate(value):
            yield from _at(each, (*path, at), hidden)


def _pieces(texts: Sequence[str]) -> Iterator[str]:
    """Yield each text, of a template the parts between its values."""
    for text in texts:
        if "{{" not in text and "{%" not in text:
            yield text
        else:
            yield from (each for each in _TEMPLATE.split(text) if len(each) >= SHORTEST)
