"""The section `reports`."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bridge.config import Config, ConfigError, load
from bridge.config.model import WeeklyTime
from tests.building import SERIAL

BASE = f"""
chatbots:
  acme: {{serial_number: {SERIAL}, signing_keys: ["${{KEY}}"]}}
"""
ENVIRON = {"KEY": "a-signing-key-of-good-length", "ONE": "json://127.0.0.1/a-secret", "OFF": ""}


def loaded(folder: Path, reports: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(f"{BASE}reports:\n  weekly: {reports}\n")
    return load(path, ENVIRON)


def test_a_report_has_receivers_chatbots_and_a_time(tmp_path: Path) -> None:
    found = loaded(tmp_path, '{to: "${ONE}", chatbots: [acme], every: Friday 7:30, time_zone: Europe/Berlin}')
    weekly = found.reports["weekly"]
    assert (weekly.to, weekly.chatbots) == (("json://127.0.0.1/a-secret",), frozenset({"acme"}))
    assert (weekly.every, weekly.time_zone) == (WeeklyTime(4, 7, 30), ZoneInfo("Europe/Berlin"))
    assert "a-secret" not in repr(found)


def test_the_defaults_and_a_receiver_that_is_switched_off(tmp_path: Path) -> None:
    weekly = loaded(tmp_path, '{to: ["${OFF}", "${ONE}"]}').reports["weekly"]
    assert weekly.to == ("json://127.0.0.1/a-secret",)
    assert (weekly.chatbots, weekly.every, weekly.time_zone) == (None, WeeklyTime(0, 8, 0), ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ("{}", "reports.weekly.to: is missing"),
        ("{to: []}", "reports.weekly.to"),
        ('{to: "${KEY}"}', "reports.weekly.to: must be an Apprise URL such as"),
        ('{to: "${ONE}", every: someday}', "reports.weekly.every: must be a day and a time, such as monday 08:00"),
        ('{to: "${ONE}", every: monday 24:00}', "reports.weekly.every: must be a day and a time"),
        ('{to: "${ONE}", time_zone: Mars/Base}', "reports.weekly.time_zone: must be the name of a time zone"),
        ('{to: "${ONE}", time_zone: ../../etc/passwd}', "reports.weekly.time_zone: must be the name of a time zone"),
        ('{to: "${ONE}", chatbots: [acmee]}', "reports.weekly.chatbots[0]: there is no chatbot `acmee`"),
        ('{to: "${ONE}", evry: monday 08:00}', "reports.weekly.evry: unknown key"),
        ("monday 08:00", "reports.weekly: must be a map of settings"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_without_a_secret(tmp_path: Path, reports: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, reports)
    assert said in str(caught.value)
    assert "a-secret" not in str(caught.value)
    assert "a-signing-key" not in str(caught.value)


def test_an_address_in_clear_is_warned_about(tmp_path: Path) -> None:
    found = loaded(tmp_path, '{to: "json://127.0.0.1/in-clear"}')
    assert any("reports.weekly.to" in str(each) and "secret in plain text" in str(each) for each in found.warnings)
