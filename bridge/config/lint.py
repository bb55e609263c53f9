"""Checks of settings that are valid, but cannot do what their author means."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from bridge.config.merge import ConfigDraft
from bridge.config.model import Destination, ListenAddress
from bridge.config.secrets import secret_settings
from bridge.config.yaml_tree import ConfigPath, key_position
from bridge.errors import did_you_mean
from bridge.event import EVENT_TYPES
from bridge.mapping.field_form import FieldForm
from bridge.mapping.mapping import EVENT_NAMES, FieldMapping
from bridge.mapping.transform_api import Transform, TransformStep, value_as_text

_TYPE: Final = "Type"
_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not listened on
_FIXED_POINTS: Final = frozenset({"trim", "lower", "upper", "title", "truncate", "email", "e164", "url_host", "bmp"})
"""Transforms that change none of their own results: a text that they change is never a result."""
_SAME_ACCOUNT: Final = frozenset({"api_version", "allow_private", "max_answer", "tls"})
"""Settings that two destinations of one account may have different."""


def check_when(draft: ConfigDraft, path: ConfigPath, events: Iterable[str]) -> None:
    """Report a condition that excludes all events of the given types."""
    types = [each for each in EVENT_TYPES if each in events]
    if types and _certain(draft, path, types) is False:
        which = " or ".join(f"`{each}`" for each in types)
        why = f": `Type` is {which} here, spelled exactly so" if _certain(draft, path, [None]) is None else ""
        draft.value_error(path, f"is never true, so no event takes this route{why}; correct it, or remove the route")


def check_test_when(draft: ConfigDraft, path: ConfigPath) -> None:
    """Warn of a condition that makes every event a test."""
    if _certain(draft, path, EVENT_TYPES) is True:
        draft.warn(path, "is true for every event: all events count as tests and none is delivered")


def check_write_modes(draft: ConfigDraft, path: ConfigPath, mapping: FieldMapping, *, can_tell: bool) -> None:
    """Report write modes that the connector cannot heed, and warn of constants and defaults that overwrite values.

    Args:
        draft: The configuration.
        path: Path of the fields.
        mapping: The fields.
        can_tell: True if the connector knows what the destination holds (`Connector.conditional_writes`).
    """
    if not can_tell:
        for name in mapping.names:
            if name in mapping.create_only or name in mapping.if_empty:
                what = "must be `always`: this connector cannot tell what the destination holds"
                draft.value_error((*path, name, "write"), what)
        return
    for name, kind in mapping.fillers.items():
        draft.warn(
            (*path, name),
            f"its {kind} overwrites what the CRM holds for a known person: add `write: if_empty` or `write: create`, "
            f"or `write: always` if it should",
        )


def _certain(draft: ConfigDraft, path: ConfigPath, types: Sequence[str | None]) -> bool | None:
    """Return the truth of a condition if it is the same for all types; None if it depends on the event."""
    text = draft.text(path)
    if text is None:
        return None
    candidates = types if _TYPE in text else [None]
    known: list[Mapping[str, Any]] = [{_TYPE: each} if each else {} for each in candidates]
    truths = {draft.expressions.certain_truth(text, each) for each in known}
    return truths.pop() if len(truths) == 1 else None


def check_ports(draft: ConfigDraft, listen: ListenAddress, admin: ListenAddress) -> None:
    """Report two listeners that need the same port."""
    hosts = {listen.host, admin.host}
    if listen.port and listen.port == admin.port and (len(hosts) == 1 or hosts & _EVERY_ADDRESS):
        message = f"is the port of `listen` ({listen}) too: give each listener a port of its own"
        draft.value_error(("server", "admin"), message)


def check_content(draft: ConfigDraft, path: ConfigPath, route: BaseModel, destination: Destination) -> None:
    """Warn of a route without fields, unless its settings or those of its destination use the event."""
    if not _uses_event(route.model_dump()) and not _uses_event(destination.settings.model_dump()):
        draft.warn(path, "no fields, so the destination gets nothing of the event: add `fields`, or remove the route")


def _uses_event(value: object) -> bool:
    """Return True if a setting contains a template, names a field of the event, or sends the whole event."""
    if isinstance(value, Mapping):
        return any(map(_uses_event, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_uses_event, value))
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return isinstance(text, str) and ("{{" in text or "{%" in text or text in EVENT_NAMES)


def check_accounts(draft: ConfigDraft, destinations: Mapping[str, Destination]) -> None:
    """Warn of several destinations that are one account, since each would use the whole rate limit."""
    # Only destinations with the same secrets are compared: there may be a thousand.
    by_secrets: dict[object, list[tuple[Destination, dict[str, Any], list[str]]]] = {}
    for name, each in destinations.items():
        secrets = tuple(value.get_secret_value() for _, value in secret_settings(each.settings))
        accounts = by_secrets.setdefault((each.kind, secrets), [])
        settings = {key: value for key, value in each.settings.model_dump().items() if key not in _SAME_ACCOUNT}
        known = next((row for row in accounts if row[1] == settings), None)
        if known is None:
            accounts.append((each, settings, []))
        else:
            known[2].append(name)
    for first, _, others in (row for accounts in by_secrets.values() for row in accounts):
        if others:
            place = key_position(draft.root, ("destinations", first.name))
            more = f" ({len(others) + 1} destinations in all)" if len(others) > 1 else ""
            draft.warn(
                ("destinations", others[0]),
                f"is the same account as `{first.name}` at {place}{more}: use one destination for all its routes, so "
                "that they share its rate limit",
            )


def check_lookups(draft: ConfigDraft, path: ConfigPath, form: FieldForm) -> bool:
    """Warn of keys in lookup tables that no value can have; return True if there is one."""
    warned = False
    steps: list[tuple[str, Transform, Any]] = []
    for at, notation in enumerate(form.transform):
        name, given = next(iter(notation.items())) if isinstance(notation, Mapping) else (str(notation).strip(), None)
        if name == "lookup" and isinstance(given, Mapping):
            warned |= _check_table(draft, (*path, "transform", at, "lookup"), given, form, steps)
        steps.append((name, draft.transforms[name], given))
    if form.lookup is not None:
        warned |= _check_table(draft, (*path, "lookup"), form.lookup, form, steps)
    return warned


def _check_table(
    draft: ConfigDraft,
    path: ConfigPath,
    table: Mapping[str, Any],
    form: FieldForm,
    steps: Sequence[tuple[str, Transform, Any]],
) -> bool:
    warned = False
    bound = [_bind(transform, given) for _, transform, given in steps]
    known: list[str] | None = None
    if [source.strip() for source in form.sources] == [_TYPE]:
        known = [_run(bound, each) for each in EVENT_TYPES]
    for key in table:
        text = value_as_text(key).strip()
        why = ""
        if known is not None:
            if text not in known:
                names = " or ".join(f"`{each}`" for each in dict.fromkeys(known))
                why = f"the value is {names} here{did_you_mean(text, known)}"
        elif steps and steps[-1][0] in _FIXED_POINTS and (changed := _run(bound[-1:], text)) != text:
            why = f"after `{steps[-1][0]}` the text is `{changed}`"
        if why:
            warned = True
            draft.warn((*path, key), f"is never looked up: {why}")
    return warned


def _bind(transform: Transform, given: object) -> TransformStep:
    """Return the step of a transform from any notation of its arguments, which were checked before."""
    if given is None:
        return transform.bind()
    if isinstance(given, Mapping) and (dict,) not in [part.kinds for part in transform.parameters]:
        return transform.bind(named=given)
    return transform.bind(given if isinstance(given, list) else [given])


def _run(steps: Iterable[TransformStep], text: str) -> str:
    value: Any = text
    for step in steps:
        value = step(value)
    return value_as_text(value).strip()
