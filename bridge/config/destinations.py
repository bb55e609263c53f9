"""Checks the section `destinations` and creates the connectors."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import EntryPoint

from bridge.config import plugins
from bridge.config.merge import ConfigDraft, split_settings
from bridge.config.model import Destination, RateLimit, RetrySchedule
from bridge.config.schema import DestinationPart
from bridge.config.secrets import secret_settings, warn_if_readable
from bridge.config.validation_messages import known_keys
from bridge.config.yaml_tree import ConfigPath
from bridge.delivery.rate_limit import Pace
from bridge.errors import did_you_mean
from bridge.mapping.mapping import EVENT_NAMES
from bridge.mapping.worker import aside
from connectors.base import Connector, Context, DestinationSettings, ExpressionError, SettingError


@dataclass(frozen=True, slots=True)
class BuiltDestination:
    """A destination after its settings were checked."""

    connector: type[Connector] | None
    """Class of the connector; None if the name of the connector is missing or unknown."""
    destination: Destination | None
    """None if the settings have errors, which are then among the findings."""


def build_destinations(draft: ConfigDraft, connectors: Mapping[str, EntryPoint]) -> dict[str, BuiltDestination]:
    """Check all destinations and create their connectors; add each problem to the findings.

    Args:
        draft: The configuration.
        connectors: Entry points of the available connectors, by name.
    """
    return {name: _build(draft, name, connectors) for name in draft.section("destinations")}


def _build(draft: ConfigDraft, name: str, entries: Mapping[str, EntryPoint]) -> BuiltDestination:
    path = ("destinations", name)
    values = draft.entry(*path)
    if values is None:
        return BuiltDestination(None, None)
    ours, own = split_settings(DestinationPart, values)
    part = draft.model(DestinationPart, path, ours)
    kind = _kind(draft, (*path, "connector"), entries)
    if kind is None:
        return BuiltDestination(None, None)
    settings = draft.model(kind.destination_settings, path, own, known_keys(DestinationPart))
    if settings is None:
        _check_batch_size(draft, path, kind.max_batch)
        return BuiltDestination(kind, None)
    for secret, value in secret_settings(settings):
        if not value.get_secret_value().strip():
            draft.value_error((*path, *secret), "is empty: set the variable or the file that holds it")
        warn_if_readable(draft.findings, draft.root, (*path, *secret))
    limit = _limit(part, kind)
    pace = Pace(limit.requests, limit.per) if limit else None
    connector = _connector(draft, path, kind, settings, part or DestinationPart(connector="unknown"), pace)
    most = kind.max_batch if connector is None else connector.max_batch if connector.batches() else 1
    _check_batch_size(draft, path, most)
    if connector is None or part is None:
        return BuiltDestination(kind, None)
    destination = Destination(
        name=name,
        connector_name=part.connector,
        settings=settings,
        connector=connector,
        rate_limit=limit,
        pace=pace,
        concurrency=part.concurrency,
        batch_size=part.batch.size or most,
        batch_linger=part.batch.linger,
        timeout=part.timeout,
        retry=RetrySchedule(**part.retry.model_dump()),
        hidden=draft.hidden(path),
    )
    return BuiltDestination(kind, destination)


def _limit(part: DestinationPart | None, kind: type[Connector]) -> RateLimit | None:
    if part and part.rate_limit:
        return RateLimit(part.rate_limit.requests, part.rate_limit.per)
    return RateLimit(*kind.rate_limit) if kind.rate_limit else None


def _kind(draft: ConfigDraft, path: ConfigPath, entries: Mapping[str, EntryPoint]) -> type[Connector] | None:
    name = draft.text(path)
    if name is None:
        return None
    if name not in entries:
        installed = f"installed: {', '.join(sorted(entries))}" if entries else "none is installed"
        draft.value_error(path, f"there is no such connector{did_you_mean(name, entries) or f'; {installed}'}")
        return None
    try:
        return plugins.connector_class(entries[name])
    except ImportError as error:
        draft.value_error(path, str(error))
        return None


def _connector(
    draft: ConfigDraft,
    path: ConfigPath,
    kind: type[Connector],
    settings: DestinationSettings,
    part: DestinationPart,
    pace: Pace | None,
) -> Connector | None:
    context = Context(
        destination=str(path[-1]),
        expressions=draft.expressions,
        event_names=EVENT_NAMES,
        timeout=part.timeout,
        concurrency=part.concurrency,
        now=time.time,
        pace=pace or nullcontext,
        offload=aside,
    )
    try:
        return kind(settings, context)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a connector is foreign code
        note_refusal(draft, path, error)
    return None


def note_refusal(draft: ConfigDraft, path: ConfigPath, error: BaseException) -> None:
    """Add a connector's objection to the findings, without the text of unexpected errors: it may hold a secret."""
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            note_refusal(draft, path, each)
    elif isinstance(error, SettingError):
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ExpressionError):  # it knows line and column; the setting's error only knows the path
            draft.expression_error((*path, *error.path), cause)
        else:
            draft.value_error((*path, *error.path), error.message)
    elif isinstance(error, ExpressionError):
        draft.error(path, error.message)
    else:
        draft.error(path, f"its connector cannot work with these settings ({type(error).__name__})")


def _check_batch_size(draft: ConfigDraft, path: ConfigPath, most: int) -> None:
    """Check the batch size as written in the file, even if other settings of the destination have errors."""
    where = (*path, "batch", "size")
    size = draft.text(where) or ""
    if size.isdecimal() and int(size) > most:
        why = f"the API takes {most} records in a call" if most > 1 else "with these settings a call takes one record"
        draft.value_error(where, f"must be at most {most}: {why}")


def destinations_of(built: Mapping[str, BuiltDestination]) -> dict[str, Destination]:
    """Return the destinations without errors."""
    return {name: each.destination for name, each in built.items() if each.destination}
