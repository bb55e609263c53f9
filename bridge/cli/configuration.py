"""Finding the configuration and reading it; the one place of the commands that does."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bridge.cli import output
from bridge.config import Config
from bridge.config.load import load_placed
from bridge.config.places import Places
from bridge.config.reload import tolerant
from bridge.errors import OperatorError

VARIABLE = "LEADBRIDGE_CONFIG"
DEFAULT = "config.yaml"

T = TypeVar("T")


def find(path: Path | None) -> Path:
    """Give the path of the configuration: the one given, else the variable's, else the default.

    Raises OperatorError if there is nothing there.
    """
    found = path or Path(os.environ.get(VARIABLE) or DEFAULT)
    if not found.exists():
        raise OperatorError(f"{found}: no such file or folder; name the configuration, or set {VARIABLE} to its path")
    return found


def read(path: Path | None) -> Config:
    """Find and read the configuration, without the files of a folder that have errors, as `serve` does.

    Writes the errors of these files to standard error. Raises ConfigError if nothing can be done without them, or
    OperatorError.
    """
    found = find(path)
    config = _made(lambda: tolerant(found, os.environ)[0])
    for each in (problem for file in config.left_out for problem in file.problems):
        output.complain(str(each))
    return config


def read_whole(path: Path | None) -> Config:
    """Find and read the configuration. Raises ConfigError with everything that is wrong with it, or OperatorError."""
    return read_placed(path)[0]


def read_placed(path: Path | None) -> tuple[Config, Places]:
    """Do what `read_whole` does, and tell beside it where everything stands."""
    found = find(path)
    return _made(lambda: load_placed(found, os.environ))


def _made(make: Callable[[], T]) -> T:
    # A thousand files are a million objects, all of which stay. To look for garbage among them takes a fifth of the
    # time while they are made, and as much again each time, the last when the process ends.
    gc.disable()
    try:
        return make()
    finally:
        gc.freeze()
        gc.enable()
