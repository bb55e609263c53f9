"""The files that `leadbridge init` writes, from the starter of a connector. Pure."""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from connectors.base import STAND_IN

_PLAIN: Final = re.compile(r"(?!(?:true|false|null)$)[A-Za-z0-9][A-Za-z0-9_-]*", re.IGNORECASE | re.ASCII)
_MARK: Final = re.compile(r"@([a-z_]+)@")
_SECTION: Final = re.compile(r"^(destination|route|expect):(.*)$", re.MULTILINE)
_VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(:-[^}]*)?\}")
_LONGEST: Final = 120  # characters of a line
_URL: Final = '"${URL}"'
_ALLOW_PRIVATE: Final = """# The address is plain HTTP, or private. Remove this line when it is a public one with https://.
allow_private: true
"""


@dataclass(frozen=True, slots=True)
class Starter:
    """The file `starter.yaml` of a connector: parts of a configuration, with their comments."""

    destination: str
    """Settings of a destination. `${NAME}` is a variable of the environment, with a prefix for the destination."""
    route: str
    """Settings and fields of a route."""
    expect: str
    """The record of the sample lead, as the test in the configuration expects it."""

    @classmethod
    def read(cls, text: str) -> "Starter":
        """Read the file."""
        marks = [*_SECTION.finditer(text), None]
        parts = {
            mark[1]: mark[2].strip() or textwrap.dedent(text[mark.end() + 1 : after.start() if after else None])
            for mark, after in pairwise(marks)
            if mark
        }
        return cls(parts["destination"], parts["route"], parts["expect"])

    @property
    def needs_url(self) -> bool:
        """True if the destination needs an address that only the user knows."""
        return _URL in self.destination


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of the person who begins."""

    chatbot: str
    serial_number: str
    destination: str
    connector: str
    url: str | None
    """Address of the destination, for a connector that needs one."""


def configuration(answers: Answers, starter: Starter) -> str:
    """Write `config.yaml`."""
    settings = starter.destination
    if answers.url:
        settings = settings.replace(_URL, _scalar(answers.url))
        if is_private(answers.url):
            settings += _ALLOW_PRIVATE
    values = {
        **_chatbot_values(answers),
        "destination": answers.destination,
        "connector": _scalar(answers.connector),
        "settings": textwrap.indent(_with_variables(settings, answers.destination), "    "),
        "route": textwrap.indent(starter.route, "        "),
        "expect": starter.expect,
    }
    text = Path(__file__).with_name("scaffold.yaml").read_text("utf-8")
    return _MARK.sub(lambda found: values[found[1]], text)


def is_private(url: str) -> bool:
    """Return True for an address that a destination reaches with `allow_private` only."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return parts.scheme == "http" or not ip_address(host).is_global
    except ValueError:  # a name, not an IP address
        return host == "localhost" or host.endswith(".localhost")


def variables(answers: Answers, starter: Starter) -> str:
    """Write `.env.example`."""
    lines = ["# Copy this to .env, fill it in, and keep it to yourself: it holds secrets.", ""]
    lines += [f"# The Sign Key of {answers.chatbot}, which the vendor shows under Workspace > Webhook."]
    lines += [f"{_variable(answers.chatbot, 'SIGN_KEY')}="]
    for name, description in _described(starter.destination, answers):
        lines += ["", f"# {answers.destination}: {description}", f"{name}="]
    return "\n".join([*lines, ""])


@dataclass(frozen=True, slots=True)
class ChosenPresets:
    """The presets that a new chatbot uses: of each kind the name and the content, or None."""

    destination: tuple[str, Mapping[str, Any]] | None = None
    route: tuple[str, Mapping[str, Any]] | None = None
    chatbot: tuple[str, Mapping[str, Any]] | None = None

    @property
    def has_routes(self) -> bool:
        """True if the chatbot's preset has routes."""
        return self.chatbot is not None and bool(self.chatbot[1].get("routes"))

    @property
    def needs_destination(self) -> bool:
        """True if the chatbot's file has to say where a route leads."""
        return not self.has_routes and not (self.route and self.route[1].get("to"))


