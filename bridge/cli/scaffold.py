"""The files that `leadbridge init` writes, from the starter of a connector. Pure."""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from connectors.base import STAND_IN

_PLAIN: Final = re.compile(r"(?!(?:true|false|null)$)[A-Za-z0-9][A-Za-z0-9_-]*", re.IGNORECASE | re.ASCII)
_MARK: Final = re.compile(r"@([a-z_]+)@")
_SECTION: Final = re.compile(r"^(destination|route|expect):(.*)$", re.MULTILINE)
_VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(:-[^}]*)?\}")
_URL: Final = '"${URL}"'


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


def variables(answers: Answers, starter: Starter) -> str:
    """Write `.env.example`."""
    lines = ["# Copy this to .env, fill it in, and keep it to yourself: it holds secrets.", ""]
    lines += [f"# The Sign Key of {answers.chatbot}, which the vendor shows under Workspace > Webhook."]
    lines += [f"{_variable(answers.chatbot, 'SIGN_KEY')}="]
    for name, description in _described(starter.destination, answers):
        lines += ["", f"# {answers.destination}: {description}", f"{name}="]
    return "\n".join([*lines, ""])


def added_chatbot(
    answers: Answers, preset: str | None, presets: Mapping[str, Mapping[str, Any]], starter: Starter | None
) -> str:
    """Write the file of another chatbot: with a preset of chatbots or of routes, or with the starter's route.

    Args:
        answers: The chatbot, and the destination of its route.
        preset: The name of a preset; None for none.
        presets: The presets of the configuration, by kind and name.
        starter: Starter of the destination's connector; None if a preset has the route.
    """
    values = _chatbot_values(answers)
    shared = presets.get("chatbots", {}).get(preset or "")
    lines = [f"# The chatbot {answers.chatbot}. Written by `leadbridge init --add`.", "", "chatbots:"]
    lines += [f"  {answers.chatbot}:"]
    if shared is not None:
        lines += [f"    use: {preset}"]
    lines += ["    # `SerialNumber` in the vendor's events.", f"    serial_number: {values['serial_number']}"]
    if not (shared or {}).get("signing_keys"):
        key = values["sign_key"]
        lines += ["    # The Sign Key that the vendor shows under Workspace > Webhook."]
        lines += [f'    signing_keys: ["${{{key}:-no-sign-key-set-see-{key}}}"]']
    if not (shared or {}).get("routes"):
        to = f"to: {values['to']}"
        if preset and shared is None:
            route = presets.get("routes", {}).get(preset, {})
            lines += ["    routes:", f"      - {{use: {preset}{'' if route.get('to') else f', {to}'}}}"]
        elif starter:
            lines += ["    routes:", f"      - {to}", textwrap.indent(starter.route, "        ").rstrip()]
    return "\n".join([*lines, ""])


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
