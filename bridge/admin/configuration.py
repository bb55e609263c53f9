"""The configuration as users see it, with secrets masked, and the problems of its files.

Call it in a thread, because a large configuration takes time.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from bridge.admin import schemas
from bridge.config.diagnostics import ConfigProblem
from bridge.config.model import Chatbot, Config, Destination, Route
from bridge.config.yaml_tree import ConfigPath
from bridge.operations.lanes import destinations_of
from bridge.operations.problems import Finding
from bridge.store.filter import EVERYTHING, Scope

SECRET_MASK: Final = "**********"  # noqa: S105 - the mask itself
_LEAST: Final = 8
"""Minimum number of characters of a secret that is masked in a text, because the value of a header may be a word."""
_IN_URL: Final = re.compile(r"(?<=://)[^/@\s]*@|(?<=[?&])([^=&#]+)=[^&#]*")


def configuration_schema(config: Config) -> schemas.ConfigurationSchema:
    """Return the whole configuration."""
    server = config.server
    return schemas.ConfigurationSchema(
        server={
            "listen": str(server.listen),
            "admin": str(server.admin),
            "admin_token": SECRET_MASK if server.admin_token else None,
            "viewer_token": SECRET_MASK if server.viewer_token else None,
            "users": [
                {"name": each.name, "role": each.role, "chatbots": sorted(each.chatbots) if each.chatbots else None}
                for each in server.users
            ],
            "max_body": server.max_body,
            "read_timeout": server.read_timeout,
        },
        store={
            "url": _store_url(config.store.url),
            "retention": {"delivered": config.store.retention_delivered, "dead": config.store.retention_dead},
        },
        chatbots=chatbot_list(config).chatbots,
        destinations=destination_list(config).destinations,
        problems=[
            *(_problem(each, "error") for fault in config.faults for each in fault.problems),
            *(_problem(each, "warning") for each in config.warnings),
        ],
        unused_files=[each.file for each in config.faults if not each.in_use],
    )


def chatbot_list(config: Config, scope: Scope = EVERYTHING) -> schemas.ChatbotListSchema:
    """Return the chatbots that a reader sees."""
    shown = [each for each in config.chatbots.values() if scope.sees(each.name)]
    return schemas.ChatbotListSchema(chatbots=[chatbot_schema(each) for each in shown])


def destination_list(config: Config, scope: Scope = EVERYTHING) -> schemas.DestinationListSchema:
    """Return the destinations of the chatbots that a reader sees."""
    shown = [config.destinations[name] for name in destinations_of(config, scope)]
    return schemas.DestinationListSchema(destinations=[destination_schema(each) for each in shown])


def chatbot_schema(chatbot: Chatbot) -> schemas.ChatbotSchema:
    """Return a chatbot without its keys."""
    return schemas.ChatbotSchema(
        name=chatbot.name,
        serial_number=", ".join(chatbot.serial_numbers),
        signing_keys=len(chatbot.signing_keys),
        signature_tolerance=chatbot.signature_tolerance,
        ack=chatbot.ack.value,
        ack_within=chatbot.ack_within,
        verified=not chatbot.insecure_skip_verify,
        routes=[_route_schema(each) for each in chatbot.routes],
    )


def destination_schema(destination: Destination) -> schemas.DestinationSchema:
    """Return a destination."""
    limit, retry = destination.rate_limit, destination.retry
    return schemas.DestinationSchema(
        name=destination.name,
        connector=destination.connector_name,
        settings=masked_settings(destination.settings, destination.hidden),
        rate_limit={"requests": limit.requests, "per": limit.per} if limit else None,
        concurrency=destination.concurrency,
        batch_size=destination.batch_size,
        batch_linger=destination.batch_linger,
        timeout=destination.timeout,
        retry={
            "initial": retry.initial,
            "max": retry.max,
            "multiplier": retry.multiplier,
            "jitter": retry.jitter,
            "give_up_after": retry.give_up_after,
        },
    )


def masked_settings(settings: BaseModel, hidden: AbstractSet[ConfigPath] = frozenset()) -> dict[str, Any]:
    """Return a connector's own settings, with secrets masked, also in URLs.

    A text from a variable or a secret file (`hidden`) is masked too: the URL of a hook is its only secret.
    """
    shown: dict[str, Any] = _shown(settings.model_dump(by_alias=True, exclude_none=True), (), hidden)
    return shown


def without_secrets(text: str, config: Config) -> str:
    """Mask every secret of the configuration in a text, because a file may contain it in clear."""
    for secret in _secrets_of(config):
        text = text.replace(secret, SECRET_MASK)
    return text


def findings(config: Config) -> list[Finding]:
    """Return the present problems of the files: those with errors, and the warnings."""
    found = []
    for fault in config.faults:
        in_use = "Its last good text is in use." if fault.in_use else "It is left out: its chatbots are not served."
        title = f"{Path(fault.file).name} has errors"
        text = f"{fault.problems[0]}. {in_use}"
        found.append(Finding(title, text, "Run `leadbridge check` and correct the file.", len(fault.problems)))
    if config.warnings:
        found.append(Finding("Warnings", f"{config.warnings[0]}.", "Correct the file.", len(config.warnings)))
    return found


def _problem(problem: ConfigProblem, severity: Any) -> schemas.ProblemSchema:  # noqa: ANN401 - one of the two literals
    return schemas.ProblemSchema(
        severity=severity,
        file=problem.file,
        line=problem.line,
        column=problem.column,
        path=problem.path,
        message=problem.message,
    )


def _route_schema(route: Route) -> schemas.RouteSchema:
    return schemas.RouteSchema(
        name=route.name,
        destination=route.destination,
        events=sorted(route.events),
        when=SECRET_MASK if ("when",) in route.hidden else route.when_source,
        fields=list(route.mapping.names),
        settings=masked_settings(route.settings, route.hidden),
    )


def _shown(value: Any, path: ConfigPath, hidden: AbstractSet[ConfigPath]) -> Any:  # noqa: ANN401 - a setting
    if isinstance(value, SecretStr) or path in hidden:
        return SECRET_MASK
    if isinstance(value, Mapping):
        return {str(key): _shown(each, (*path, str(key)), hidden) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(each, (*path, at), hidden) for at, each in enumerate(value)]
    if isinstance(value, bool | int | float) or value is None:
        return value
    return _IN_URL.sub(lambda found: f"{found[1]}={SECRET_MASK}" if found[1] else f"{SECRET_MASK}@", str(value))


def _secrets_of(config: Config) -> list[str]:
    """Return all secrets of at least `_LEAST` characters, the longest first."""
    found = {config.server.admin_token or "", config.server.viewer_token or ""}
    found.update(each.token for each in config.server.users)
    for chatbot in config.chatbots.values():
        found.update(key.decode("utf-8", "replace") for key in chatbot.signing_keys)
        for route in chatbot.routes:
            found.update(_secrets_in(route.settings.model_dump()))
    for destination in config.destinations.values():
        found.update(_secrets_in(destination.settings.model_dump()))
    return sorted((each for each in found if len(each) >= _LEAST), key=len, reverse=True)


def _secrets_in(value: Any) -> set[str]:  # noqa: ANN401 - a setting
    if isinstance(value, SecretStr):
        return {value.get_secret_value()}
    if isinstance(value, Mapping):
        return {secret for each in value.values() for secret in _secrets_in(each)}
    if isinstance(value, list | tuple | set | frozenset):
        return {secret for each in value for secret in _secrets_in(each)}
    return set()


def _store_url(url: str) -> str:
    """Return the engine only, because the rest may come from a variable."""
    return f"{urlsplit(url).scheme}://{SECRET_MASK}"
