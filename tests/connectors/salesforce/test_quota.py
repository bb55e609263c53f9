"""What the org says of the calls that are left, and what the lane is told of it."""

import pytest
from multidict import CIMultiDict

from bridge.delivery.rate_limit import QuotaHold, quota_hold
from connectors.base import Blame, Delivered, Retry
from connectors.salesforce.client import SalesforceQuotas
from connectors.testing.salesforce import SalesforceSandbox
from tests.connectors.building import NOW
from tests.connectors.salesforce.building import connector, record


def test_the_quota_is_read_from_every_form_of_the_header() -> None:
    usage = SalesforceQuotas(10)
    usage.note(CIMultiDict(), NOW)
    assert usage.quotas() == ()
    usage.note(CIMultiDict({"sforce-limit-info": "api-usage=18/5000"}), NOW)
    (daily,) = usage.quotas()
    assert (daily.name, daily.limit, daily.remaining, daily.reserve, daily.until) == (
        "daily",
        5000,
        4982,
        500,
        NOW + 900,
    )
    said = "api-usage=5001/5000; per-app-api-usage=17/250(appName=x)"
    usage.note(CIMultiDict({"Sforce-Limit-Info": said}), NOW)
    assert [(each.name, each.remaining) for each in usage.quotas()] == [("daily", 0), ("daily of the app", 233)]


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("api-usage=4000/5000; api-bursts=1/750", 1000),
        ("api-usage=5001/5000; api-bursts=1/750", 1),
        ("api-usage=5001/5000; api-bursts=750/750", 0),
        ("api-usage=5001/5000; api-bursts=0/0", 0),
    ],
)
def test_an_org_that_goes_on_past_its_limit_takes_new_leads(said: str, left: int) -> None:
    usage = SalesforceQuotas(10)
    usage.note(CIMultiDict({"Sforce-Limit-Info": said}), NOW)
    (daily,) = usage.quotas()
    assert (daily.name, daily.remaining, daily.reserve) == ("daily", left, 500)


def test_of_an_app_without_calls_nothing_is_left_though_the_org_goes_on() -> None:
    usage = SalesforceQuotas(10)
    said = "api-usage=5001/5000; per-app-api-usage=250/250(appName=x); api-bursts=1/750"
    usage.note(CIMultiDict({"Sforce-Limit-Info": said}), NOW)
    assert [each.remaining for each in usage.quotas()] == [1, 0]


async def test_the_quota_is_told_with_its_reserve() -> None:
    async with SalesforceSandbox(now=lambda: NOW, daily_limit=50) as org:
        target = connector(org, quota_reserve=20)
        assert target.quotas() == ()
        await target.deliver([record()])
        (quota,) = target.quotas()
        org.limits.use(48)
        (outcome,) = await target.deliver([record()])
        await target.close()
    assert (quota.limit, quota.remaining, quota.reserve) == (50, 48, 10)
    assert isinstance(outcome, Retry)
    assert (outcome.blame, outcome.after) == (Blame.DESTINATION, 900.0)
    assert target.quotas()[0].remaining == 0


async def test_new_leads_go_on_past_the_days_limit_where_the_org_goes_on() -> None:
    async with SalesforceSandbox(now=lambda: NOW, daily_limit=50) as org:
        org.limits.burst_hours = 2
        org.limits.use(50)
        target = connector(org)
        for _ in range(2):
            (outcome,) = await target.deliver([record()])
            assert isinstance(outcome, Delivered)
            assert quota_hold(target.quotas()) == QuotaHold(nothing_until=0.0, retries_until=NOW + 900)
        org.limits.burst_hours = 0
        (outcome,) = await target.deliver([record()])
        await target.close()
    assert isinstance(outcome, Retry)
    assert quota_hold(target.quotas()).nothing_until == NOW + 900


async def test_the_apps_own_quota_holds_the_lane() -> None:
    async with SalesforceSandbox(now=lambda: NOW) as org:
        org.limits.app = ("Leadbridge", 2)
        target = connector(org)
        (outcome,) = await target.deliver([record()])  # a describe and an upsert
        assert isinstance(outcome, Delivered)
        assert [(each.name, each.remaining) for each in target.quotas()] == [
            ("daily", 99_998),
            ("daily of the app", 0),
        ]
        assert quota_hold(target.quotas()).nothing_until == NOW + 900
        (outcome,) = await target.deliver([record()])
        await target.close()
    assert isinstance(outcome, Retry)
    assert (outcome.blame, outcome.after) == (Blame.DESTINATION, 900.0)
