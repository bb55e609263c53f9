"""The files that `leadbridge init` writes. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Final, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from bridge.config.merge import NAME_PATTERN
from connectors.base import Connector

_PLAIN: Final = re.compile(r"(?!(?:true|false|null)$)[A-Za-z0-9][A-Za-z0-9_-]*", re.IGNORECASE | re.ASCII)
_MARK: Final = re.compile(r"@([a-z_]+)@")


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of the person who begins."""

    chatbot: str
    serial_number: str
    destination: str
    connector: str
    url: str | None
    """Address of the destination, for a connector that needs one."""

    def faults(self) -> list[str]:
        """Return a sentence for each answer that cannot be used."""
        names = {"chatbot": self.chatbot, "destination": self.destination}
        found = [
            f"--{option} `{name}`: a name has letters, digits, `-`, `_` and `.` only, 64 at most"
            for option, name in names.items()
            if not NAME_PATTERN.fullmatch(name)
        ]
        return found if self.serial_number.strip() else [*found, "--serial-number is empty"]


def needs_url(kind: type[Connector]) -> bool:
    """Return True if a destination of this connector needs a `url`."""
    field = kind.destination_settings.model_fields.get("url")
    return field is not None and field.is_required()


def configuration(answers: Answers, kind: type[Connector]) -> str:
    """Write `config.yaml`."""
    values = {
        "chatbot": answers.chatbot,
        "serial_number": _scalar(answers.serial_number.strip()),
        "destination": answers.destination,
        "connector": _scalar(answers.connector),
        "to": _scalar(answers.destination),
        "sign_key": _variable(answers.chatbot, "SIGN_KEY"),
        # Where the connector can tell, a known person keeps the name.
        "write": ", write: if_empty" if kind.conditional_writes else "",
        "settings": "".join(f"    {line}\n" for line in _settings(answers, kind)),
    }
    text = Path(__file__).with_name("scaffold.yaml").read_text("utf-8")
    return _MARK.sub(lambda found: values[found[1]], text)


def variables(answers: Answers, kind: type[Connector]) -> str:
    """Write `.env.example`."""
    lines = ["# Copy this to .env, fill it in, and keep it to yourself: it holds secrets.", ""]
    lines += [f"# The Sign Key of {answers.chatbot}, which the vendor shows under Workspace > Webhook."]
    lines += [f"{_variable(answers.chatbot, 'SIGN_KEY')}="]
    for name, description in _needed(answers, kind).items():
        lines += ["", f"# {answers.destination}: {description}", f"{name}="]
    return "\n".join([*lines, ""])


def _settings(answers: Answers, kind: type[Connector]) -> Iterable[str]:
    """Return the lines of the connector's required settings and of its credentials."""
    for name, field in _fields(kind).items():
        variable = _variable(answers.destination, name)
        if name == "url" and answers.url:
            yield f"url: {_scalar(answers.url)}"
        elif name == "auth":
            token = _variable(answers.destination, "TOKEN")
            yield "# Or basic, header, oauth2; remove the line if no credentials are needed."
            yield f'auth: {{bearer: "${{{token}:-no-token-set-see-{token}}}"}}'
        else:
            yield f"# {field.description}"
            yield f'{name}: "${{{variable}:-not-set-see-{variable}}}"'


def _needed(answers: Answers, kind: type[Connector]) -> Mapping[str, str]:
    """Return the variables of the settings, with their descriptions."""
    found = {}
    for name, field in _fields(kind).items():
        if name == "auth":
            found[_variable(answers.destination, "TOKEN")] = "the token for `Authorization: Bearer …`."
        elif name != "url" or not answers.url:
            found[_variable(answers.destination, name)] = f"{field.description}"
    return found


def _fields(kind: type[Connector]) -> dict[str, FieldInfo]:
    """Return the required settings of a destination, and the first setting that holds a secret."""
    fields = {field.alias or name: field for name, field in kind.destination_settings.model_fields.items()}
    chosen = {name: field for name, field in fields.items() if field.is_required()}
    secret = next((name for name, field in fields.items() if _is_credential(name, field)), None)
    return chosen if secret is None else {**chosen, secret: fields[secret]}


def _is_credential(name: str, field: FieldInfo) -> bool:
    one_of = get_origin(field.annotation) in {Union, UnionType}
    types = {field.annotation, *(get_args(field.annotation) if one_of else ())}
    ways = [each for each in types if isinstance(each, type) and issubclass(each, BaseModel)]
    return SecretStr in types or (name == "auth" and any("bearer" in way.model_fields for way in ways))


def _variable(owner: str, what: str) -> str:
    name = re.sub(r"[^A-Z0-9]+", "_", f"{owner}_{what}".upper()).strip("_")
    return f"X_{name}" if name[:1].isdigit() else name


def _scalar(text: str) -> str:
    """Write a text so that YAML reads it as this text, without variables."""
    if _PLAIN.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=False).replace("${", "$${")
