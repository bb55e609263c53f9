"""Connectors by file: one `.py` in a plugin folder is a connector that YAML can name."""

from pathlib import Path

import pytest

from bridge.config import Config, ConfigError, load

CONFIG = """
plugins: [./plugins]
destinations:
  crm: {connector: my_crm, url: "https://crm.example.com", key: "${CRM_KEY}"}
chatbots:
  acme:
    serial_number: one
    signing_keys: ["${ACME_SIGN_KEY}"]
    routes:
      - {to: crm, board: leads, fields: {email: Email}}
"""
PLUGIN = """
from pydantic import Field, SecretStr

from connectors.base import Connector, DestinationSettings, RouteSettings, SettingError


class Settings(DestinationSettings):
    url: str = Field(description="Where it is.")
    key: SecretStr = Field(description="The key.")


class Route(RouteSettings):
    board: str = Field(description="Which board.")


class MyCrm(Connector):
    destination_settings = Settings
    route_settings = Route

    def __init__(self, settings, context):
        if not settings.url.startswith("https://"):
            raise SettingError(("url",), "must begin with https://")

    async def deliver(self, records):
        return []

    def preview(self, records):
        raise NotImplementedError

    async def close(self):
        pass
"""


class Place:
    """A folder with a configuration and a plugin."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.path = folder / "config.yaml"
        self.plugins = folder / "plugins"
        self.plugins.mkdir()
        self.environ = {**environ, "CRM_KEY": "a-key-of-the-crm"}
        self.write(CONFIG, PLUGIN)

    def write(self, config: str = CONFIG, plugin: str = PLUGIN, name: str = "my_crm.py") -> None:
        self.path.write_text(config)
        (self.plugins / name).write_text(plugin)

    def load(self) -> Config:
        return load(self.path, self.environ)

    def faults(self) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load()
        return [str(each).replace(f"{self.path.parent}/", "") for each in caught.value.problems]


@pytest.fixture
def place(tmp_path: Path, environ: dict[str, str]) -> Place:
    return Place(tmp_path, environ)


def test_a_file_is_a_connector_of_its_name(place: Place) -> None:
    config = place.load()
    assert type(config.destinations["crm"].connector).__name__ == "MyCrm"
    (route,) = config.chatbots["acme"].routes
    assert route.settings.model_dump() == {"board": "leads"}


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("key:", "kye:", "destinations.crm.kye: unknown key (did you mean `key`?)"),
        ("board:", "bord:", "chatbots.acme.routes[0].bord: unknown key (did you mean `board`?)"),
        ("https://", "http://", "destinations.crm.url: must begin with https://"),
        ("my_crm", "my_crn", "there is no such connector (did you mean `my_crm`?)"),
    ],
)
def test_its_settings_are_checked_like_any_others(place: Place, before: str, after: str, fault: str) -> None:
    place.write(CONFIG.replace(before, after))
    assert any(fault in each for each in place.faults())


def test_an_edit_makes_another_connector_and_nothing_else_does(place: Place) -> None:
    first = place.load().destinations["crm"]
    assert place.load().destinations["crm"] == first
    place.write(plugin=PLUGIN.replace("return []", "return [None]"))
    assert place.load().destinations["crm"] != first


def test_an_edit_is_seen_where_the_settings_are_not_its_own(place: Place) -> None:
    plugin = "from connectors.http import HttpConnector\n\nclass Mine(HttpConnector):\n    VERSION = 1\n"
    config = CONFIG.replace(', key: "${CRM_KEY}"', "").replace(", board: leads", "")
    place.write(config, plugin)
    first = place.load().destinations["crm"]
    place.write(config, plugin.replace("1", "2"))
    assert place.load().destinations["crm"] != first