def added_chatbot(answers: Answers, chosen: ChosenPresets, starter: Starter | None) -> str:
    """Write the file of another chatbot.

    Args:
        answers: The chatbot, and the destination of its route.
        chosen: Presets that it uses; with one of destinations it gets a destination of its own.
        starter: Starter of the destination's connector, for what no preset has.
    """
    values, name = _chatbot_values(answers), answers.chatbot
    lines = [f"# The chatbot {name}. Written by `leadbridge init --add`."]
    if chosen.destination and chosen.needs_destination:
        lines += ["destinations:", *_own_destination(answers, chosen.destination, starter)]
    lines += ["chatbots:", f"  {name}:", *([f"    use: {_scalar(chosen.chatbot[0])}"] if chosen.chatbot else [])]
    lines += [f"    serial_number: {values['serial_number']}  # `SerialNumber` in the vendor's events"]
    if not (chosen.chatbot and chosen.chatbot[1].get("signing_keys")):
        key = values["sign_key"]
        lines += [f'    signing_keys: ["${{{key}:-no-sign-key-set-see-{key}}}"]  # the Sign Key: Workspace > Webhook']
    to = f"to: {values['to']}"
    if chosen.has_routes:
        return "\n".join([*lines, ""])
    if chosen.route:
        more = f", {to}" if chosen.needs_destination else ""
        lines += [f"    routes: [{{use: {_scalar(chosen.route[0])}{more}}}]"]
    elif starter:
        lines += ["    routes:", f"      - {to}", textwrap.indent(starter.route, "        ").rstrip()]
    return "\n".join([*lines, ""])


def _own_destination(answers: Answers, preset: tuple[str, Mapping[str, Any]], starter: Starter | None) -> list[str]:
    """Return the lines of a destination that uses a preset: one line, if all of it fits there."""
    settings = _with_variables(_without(starter.destination, preset[1]) if starter else "", answers.destination)
    keys = [f"use: {_scalar(preset[0])}", *(line for line in settings.splitlines() if not line.startswith("#"))]
    short = f"  {answers.destination}: {{{', '.join(keys)}}}"
    if len(short) <= _LONGEST and not any(line.startswith(" ") or line.endswith(":") for line in keys):
        return [short]
    return [f"  {answers.destination}:", f"    {keys[0]}", *textwrap.indent(settings, "    ").splitlines()]


def _without(settings: str, preset: Mapping[str, Any]) -> str:
    """Return the settings of a starter, with their comments, that a preset does not have."""
    kept: list[str] = []
    block: list[str] = []
    for line in settings.splitlines():
        block.append(line)
        if not line.startswith("#"):
            kept += [] if line.partition(":")[0] in preset else block
            block = []
    return "\n".join(kept)


def _chatbot_values(answers: Answers) -> dict[str, str]:
    return {
        "chatbot": answers.chatbot,
        "serial_number": _scalar(answers.serial_number.strip()),
        "to": _scalar(answers.destination),
        "sign_key": _variable(answers.chatbot, "SIGN_KEY"),
    }


def _with_variables(settings: str, destination: str) -> str:
    """Prefix each variable with the destination; a variable without a default gets a text that names it."""

    def named(found: re.Match[str]) -> str:
        name = _variable(destination, found[1])
        return f"${{{name}{found[2] or f':-{STAND_IN}{name}'}}}"

    return _VARIABLE.sub(named, settings)


def _described(settings: str, answers: Answers) -> Iterator[tuple[str, str]]:
    """Return each variable with the comment above it."""
    comment: list[str] = []
    for line in settings.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.strip(" #"))
            continue
        for found in _variables_of(line, answers):
            yield _variable(answers.destination, found), " ".join(comment)
        comment = []


def _variables_of(line: str, answers: Answers) -> Iterable[str]:
    return () if answers.url and _URL in line else (found[1] for found in _VARIABLE.finditer(line))


def _variable(owner: str, what: str) -> str:
    name = re.sub(r"[^A-Z0-9]+", "_", f"{owner}_{what}".upper()).strip("_")
    return f"X_{name}" if name[:1].isdigit() else name


def _scalar(text: str) -> str:
    """Write a text so that YAML reads it as this text, without variables."""
    if _PLAIN.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=False).replace("${", "$${")
