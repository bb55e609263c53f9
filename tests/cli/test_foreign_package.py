"""A package of another project that is named `connectors`, too, in place of this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def version_beside(folder: Path) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(folder), str(ROOT)])
    environ = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "bridge.cli", "--version"]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("content", ["", "PROJECT = 'another'\n"])
def test_another_package_of_the_same_name_is_named_in_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "connectors").mkdir()
    (tmp_path / "connectors/__init__.py").write_text(content)

    started = version_beside(tmp_path)

    assert started.returncode == 1
    assert started.stderr.startswith(f"leadbridge: the Python package `connectors` in {tmp_path / 'connectors'} is ")
    assert "environment of its own" in started.stderr
    assert started.stderr.count("\n") == 1


def test_ours_is_taken(tmp_path: Path) -> None:
    started = version_beside(tmp_path)
    assert started.returncode == 0, started.stderr
