"""The listings stay quick however much the store holds: each page is found by an index, none is sorted together."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from bridge.event import EventState
from bridge.operations.audit import Action
from bridge.store import audit_log, history, lane_queries, queries, statistics
from bridge.store.driver import Driver
from bridge.store.interface import DeliveryState
from bridge.store.queries import PageRequest
from bridge.store.search import DeliveryFilter, find_deliveries

PENDING = DeliveryState.PENDING
DEAD = DeliveryState.DEAD


@pytest.fixture
def engine(driver: Driver) -> Engine:
    made = driver.engine()
    with made.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO events (id, received_at, chatbot, state, type, form, payload) "
            "VALUES (randomblob(16), 1.0, 'acme', 'accepted', 'Lead', 'raw', x'7b7d')"
        )
        connection.exec_driver_sql(
            "INSERT INTO deliveries (event_seq, route, destination, contact, state, due_at) "
            "VALUES (1, 'crm', 'crm', 1, 'pending', 1.0), (1, 'mail', 'mail', 1, 'pending', 1.0)"
        )
    return made


def plans(engine: Engine, ask: Callable[[Connection], object]) -> list[str]:
    """Ask, and give the steps of the engine's plans for it."""
    steps: list[str] = []

    def explain(connection: Connection, _: object, statement: str, parameters: Any, *__: object) -> None:
        driver = connection.connection.driver_connection
        assert driver
        steps.extend(row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    event.listen(engine, "before_cursor_execute", explain)
    with engine.connect() as connection:
        ask(connection)
    return [step for step in steps if step]


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda c: queries.event_page(c, PageRequest(before=9)), "INTEGER PRIMARY KEY (rowid<?)"),
        (lambda c: queries.event_page(c, PageRequest(), EventState.UNRECOGNISED), "ix_events_unrecognised"),
        (lambda c: queries.events_like(c, "0069"), "(id>? AND id<?)"),
        (lambda c: queries.delivery_page(c, PageRequest(before=9)), "INTEGER PRIMARY KEY (rowid<?)"),
        (lambda c: queries.delivery_page(c, PageRequest(), DEAD), "ix_deliveries_dead"),
        (lambda c: find_deliveries(c, DeliveryFilter(warning=True)), "ix_deliveries_warned"),
        (lambda c: statistics.warned_deliveries(c, 1.0), "ix_deliveries_warned"),
        (
            lambda c: queries.delivery_page(c, PageRequest(destination="crm"), DEAD),
            "ix_deliveries_causes (destination=?)",
        ),
        (lambda c: queries.delivery_page(c, PageRequest(), PENDING), "ix_deliveries_due (destination=?)"),
        (lambda c: queries.delivery_page(c, PageRequest(chatbot="acme"), PENDING), "ix_deliveries_due (destination=?)"),
        (
            lambda c: queries.delivery_page(c, PageRequest(destination="crm"), PENDING),
            "ix_deliveries_due (destination=?)",
        ),
        (lambda c: queries.deliveries_of(c, 1), "(event_seq=?)"),
        (lambda c: queries.delivery_details(c, 1), "PRIMARY KEY (delivery_id=?)"),
        (lambda c: lane_queries.all_lanes(c, ["crm"], 1.0), "COVERING INDEX ix_deliveries_due"),
        (lambda c: queries.quarantine_page(c, PageRequest(before=9)), "INTEGER PRIMARY KEY (rowid<?)"),
        (lambda c: history.delivered_page(c, "crm", 1, 9), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (lambda c: history.count_events(c, 1, 9), "events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (lambda c: history.count_events(c, 1, 9), "(event_seq=?)"),
        (lambda c: audit_log.list_entries(c, before=9), "INTEGER PRIMARY KEY (rowid<?)"),
        (lambda c: audit_log.list_entries(c, Action.PAUSE, 9), "ix_audit_action (action=? AND id<?)"),
    ],
)
def test_an_index_answers(engine: Engine, ask: Callable[[Connection], object], index: str) -> None:
    steps = plans(engine, ask)

    assert any(index in step for step in steps), steps


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: queries.event_page(c, PageRequest(chatbot="acme")),
        lambda c: queries.delivery_page(c, PageRequest()),
        lambda c: queries.delivery_page(c, PageRequest(chatbot="acme", destination="crm")),
        lambda c: queries.delivery_page(c, PageRequest(chatbot="acme"), DEAD),
        lambda c: audit_log.list_entries(c, Action.PAUSE, 9),
    ],
)
def test_a_page_is_read_in_its_order_and_not_sorted(engine: Engine, ask: Callable[[Connection], object]) -> None:
    assert not [step for step in plans(engine, ask) if "ORDER BY" in step]


def test_every_destination_that_something_waits_for_is_listed(engine: Engine) -> None:
    with engine.connect() as connection:
        found = queries.delivery_page(connection, PageRequest(), PENDING)

    assert [(row.id, row.destination) for row in found] == [(2, "mail"), (1, "crm")]
