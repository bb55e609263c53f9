"""Checks of the sections `server`, `alerts` and `reports`."""

import ipaddress
import re
from collections.abc import Set as AbstractSet
from typing import Final

from pydantic import SecretStr, ValidationError

from bridge.config.lint import check_ports
from bridge.config.merge import ConfigDraft
from bridge.config.model import AlertSettings, ReportSettings, ServerSettings, UserSettings
from bridge.config.schema import AlertsPart, ReportPart, ServerPart
from bridge.config.secrets import key_fault, warn_if_readable
from bridge.config.yaml_tree import ConfigPath, plain
from bridge.errors import did_you_mean

_LOCALHOST: Final = "localhost"


def server_settings(draft: ConfigDraft) -> ServerSettings | None:
    """Return the settings of the listeners; None if they have errors, which are then among the findings."""
    part = draft.model(ServerPart, ("server",), {key: plain(node) for key, node in draft.section("server").items()})
    # A mistake in another key must not hide an open admin listener.
    admin = part or _partial_server(draft, "server", {"admin", "admin_token", "viewer_token", "users"})
    if admin:
        _check_admin(draft, admin)
    if part is None:
        return None
    token, viewer = _secret(part.admin_token), _secret(part.viewer_token)
    check_ports(draft, part.listen, part.admin)
    users = tuple(
        UserSettings(
            each.name, _secret(each.token), each.role, None if each.chatbots is None else frozenset(each.chatbots)
        )
        for each in part.users
    )
    return ServerSettings(
        part.listen,
        part.admin,
        token or None,
        part.max_body,
        part.read_timeout,
        viewer or None,
        users,
        part.trusted_proxies,
    )


def _partial_server(draft: ConfigDraft, section: str, keys: AbstractSet[str]) -> ServerPart | None:
    """Return a model of some keys of a section; None if these are invalid, which was reported before."""
    values = {key: plain(node) for key, node in draft.section(section).items() if key in keys}
    try:
        return ServerPart.model_validate(values)
    except ValidationError:
        return None


def _check_admin(draft: ConfigDraft, part: ServerPart) -> None:
    where = ("server", "admin_token")
    token = _secret(part.admin_token)
    fault = key_fault(token) if token else None
    if fault:
        draft.value_error(where, fault)
    elif not token and not _is_loopback(part.admin.host):
        draft.error(where, f"is missing: `admin` listens on {part.admin}, which other machines can reach")
    warn_if_readable(draft.findings, draft.root, where)
    _check_viewer(draft, _secret(part.viewer_token), token)
    _check_users(draft, part, token)


def _check_users(draft: ConfigDraft, part: ServerPart, token: str) -> None:
    """Report users whose token is weak or another's, whose name is taken, or whose chatbot is unknown."""
    taken, names = {token, _secret(part.viewer_token)}, set[str]()
    known = list(draft.section("chatbots"))
    if part.users and not token:
        draft.value_error(
            ("server", "users"), "needs `admin_token`: without one, everybody has the rights of an operator"
        )
    for at, user in enumerate(part.users):
        where = ("server", "users", at)
        secret = _secret(user.token)
        if fault := key_fault(secret):
            draft.value_error((*where, "token"), fault)
        elif secret in taken:
            draft.value_error((*where, "token"), "is the token of another user: each has a token of their own")
        warn_if_readable(draft.findings, draft.root, (*where, "token"))
        if user.name in names:
            draft.value_error((*where, "name"), f"`{user.name}` is taken: each user has a name of their own")
        taken.add(secret)
        names.add(user.name)
        for number, chatbot in enumerate(user.chatbots or ()):
            if chatbot not in known and draft.whole:
                hint = did_you_mean(chatbot, known) or ""
                draft.value_error((*where, "chatbots", number), f"there is no chatbot `{chatbot}`{hint}")


def _check_viewer(draft: ConfigDraft, viewer: str, token: str) -> None:
    where = ("server", "viewer_token")
    if not viewer:
        return
    if fault := key_fault(viewer):
        draft.value_error(where, fault)
    elif not token:
        draft.value_error(where, "needs `admin_token`: without one, everybody has the rights of an operator")
    elif viewer == token:
        draft.value_error(where, "is the same as `admin_token`: use another token, or its holder is an operator")
    warn_if_readable(draft.findings, draft.root, where)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == _LOCALHOST


def _secret(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


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
