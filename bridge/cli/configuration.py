"""Finding the configuration and reading it; the one place of the commands that does."""

import gc
import os
from pathlib import Path

from bridge.config import Config, load
from bridge.errors import OperatorError

VARIABLE = "LEADBRIDGE_CONFIG"
DEFAULT = "config.yaml"


def find(path: Path | None) -> Path:
    """Give the path of the configuration: the one given, else the variable's, else the default.

    Raises OperatorError if there is nothing there.
    """
    found = path or Path(os.environ.get(VARIABLE) or DEFAULT)
    if not found.exists():
        raise OperatorError(f"{found}: no such file or folder; name the configuration, or set {VARIABLE} to its path")
    return found


def read(path: Path | None) -> Config:
    """Find and read the configuration. Raises ConfigError with all that is wrong with it, or OperatorError."""
    found = find(path)
    gc.disable()  # a thousand files are a million objects, all of which stay: looking for garbage takes a fifth of it
    try:
        return load(found, os.environ)
    finally:
        gc.enable()
