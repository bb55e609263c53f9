import pytest

from bridge.delivery.quota import Allowance, quota_allowance
from connectors.base import Quota

NOW = 1000.0


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ([], Allowance()),
        ([Quota("daily", 100, 40, NOW + 5, reserve=20)], Allowance()),
        ([Quota("daily", 100, 20, NOW + 5, reserve=20)], Allowance(0.0, NOW + 5)),
        ([Quota("daily", 100, 0, NOW + 5, reserve=20)], Allowance(NOW + 5, NOW + 5)),
        ([Quota("daily", 100, 1, NOW + 5)], Allowance()),
        ([Quota("daily", 100, 5, NOW + 9, reserve=20), Quota("10 s", 10, 0, NOW + 3)], Allowance(NOW + 3, NOW + 9)),
    ],
)
def test_the_strictest_quota_counts(quotas: list[Quota], expected: Allowance) -> None:
    assert quota_allowance(quotas) == expected


def test_it_says_when_to_look_again() -> None:
    held = Allowance(nothing_until=NOW + 1, retries_until=NOW + 9)
    assert [held.after(now) for now in (NOW, NOW + 1, NOW + 9)] == [NOW + 1, NOW + 9, None]
