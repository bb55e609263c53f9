"""The program of a chaos run: one whose clock can be moved, and whose configuration changes while it runs."""

import mmap
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.launcher import SHIFT
from tests.chaos.supervised import ROOT, Supervised

_LAUNCHER = Path(__file__).with_name("launcher.py")


class Victim(Supervised):
    """`leadbridge serve` with a clock that can be moved.

    Args:
        folder: Of the configuration and the store; may be a small disk.
        beside: A folder for the log and the clock, which must not run full.
        settings: The configuration; `server.listen` and `server.admin` are put in here.
        environment: What the configuration takes from the environment.
    """

    def __init__(self, folder: Path, beside: Path, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._clock_file = beside / "clock"
        self._clock_file.write_bytes(SHIFT.pack(0.0))
        known = {**environment, "CHAOS_CLOCK": str(self._clock_file), "PYTHONPATH": str(ROOT)}
        super().__init__(folder, beside / "log", settings, known, (sys.executable, "-P", str(_LAUNCHER)))

    def set_clock(self, shift: float) -> None:
        """Move its clock, at once: so many seconds before or after the true time."""
        with self._clock_file.open("r+b") as file, mmap.mmap(file.fileno(), SHIFT.size) as shared:
            shared[:] = SHIFT.pack(shift)

    def configure(self, text: str | None = None, **destination: Any) -> None:
        """Write another configuration and have it read: one with these settings at each destination, or any text."""
        changed = {name: {**each, **destination} for name, each in self.settings["destinations"].items()}
        written = yaml.safe_dump({**self.settings, "destinations": changed}, sort_keys=False) if text is None else text
        self.config.write_text(written)
        self.signal(signal.SIGHUP)
