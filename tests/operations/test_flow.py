"""The flow: what goes from chatbots through routes to destinations, how each does, and its picture."""

import re
import time
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import Connection

from bridge.admin.authentication import Caller, Role
from bridge.admin.dashboard.flow_chart import flow_chart
from bridge.admin.dashboard.rendering import Rendering
from bridge.operations.overview import Flow, FlowCounts, FlowNode, FlowRoute, FlowState, read_flow
from bridge.operations.problems import find_problems
from bridge.store import commands
from bridge.store.driver import Driver
from bridge.store.interface import Pause
from bridge.store.sql import SqlStore
from bridge.store.transaction import transaction
from connectors.base import Delivered, Outcome, Reason, Rejected
from tests.building import NOW, FakeConnector, chatbot, config, destination, route, routed
from tests.store.test_tally import settle

CONFIG = config(
    [
        chatbot("acme", route("crm"), route("crm#2", destination="crm"), route("mail")),
        chatbot("hotel", route("crm"), serial_numbers=("2",)),
        chatbot("law", serial_numbers=("3",)),
    ],
    [destination(name, FakeConnector()) for name in ("crm", "mail", "unused")],
)


async def send(store: SqlStore, name: str, to: str, outcome: Outcome | None, at: float = NOW) -> None:
    made = routed(to, received_at=at)
    await store.accept([made._replace(event=made.event._replace(chatbot=name))])
    if outcome:
        due = await store.due("crm", 0, 100)
        await settle(store, {due[-1].id: outcome}, at + 1.0)


@pytest.mark.each_engine
async def test_numbers_and_states_of_chatbots_routes_and_destinations(store: SqlStore, driver: Driver) -> None:
    await send(store, "acme", "crm", Delivered("1"))
    await send(store, "acme", "crm", Delivered("2", warning="left out"))
    await send(store, "acme", "crm", Delivered("3"), NOW - 86_400)
    await send(store, "hotel", "crm", Rejected(Reason.REFUSED, "no"))
    await send(store, "acme", "mail", None)
    await send(store, "hotel", "gone", None, NOW - 86_400)
    with transaction(driver) as connection:
        commands.pause_lane(connection, "mail", Pause("operator", "moving", since=NOW))
        flow = read_flow(connection, CONFIG, NOW)
        own = read_flow(connection, CONFIG, NOW, {"acme"})

    chatbots = {each.name: (each.counts, each.state) for each in flow.chatbots}
    assert chatbots == {
        "acme": (FlowCounts(3, 1, 0), FlowState.WAITING),
        "hotel": (FlowCounts(1, 1, 1), FlowState.BAD),
        "law": (FlowCounts(), FlowState.QUIET),
    }
    assert {(each.chatbot, each.destination): (each.names, each.counts) for each in flow.routes} == {
        ("acme", "crm"): (["crm", "crm#2"], FlowCounts(2)),
        ("acme", "mail"): (["mail"], FlowCounts(0, 1)),
        ("hotel", "crm"): (["crm"], FlowCounts(0, 0, 1)),
        ("hotel", "gone"): ([], FlowCounts(0, 1)),
    }
    destinations = {each.name: (each.counts, each.state, each.remark) for each in flow.destinations}
    assert destinations["mail"] == (FlowCounts(0, 1), FlowState.WAITING, "paused")
    assert destinations["gone"] == (FlowCounts(0, 1), FlowState.BAD, "removed")
    assert destinations["crm"][0] == FlowCounts(2, 0, 1)
    assert destinations["unused"][0] == FlowCounts()

    assert [each.name for each in own.chatbots] == ["acme"]
    assert {each.name: each.counts for each in own.destinations} == {"crm": FlowCounts(2), "mail": FlowCounts(0, 1)}


def test_the_picture_links_everything_and_escapes_names() -> None:
    evil = '<script>"&'
    flow = Flow(
        [FlowNode("acme", FlowCounts(1, 2, 3), FlowState.BAD, "silent"), FlowNode(evil, FlowCounts(), FlowState.QUIET)],
        [FlowRoute("acme", "crm", ["crm"], FlowCounts(1, 2, 3)), FlowRoute(evil, "a" * 64, [], FlowCounts())],
        [
            FlowNode("crm", FlowCounts(1, 2, 3), FlowState.BAD, "paused"),
            FlowNode("a" * 64, FlowCounts(), FlowState.QUIET),
        ],
    )
    drawn = ET.fromstring(flow_chart(flow))
    links = [each.attrib["href"] for each in drawn.iter("a")]
    assert links == [
        "/chatbots/acme",
        "/chatbots/%3Cscript%3E%22%26",
        "/leads?chatbot=acme&destination=crm",
        f"/leads?chatbot=%3Cscript%3E%22%26&destination={'a' * 64}",
        "/destinations/crm",
        f"/destinations/{'a' * 64}",
    ]
    texts = [each.text for each in drawn.iter("text")]
    assert "paused, 1 today, 2 waiting, 3 not delivered" in texts
    assert "silent" in texts
    assert any(re.fullmatch("a+…", text or "") for text in texts)
    assert {each.attrib["class"] for each in drawn.iter("path")} == {"bad", "quiet"}


def test_an_empty_configuration_has_an_empty_picture() -> None:
    assert "<svg" in flow_chart(Flow((), (), ()))


def seconds_of(connection: Connection, count: int) -> float:
    """Return the processor time of the page and of the problems with as many chatbots and destinations."""
    chatbots = [chatbot(f"c{each}", route(f"d{each}"), serial_numbers=(f"{each}",)) for each in range(count)]
    many = config(chatbots, [destination(f"d{each}", FakeConnector()) for each in range(count)])
    rendering, caller = Rendering(), Caller(Role.OPERATOR, "127.0.0.1")
    rendering.text("flow.html", caller, flow=Flow((), (), ()), said=None, problem_count=0)
    began = time.process_time()
    found = find_problems(connection, many, NOW, only={each.name for each in chatbots})
    flow = read_flow(connection, many, NOW)
    rendering.text("flow.html", caller, flow=flow, said=None, problem_count=len(found))
    return time.process_time() - began


async def test_ten_times_the_chatbots_cost_about_ten_times_as_much(store: SqlStore, driver: Driver) -> None:
    """Pages are made beside the traffic, in the same process."""
    with transaction(driver) as connection:
        few, many = (min(seconds_of(connection, count) for _ in range(3)) for count in (150, 1_500))
        assert many < 25 * few
