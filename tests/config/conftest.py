"""A small connector for configurations to name, and the environment that they are read in."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr

from bridge.config import plugins
from connectors.base import (
    Connector,
    Context,
    DestinationSettings,
    ExpressionError,
    Outcome,
    Preview,
    Record,
    RouteSettings,
    SettingError,
)
from connectors.http import HttpConnector
from connectors.hubspot import HubSpotConnector
from connectors.salesforce import SalesforceConnector


class Login(BaseModel, extra="forbid"):
    user: str
    password: SecretStr


class CrmSettings(DestinationSettings):
    url: str = Field(description="Where the CRM is.")
    token: SecretStr | None = None
    login: Login | None = None
    greeting: str | None = None
    single: bool = False
    mode: Literal["live", "sandbox"] = "live"


class CrmRoute(RouteSettings):
    object: str = "contact"
    remark: str | None = None


class CrmConnector(Connector):
    """Delivers nothing; refuses settings in each of the ways that a connector has."""

    destination_settings = CrmSettings
    route_settings = CrmRoute
    max_batch = 100

    def __init__(self, settings: CrmSettings, context: Context) -> None:
        self.settings = settings
        if not settings.url.startswith("https://"):
            raise SettingError(("url",), "must begin with https://")
        if settings.mode == "sandbox" and not settings.token:
            raise SettingError(("token",), "is missing: the sandbox needs one")
        if settings.greeting:
            try:
                context.expressions.template(settings.greeting, context.event_names)
            except ExpressionError as error:
                raise SettingError(("greeting",), error.message) from error

    def batches(self) -> bool:
        return not self.settings.single

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        raise NotImplementedError

    def preview(self, records: Sequence[Record]) -> Preview:
        raise NotImplementedError

    async def close(self) -> None:
        pass


class Thorough(CrmConnector):
    """Tells of all settings at once."""

    def __init__(self, settings: CrmSettings, context: Context) -> None:
        faults: list[Exception] = [
            SettingError((name,), f"is {getattr(settings, name)!r}") for name in ("mode", "single")
        ]
        try:
            context.expressions.template(settings.greeting or "", context.event_names)
        except ExpressionError as error:
            faults.append(SettingError(("greeting",), error.message))
        raise ExceptionGroup("settings", faults)


class Clumsy(CrmConnector):
    def __init__(self, settings: CrmSettings, context: Context) -> None:
        raise KeyError(settings.url)


class Entry:
    """Stands for an entry point."""

    def __init__(self, name: str, found: Any) -> None:
        self.name = name
        self.value = f"somewhere:{name}"
        self.found = found

    def load(self) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "http": Entry("http", HttpConnector),
        "crm": Entry("crm", CrmConnector),
        "hubspot": Entry("hubspot", HubSpotConnector),
        "salesforce": Entry("salesforce", SalesforceConnector),
        "thorough": Entry("thorough", Thorough),
        "clumsy": Entry("clumsy", Clumsy),
        "broken": Entry("broken", ImportError("No module named 'gone'")),
        "impostor": Entry("impostor", dict),
    }

    def connector_entries() -> Mapping[str, importlib.metadata.EntryPoint]:
        return found  # type: ignore[return-value]  # the two attributes and the method that are used

    monkeypatch.setattr(plugins, "connector_entries", connector_entries)


ENVIRON = {
    "CRM_TOKEN": "t0ken-from-the-environment",
    "ACME_SIGN_KEY": "s1gning-key-from-the-environment",
    "TRICKY": "a: b # c\n- d {{ x }}, e",
    "SHORT": "hush",
    "EMPTY": "",
}


@pytest.fixture
def environ() -> dict[str, str]:
    return dict(ENVIRON)
