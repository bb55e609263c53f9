"""The files for Prometheus and Grafana against the program: what they ask for is there."""

import json
import re
from pathlib import Path

import pytest
import yaml

from bridge.admin.health import Metrics
from bridge.delivery.retry import CallTiming
from bridge.event import EventState
from bridge.ingress.signature import SignatureFault
from bridge.store.lane_queries import LaneRow
from connectors.base import Delivered, Quota, Reason, Retry

DOCS = Path(__file__).parent.parent.parent / "docs"
RULES = yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"][0]["rules"]
PANELS = json.loads((DOCS / "grafana.json").read_text())["panels"]
OPERATIONS = (DOCS / "operate" / "operations.md").read_text()
ASKED = [each["expr"] for each in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]


def shown() -> str:
    metrics = Metrics()
    metrics.received("acme", "accepted")
    metrics.attempted("crm", Delivered(), CallTiming(0.0, 1.0), 0.0)
    warned = Delivered(warning="left out", left_out=("phone",))
    metrics.attempted("crm", warned, CallTiming(0.0, 1.0), 0.0)
    metrics.attempted("crm", Delivered(warning="cut"), CallTiming(0.0, 1.0), 0.0)
    metrics.attempted("crm", Retry(Reason.TIMEOUT, ""), CallTiming(0.0, 1.0), 0.0)
    metrics.committed(3, 0.001)
    metrics.reloaded("complete", 0)
    lanes = [LaneRow("crm", None, None, 2, 10.0, 1)]
    return metrics.text(lanes, {"crm": [Quota("daily", 100, 7, 0.0)]}, 70.0).decode()


@pytest.mark.parametrize("asked", ASKED)
def test_each_question_is_about_metrics_that_there_are(asked: str) -> None:
    there = shown()
    for name, labels in re.findall(r"(leadbridge_\w+)(?:\{([^}]*)\})?", asked):
        assert re.search(rf"^{name}(\{{| )", there, re.MULTILINE), name
        for label in re.findall(r"(\w+)(?:=~?|!=)", labels):
            assert re.search(rf"^{name}\{{[^}}]*\b{label}=", there, re.MULTILINE), f"{name}: {label}"


def test_the_results_that_alerts_wait_for_are_those_that_are_counted() -> None:
    results = {"accepted", "duplicate", "unavailable", "crowded", *EventState, *SignatureFault}
    for asked in ASKED:
        for named in re.findall(r'result=~?"([^"]+)"', asked):
            assert set(named.split("|")) <= results


@pytest.mark.parametrize("result", ["unavailable", "crowded"])
def test_an_alert_waits_for_each_result_that_may_lose_a_lead(result: str) -> None:
    assert any(f'result="{result}"' in rule["expr"] for rule in RULES)


def test_every_metric_is_explained() -> None:
    for name in re.findall(r"^# TYPE (leadbridge_\w+?)(?:_created)? \w+$", shown(), re.MULTILINE):
        assert f"`{name}" in OPERATIONS, name


def test_every_alert_has_a_remedy() -> None:
    for rule in RULES:
        assert rule["alert"] in OPERATIONS
        assert {"summary", "description"} <= rule["annotations"].keys()


def test_warnings_are_counted_by_field() -> None:
    text = shown()
    assert 'leadbridge_warnings_total{destination="crm",field="phone"} 1.0' in text
    assert 'leadbridge_warnings_total{destination="crm",field=""} 1.0' in text


def test_a_destination_that_has_gone_is_not_shown_any_more() -> None:
    metrics = Metrics()
    metrics.text([LaneRow("old", "me", None, 0, None, 0)], {}, 0.0)
    text = metrics.text([LaneRow("crm", "me", None, 0, None, 0)], {}, 0.0).decode()
    assert 'leadbridge_pending{destination="crm"} 0.0' in text
    assert '"old"' not in text
