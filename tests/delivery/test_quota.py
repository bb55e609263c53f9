import pytest

from bridge.delivery.rate_limit import QuotaHold, quota_hold
from connectors.base import Quota

NOW = 1000.0


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ([], QuotaHold()),
        ([Quota("daily", 100, 40, NOW + 5, reserve=20)], QuotaHold()),
        ([Quota("daily", 100, 20, NOW + 5, reserve=20)], QuotaHold(0.0, NOW + 5)),
        ([Quota("daily", 100, 0, NOW + 5, reserve=20)], QuotaHold(NOW + 5, NOW + 5)),
        ([Quota("daily", 100, 1, NOW + 5)], QuotaHold()),
        ([Quota("daily", 100, 5, NOW + 9, reserve=20), Quota("10 s", 10, 0, NOW + 3)], QuotaHold(NOW + 3, NOW + 9)),
    ],
)
def test_the_strictest_quota_counts(quotas: list[Quota], expected: QuotaHold) -> None:
    assert quota_hold(quotas) == expected


def test_it_says_when_to_look_again() -> None:
    held = QuotaHold(nothing_until=NOW + 1, retries_until=NOW + 9)
    assert [held.after(now) for now in (NOW, NOW + 1, NOW + 9)] == [NOW + 1, NOW + 9, None]
