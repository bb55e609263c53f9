"""The chaos run in small (`make chaos` is the long one), and that its plan and its verdict are to be trusted.

A SIGKILL takes nothing from the kernel, a power cut does: so it is looked at too what was on the disk at a success.
"""

import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance import program
from tests.acceptance.configured import ENVIRONMENT, FIELDS, chatbot, http, settings
from tests.acceptance.sending import Sender, lead
from tests.chaos.load import Ledger
from tests.chaos.plan import Blow, plan
from tests.chaos.run import Engine, run
from tests.chaos.verdict import Result, judge

pytestmark = pytest.mark.alone

SEED = 1
KILLS = 5


async def test_no_acknowledged_lead_is_lost_or_doubled() -> None:
    result = await run(SEED, KILLS, Engine.SMALL_DISK)
    assert result.findings == [], f"{result}; again: python -m tests.chaos --quick --runs 1 --seed {SEED}"
    assert result.kills >= KILLS, result
    assert result.acknowledged > 100, f"too little load to show anything: {result}"
    assert result.cuts, result
    assert result.faults, result


def test_a_seed_is_a_plan() -> None:
    steps = plan(7, 20, frozenset(Blow))
    assert steps == plan(7, 20, frozenset(Blow))
    assert steps != plan(8, 20, frozenset(Blow))
    assert {step.blow for step in steps} == set(Blow)
    assert sum(step.kills for step in steps) >= 20


def test_the_verdict_finds_what_is_wrong() -> None:
    ledger = Ledger()
    ledger.sent |= {1, 2, 3}
    ledger.note(1, 200, b'{"status":"success"}', None)
    ledger.note(2, 200, b'{"status":"success"}', None)
    ledger.note(3, 503, b'{"status":"error"}', "30")
    good = Result(0, "")
    judge(good, ledger, {"crm": Counter([1, 2, 3])}, {"delivered": 3})
    assert (good.findings, good.acknowledged, good.sent) == ([], 2, 3)

    ledger.note(3, 503, b'{"status":"error"}', None)
    bad = Result(0, "")
    judge(bad, ledger, {"crm": Counter([1, 1, 4])}, {"delivered": 2, "dead": 1})
    assert (bad.lost, bad.doubled) == (1, 1)
    assert [text.partition(":")[0] for text in bad.findings[:3]] == ["crm"] * 3, "lost, doubled, never sent"
    assert len(bad.findings) == 5


_CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(?:\(\d+<(.*?)>)?(.*)")
CALLS = "fsync,fdatasync,pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg"


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the calls of a program that is started go to; it is skipped where nobody may look at them."""
    written = tmp_path / "trace"
    tracing = ["strace", "-f", "-y", "-o", str(written), "-e", f"trace={CALLS}"]
    if not shutil.which("strace") or subprocess.run([*tracing, "true"], check=False, capture_output=True).returncode:
        pytest.skip("there is no strace, or it may not be used")
    monkeypatch.setattr(program, "COMMAND", [*tracing, *program.COMMAND])
    return written


async def test_a_success_is_sent_when_the_disk_has_the_lead(trace: Path, tmp_path: Path) -> None:
    # No delivery: what its lane writes would stand between the calls that are looked at.
    route = {"to": "crm", "when": 'Content == "another"', "fields": FIELDS}
    wanted = settings({"crm": http("http://127.0.0.1:9/")}, chatbot([route]))
    async with program.Program(tmp_path, wanted, ENVIRONMENT) as traced, Sender(traced) as sender:
        await traced.start()
        for _ in range(3):
            await sender.deliver(lead())
        traced.signal(signal.SIGKILL)
    *_, first, second, third = _before_each_success(trace)
    for steps in (first, second, third):
        assert steps[-1:] == ["synced"], f"success was sent after {steps}"
        assert "written" in steps


def _before_each_success(trace: Path) -> Iterator[list[str]]:
    """Give what happened to the store's log before each answer of success, since the one before."""
    steps: list[str] = []
    syncing: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        found = _CALL.match(line)
        if not found:
            continue
        thread, call, path, rest = found.groups()
        if path and path.endswith("-wal") and call.startswith("pwrite"):
            steps.append("written")
        elif call in {"fsync", "fdatasync"}:
            path = syncing.setdefault(thread, path or "")
            if rest.endswith("= 0"):
                if path.endswith("-wal"):
                    steps.append("synced")
                del syncing[thread]
        elif "HTTP/1.1 200" in rest:
            yield steps
            steps = []
