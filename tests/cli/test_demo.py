"""`leadbridge demo` as a process of its own."""

import re
import subprocess
import sys


def test_the_demo_shows_both_crms_and_that_all_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bridge.cli", "demo"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert "✗" not in done.stdout
    head, hubspot, salesforce = re.split(r"HubSpot holds|Salesforce holds", done.stdout)
    assert "signed with another key: 401" in head
    assert re.findall(r"delivered +(\d)", head) == ["1"] * 6 + ["2", "2", "1", "1"], "one was retried at each CRM"
    assert (
        re.findall(r"^(\w+) +\d+ ", hubspot, re.MULTILINE)
        == ["contact"] * 4 + ["note"] * 4 + ["meeting"] + ["deal"] * 4
    )
    assert set(re.findall(r"owner: (\w+)@", hubspot)) == {"ann", "bob"}
    assert re.findall(r"^(\w+) +00[QU]", salesforce, re.MULTILINE) == ["lead"] * 4 + ["event"]
    assert "7 requests, 10 deliveries: nothing lost, nothing doubled." in salesforce
