"""Loading a configuration."""

from collections.abc import Mapping
from pathlib import Path

from bridge.config.model import Config


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read, check and compile the configuration at `path`, a YAML file or a folder of `*.yaml`.

    Raises:
        ConfigError: with all problems found.
    """
    raise NotImplementedError
