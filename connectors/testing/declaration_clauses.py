"""Contract tests for a connector's declarations: its settings, limits and documentation."""

import inspect
import re
from collections.abc import Iterator
from typing import Any, ClassVar, get_args

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from connectors.base import Connector, DestinationSettings, RouteSettings
from connectors.testing.subject import Subject, secrets_in
from connectors.testing.trial import FakeT, claim

_OF_DESTINATIONS = frozenset({"connector", "rate_limit", "concurrency", "batch", "timeout", "retry"})
_OF_ROUTES = frozenset({"to", "events", "when", "fields"})
_SECRET = re.compile(r"(?:^|_)(?:password|passphrase|secret|token|api_key)$")


class DeclarationClauses(Subject[FakeT]):
    """Tests of the class itself."""

    pytestmark: ClassVar = [pytest.mark.asyncio]

    async def test_it_says_in_a_line_what_it_does(self) -> None:
        """`leadbridge connectors list` shows the first line of the docstring."""
        claim(issubclass(self.connector, Connector), f"{self.connector} is no connectors.base.Connector")
        said = vars(self.connector).get("__doc__") or ""
        claim(
            said.strip().partition("\n")[0].strip(),
            "the class needs a docstring: a line that says what it writes where",
        )

    async def test_every_setting_is_documented(self) -> None:
        """`leadbridge connectors show` and the schema for editors use the descriptions."""
        bare = [path for path, model, name in self._settings() if not model.model_fields[name].description]
        claim(not bare, f"settings without a description (`Field(description=…)`): {bare}")

    async def test_the_settings_have_a_schema(self) -> None:
        """Editors complete and check the YAML with it."""
        for model in (self.connector.destination_settings, self.connector.route_settings):
            model.model_json_schema()

    async def test_unknown_settings_are_errors(self) -> None:
        """A mistyped setting must not go unnoticed, at any depth."""
        loose = {model.__name__ for _, model, _ in self._settings() if model.model_config.get("extra") != "forbid"}
        claim(not loose, f'models that take unknown keys (want `extra="forbid"`): {loose}')
        claim(issubclass(self.connector.destination_settings, DestinationSettings), "want a DestinationSettings")
        claim(issubclass(self.connector.route_settings, RouteSettings), "want a RouteSettings")

    async def test_settings_do_not_stand_in_the_bridges_way(self) -> None:
        """They are merged with the keys that every destination and every route has."""
        taken = _OF_DESTINATIONS & set(self.connector.destination_settings.model_fields)
        taken |= _OF_ROUTES & set(self.connector.route_settings.model_fields)
        claim(not taken, f"these names are the bridge's: {sorted(taken)}")

    async def test_secrets_are_declared_as_such(self) -> None:
        """`SecretStr` keeps them out of logs, reprs and error messages."""
        clear = [path for path, model, name in self._settings() if _SECRET.search(name) and not _is_secret(model, name)]
        claim(not clear, f"settings that sound like secrets and are no SecretStr: {clear}")

    async def test_wrong_settings_are_told_without_secrets(self) -> None:
        """Pydantic repeats the input in its errors unless configured otherwise."""
        async with self.fake() as fake:
            document = {**self.settings(fake), "no_such_setting": "x"}
            settings = self.connector.destination_settings.model_validate(dict(self.settings(fake)))
        try:
            self.connector.destination_settings.model_validate(document)
        except ValidationError as error:
            claim(not [each for each in secrets_in(settings) if each in str(error)], "an error shows a secret")
        else:
            claim(holds=False, message="an unknown setting must be an error")

    async def test_batches_are_what_they_are_said_to_be(self) -> None:
        """The bridge fills calls up to `max_batch`, with records of one `batch_group`."""
        claim(self.connector.max_batch >= 1, "max_batch is the most records in a call: 1 or more")
        async with self.running() as run:
            twins = self.record(0), self.record(0)
            group = {run.connector.batch_group(each) for each in twins}
            keys = {run.connector.batch_key(each) for each in twins}
            claim(len(group) == 1, "batch_group must be the same for the same record")
            claim(len(keys) == 1, "batch_key must be the same for the same record")
            claim(self.connector.max_batch > 1 or not run.connector.batches(), "batches() is true, max_batch is 1")

    async def test_deliver_and_close_are_asynchronous(self) -> None:
        """Code that blocks the event loop blocks every other destination."""
        for name in ("deliver", "close", "probe"):
            claim(inspect.iscoroutinefunction(getattr(self.connector, name)), f"{name} must be `async def`")

    def _settings(self) -> Iterator[tuple[str, type[BaseModel], str]]:
        """Return each setting with its path, its model and its name."""
        yield from _fields(self.connector.destination_settings)
        yield from _fields(self.connector.route_settings, "route.")


def _fields(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    for name, about in model.model_fields.items():
        yield before + name, model, name
        for inner in _models(about.annotation):
            yield from _fields(inner, f"{before}{name}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Return the models in an annotation."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)


def _is_secret(model: type[BaseModel], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return SecretStr in (annotation, *get_args(annotation)) or bool(list(_models(annotation)))
