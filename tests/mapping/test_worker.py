"""Work on a lead's values: in the event loop, or in the thread if it takes long."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from yarl import URL

from bridge.mapping import budget, worker
from bridge.mapping.budget import INLINE_STEPS, STEPS, LimitError
from connectors.base import Connector, Rejected
from connectors.http.connector import HttpConnector
from connectors.hubspot.connector import HubSpotConnector
from connectors.testing import Sandbox
from tests.connectors.building import context, record

LOOPS = "{% for a in Content %}{% for b in Content %}{{ a }}{% endfor %}{% endfor %}"


def working(steps: int) -> Callable[[], str]:
    def work() -> str:
        budget.current_budget().charge(steps)
        return threading.current_thread().name

    return work


async def test_little_work_is_done_in_the_event_loop_and_much_in_the_thread() -> None:
    assert await worker.aside(working(INLINE_STEPS)) == threading.main_thread().name
    assert await worker.aside(working(INLINE_STEPS + 1)) == "mapping_0"


async def test_the_thread_has_a_bound_too() -> None:
    with pytest.raises(LimitError):
        await worker.aside(working(STEPS + 1))


def _http(url: str, aside: Any) -> Connector:
    settings = {"url": url, "body": {"template": LOOPS, "content_type": "text/plain"}, "allow_private": True}
    return HttpConnector(HttpConnector.destination_settings.model_validate(settings), context(offload=aside))


def _hubspot(url: str, aside: Any) -> Connector:
    settings = {"access_token": "a-token-of-a-private-app", "base_url": str(URL(url).origin()), "allow_private": True}
    return HubSpotConnector(HubSpotConnector.destination_settings.model_validate(settings), context(offload=aside))


@pytest.mark.parametrize("make", [_http, _hubspot])
async def test_templates_of_connectors_take_no_more_than_a_mapping(make: Callable[[str, Any], Connector]) -> None:
    threads = []

    async def aside(step: Callable[[], Any]) -> Any:
        def noted() -> Any:
            threads.append(threading.current_thread().name)
            return step()

        return await worker.aside(noted)

    async with Sandbox() as crm:
        connector = make(crm.url, aside)
        route = connector.route_settings.model_validate({"remark": LOOPS} if make is _hubspot else {})
        (outcome,) = await connector.deliver([replace(record(Content="ab " * 5_000), route=route)])
        await connector.close()
    assert isinstance(outcome, Rejected)
    assert "steps" in outcome.detail
    assert threads == [threading.main_thread().name, "mapping_0"]
    assert not crm.ledger
