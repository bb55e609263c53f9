"""`leadbridge demo` as a process of its own."""

import json
import re
import signal
import subprocess
import sys
import urllib.request


def _read(address: re.Match[str] | None, path: str) -> str:
    """Read a page of the dashboard, which needs no token on this machine."""
    assert address
    with urllib.request.urlopen(address[1] + path) as answer:
        text: str = answer.read().decode()
    return text


def test_the_demo_shows_both_crms_and_that_all_is_well() -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "bridge.cli", "demo", "--keep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            lines = []
            while line := process.stdout.readline():
                lines.append(line)
                if "Ctrl-C ends it" in line:
                    break
            shown = "".join(lines)
            overview, page = (
                _read(re.search("Dashboard, .*: (.*)", shown), path) for path in ("api/overview", "leads")
            )
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, shown + errors
    assert not rest + errors
    assert json.loads(overview)["deliveries"]["delivered"] == 14
    assert "David" in page
    assert "✗" not in shown
    head, hubspot, salesforce, notified = re.split(r"HubSpot holds|Salesforce holds|Salespeople are notified", shown)
    assert "signed with another key: 401" in head
    assert re.findall(r"delivered +(\d)", head) == [*"111111111", *"221", *"11"], "one was retried at each CRM"
    assert (
        re.findall(r"^(\w+) +\d+ ", hubspot, re.MULTILINE)
        == ["contact"] * 4 + ["note"] * 4 + ["meeting"] + ["deal"] * 4
    )
    assert set(re.findall(r"owner:\s+(\w+)@", hubspot)) == {"ann", "bob"}
    assert re.findall(r"^(\w+) +00[QU]", salesforce, re.MULTILINE) == ["lead"] * 4 + ["event"]
    assert sorted(re.findall(r"^New lead: (\w+) ", notified, re.MULTILINE)) == ["Ada", "David", "Grace", "小明"]
    assert "7 requests, 14 deliveries: nothing lost, nothing doubled." in notified
