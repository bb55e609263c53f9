"""Checks the section `reports`, and the addresses that alerts and reports are sent to."""

import re
from typing import Final

from pydantic import SecretStr

from bridge.config.diagnostics import ConfigPath
from bridge.config.merge import ConfigDraft
from bridge.config.model import AlertSettings, ReportSettings
from bridge.config.schema import AlertsPart, ReportPart
from bridge.config.secrets import warn_if_readable
from bridge.config.yaml_tree import plain
from bridge.errors import did_you_mean

_APPRISE: Final = re.compile(r"[a-z0-9]{1,40}://\S", re.ASCII | re.IGNORECASE)


def alert_settings(draft: ConfigDraft) -> AlertSettings | None:
    """Return the settings of alerts; None if they have errors, which are then among the findings."""
    part = draft.model(AlertsPart, ("alerts",), {key: plain(node) for key, node in draft.section("alerts").items()})
    if part is None:
        return None
    _check_targets(draft, ("alerts", "to"))
    return AlertSettings(_targets(part.to), part.oldest, part.repeat)


def build_reports(draft: ConfigDraft) -> dict[str, ReportSettings]:
    """Check all reports; add each problem to the findings."""
    reports = {}
    for name in draft.section("reports"):
        values = draft.entry("reports", name)
        if values is None:
            continue
        path = ("reports", name)
        part = draft.model(ReportPart, path, {key: plain(node) for key, node in values.items()})
        if part is None:
            continue
        _check_targets(draft, (*path, "to"))
        _check_chatbots(draft, path, part.chatbots or ())
        chatbots = None if part.chatbots is None else frozenset(part.chatbots)
        reports[name] = ReportSettings(name, _targets(part.to), chatbots, part.every, part.time_zone)
    return reports


def _check_targets(draft: ConfigDraft, path: ConfigPath) -> None:
    for each, url in draft.texts(path):
        if url and not _APPRISE.match(url):
            draft.value_error(each, "must be an Apprise URL such as mailto://user:password@example.com")
        warn_if_readable(draft.findings, draft.root, each)


def _check_chatbots(draft: ConfigDraft, path: ConfigPath, names: tuple[str, ...]) -> None:
    known = list(draft.section("chatbots"))
    for at, name in enumerate(names):
        if name not in known and draft.whole:
            draft.value_error((*path, "chatbots", at), f"there is no chatbot `{name}`{did_you_mean(name, known) or ''}")


def _targets(urls: list[SecretStr]) -> tuple[str, ...]:
    # An empty address is an unset variable: that receiver is switched off.
    return tuple(url for each in urls if (url := each.get_secret_value()))
