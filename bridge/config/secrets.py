"""Checks of secrets: strength, placeholders, and secrets in plain text. Pure."""

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from pydantic import BaseModel, SecretStr
from yarl import URL

from bridge.config.diagnostics import Findings
from bridge.config.yaml_tree import ConfigPath, Node, Origin, Scalar, find_node

SHORTEST: Final = 16
"""Minimum number of characters of a key or token; shorter ones can be guessed."""
SHORTEST_HIDDEN: Final = 8
"""Minimum number of characters of a text from a variable that is masked. Shorter ones are no secrets."""
_PLACEHOLDER: Final = re.compile(
    r"(.)\1*|x{3,}[-_ ].*|(change|replace)[-_ ]?me.*|(your|put|insert|enter|paste)[-_ ].*|<.*>|\[.*\]|\{.*\}"
    r"|to[-_ ]?do.*|place-?holder.*|(my[-_ ]?)?(sign(ing)?[-_ ]?)?(key|secret|token|password)",
    re.IGNORECASE | re.DOTALL,
)
_MAKE: Final = "make one with `openssl rand -base64 32`"
_KEY_BYTES: Final = 32
_LEAST_DISTINCT: Final = 8
"""Number of different bytes that every random key exceeds."""
_SECRET_NAME: Final = re.compile(r"auth|cookie|credential|key|pass|secret|signature|token", re.IGNORECASE)


def key_fault(secret: str) -> str | None:
    """Return the fault of a key or token that two parties share, or None. The text never contains the secret."""
    if not secret.strip():
        return "is empty: set the variable or the file that holds it"
    if secret != secret.strip():
        return "has white space at its ends: remove it"
    if _PLACEHOLDER.fullmatch(secret):
        return "is a placeholder: put the real one in its place"
    if len(secret) < SHORTEST:
        return f"is too short: it needs at least {SHORTEST} characters"
    return None


def store_key(text: str) -> bytes:
    """Return a key of the store. Raises ValueError with the fault, without showing the key."""
    if not text:
        raise ValueError(f"is empty: {_MAKE}, or remove this entry")
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"is not base64: {_MAKE}") from None
    if len(key) != _KEY_BYTES:
        raise ValueError(f"has {len(key)} bytes instead of {_KEY_BYTES}: {_MAKE}")
    if len(set(key)) < _LEAST_DISTINCT:
        raise ValueError(f"is not random: {_MAKE}")
    return key


def warn_if_readable(findings: Findings, root: Node, path: ConfigPath) -> None:
    """Warn about a secret that every reader of the configuration file can see."""
    followed, node = find_node(root, path)
    if not isinstance(node, Scalar) or node.value in {None, ""}:
        return
    if node.origin is Origin.WRITTEN:
        findings.warn(
            followed, node.place, "a secret in plain text: put it in an environment variable and write ${NAME}"
        )
    elif node.origin is Origin.DEFAULT:
        names = " and ".join(node.variables)
        findings.warn(followed, node.place, f"uses the default in this file, which is not a secret: set {names}")


def secret_settings(value: object, path: ConfigPath = ()) -> Iterator[tuple[ConfigPath, SecretStr]]:
    """Return the secrets in a connector's settings, each with its path in the configuration.

    In a map of free names, such as headers, all values may be typed as secrets so that they are never shown. Only those
    whose name suggests a secret are returned.
    """
    if isinstance(value, SecretStr):
        yield path, value
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from secret_settings(getattr(value, name), (*path, field.alias or name))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(each, SecretStr) or _SECRET_NAME.search(str(key)):
                yield from secret_settings(each, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for at, each in enumerate(value):
            yield from secret_settings(each, (*path, at))


def hidden_texts(settings: BaseModel, hidden: AbstractSet[ConfigPath]) -> list[str]:
    """Return the texts at the `hidden` paths of settings: those from variables and secret files, except short ones.

    The longer ones come first. A URL is there also as it is sent, and without its query, whose secrets may be masked.
    """
    if not hidden:
        return []
    values = settings.model_dump(by_alias=True, exclude_none=True)
    texts = {each for text in _texts_at(values, (), hidden) for each in (text, *_other_spellings(text))}
    return sorted((each for each in texts if len(each) >= SHORTEST_HIDDEN), key=lambda each: (-len(each), each))


def _other_spellings(text: str) -> Iterator[str]:
    if "://" in text and "{{" not in text and "{%" not in text:
        with contextlib.suppress(ValueError):
            url = URL(text)
            yield from (str(url), str(url.with_query(None)))


def _texts_at(value: object, path: ConfigPath, hidden: AbstractSet[ConfigPath]) -> Iterator[str]:
    if isinstance(value, str) and path in hidden:
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts_at(each, (*path, str(key)), hidden)
    elif isinstance(value, list | tuple):
        for at, each in enumerate(value):
            yield from _texts_at(each, (*path, at), hidden)
