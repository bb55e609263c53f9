"""Runs the scripts beside it in Node, the reference for what JavaScript does."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

_SCRIPTS = Path(__file__).parent
_SECONDS = 60


def run_script(name: str, bodies: Iterable[bytes], *arguments: str) -> bytes:
    """Feed bodies to a script, each behind its length (four bytes, big-endian), and give what it writes.

    Without Node the test is skipped at a desk; where the environment variable CI is set it fails.
    """
    node = shutil.which("node")
    if node is None:
        reason = "node is not installed: nothing to compare with"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    framed = b"".join(len(body).to_bytes(4) + body for body in bodies)
    command = [node, str(_SCRIPTS / name), *arguments]
    return subprocess.run(command, input=framed, stdout=subprocess.PIPE, check=True, timeout=_SECONDS).stdout


def json_forms(bodies: Iterable[bytes], *arguments: str) -> list[bytes | None]:
    """Give Node's JSON form of each body, None where JSON.parse refuses it; with `canonical`, that of RFC 8785."""
    output = run_script("json_form.js", bodies, *arguments)
    forms: list[bytes | None] = []
    at = 0
    while at < len(output):
        size = int.from_bytes(output[at : at + 4])
        at += 4
        if size == 0xFFFFFFFF:
            forms.append(None)
            continue
        forms.append(output[at : at + size])
        at += size
    return forms
