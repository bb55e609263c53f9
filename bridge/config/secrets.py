"""Secrets in the configuration: whether they can be real, and whether they are where secrets should be. Pure."""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import BaseModel, SecretStr

from bridge.config.diagnostics import ConfigPath, Findings
from bridge.config.yaml_tree import Node, Origin, Scalar, find_node

SHORTEST: Final = 16
"""Characters that a key or token must have: fewer can be guessed."""
_PLACEHOLDER: Final = re.compile(
    r"(.)\1*|x{3,}[-_ ].*|(change|replace)[-_ ]?me.*|(your|put|insert|enter|paste)[-_ ].*|<.*>|\[.*\]|\{.*\}"
    r"|to[-_ ]?do.*|place-?holder.*|(my[-_ ]?)?(sign(ing)?[-_ ]?)?(key|secret|token|password)",
    re.IGNORECASE | re.DOTALL,
)
_MAKE: Final = "make one with `openssl rand -base64 32`"
_KEY_BYTES: Final = 32
_LEAST_DISTINCT: Final = 8
"""Different bytes that any random key has."""
_TELLING_NAME: Final = re.compile(r"auth|cookie|credential|key|pass|secret|signature|token", re.IGNORECASE)


def key_fault(secret: str) -> str | None:
    """Say what is wrong with a key or token that somebody else holds too, or None. Never shows it."""
    if secret != secret.strip():
        return "has white space at its ends: remove it"
    if _PLACEHOLDER.fullmatch(secret):
        return "is a placeholder: put the real one in its place"
    if len(secret) < SHORTEST:
        return f"is too short: at least {SHORTEST} characters are needed"
    return None


def store_key(written: str) -> bytes:
    """Read a key of the store. Raises ValueError with what is wrong; never shows it."""
    if not written:
        raise ValueError(f"is empty: {_MAKE}, or take the key out of the list")
    try:
        key = base64.b64decode(written, validate=True)
    except ValueError:
        raise ValueError(f"is not base64: {_MAKE}") from None
    if len(key) != _KEY_BYTES:
        raise ValueError(f"is {len(key)} bytes long, and must be {_KEY_BYTES}: {_MAKE}")
    if len(set(key)) < _LEAST_DISTINCT:
        raise ValueError(f"is not random: {_MAKE}")
    return key


def warn_if_readable(findings: Findings, root: Node, path: ConfigPath) -> None:
    """Warn about a secret that anybody who sees the configuration file can read."""
    followed, node = find_node(root, path)
    if not isinstance(node, Scalar) or node.value in {None, ""}:
        return
    if node.origin is Origin.WRITTEN:
        findings.warn(followed, node.place, "a secret in clear: put it in an environment variable and write ${NAME}")
    elif node.origin is Origin.DEFAULT:
        names = " and ".join(node.variables)
        findings.warn(followed, node.place, f"a secret from the default in this file, which is no secret: set {names}")


def secret_settings(value: object, path: ConfigPath = ()) -> Iterator[tuple[ConfigPath, SecretStr]]:
    """Find the secrets in a connector's settings, each with its path by the keys that the configuration uses.

    In a map of free names (headers) all values may be typed as secrets, so that none is ever shown; there only those
    count whose name says so.
    """
    if isinstance(value, SecretStr):
        yield path, value
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from secret_settings(getattr(value, name), (*path, field.alias or name))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(each, SecretStr) or _TELLING_NAME.search(str(key)):
                yield from secret_settings(each, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for at, each in enumerate(value):
            yield from secret_settings(each, (*path, at))
