"""The listings stay quick however much the store holds: each page is found by an index, none is sorted together."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from bridge.event import EventState
from bridge.operations.audit import Action
from bridge.store import audit_log, figures, lane_queries, quarantine, queries, search
from bridge.store.driver import Driver
from bridge.store.filter import DeliveryFilter, EventFilter
from bridge.store.interface import DeliveryState
from bridge.store.queue import written_records
from bridge.store.search import find_deliveries, find_events

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
        (lambda c: find_events(c, EventFilter(before=9)), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (lambda c: find_events(c, EventFilter(state=EventState.UNRECOGNISED)), "ix_events_unrecognised"),
        (lambda c: queries.events_like(c, "0069"), "(id>? AND id<?)"),
        (lambda c: find_deliveries(c, DeliveryFilter(before=9)), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (lambda c: find_deliveries(c, DeliveryFilter(state=DEAD)), "ix_deliveries_dead"),
        (lambda c: find_deliveries(c, DeliveryFilter(warning=True)), "ix_deliveries_warned"),
        (lambda c: figures.warned_groups(c, 1.0), "ix_deliveries_warned"),
        (
            lambda c: find_deliveries(c, DeliveryFilter(destination="crm", state=DEAD)),
            "ix_deliveries_causes (destination=?",
        ),
        (lambda c: find_deliveries(c, DeliveryFilter(state=PENDING)), "ix_deliveries_due (destination=?"),
        (
            lambda c: find_deliveries(c, DeliveryFilter(chatbot="acme", state=PENDING)),
            "ix_deliveries_due (destination=?",
        ),
        (
            lambda c: find_deliveries(c, DeliveryFilter(destination="crm", state=PENDING)),
            "ix_deliveries_due (destination=?",
        ),
        (lambda c: written_records(c, [1, 2]), "ix_deliveries_contact (contact=?)"),
        (lambda c: queries.deliveries_of(c, 1), "(event_seq=?)"),
        (lambda c: queries.delivery_details(c, 1), "PRIMARY KEY (delivery_id=?)"),
        (lambda c: lane_queries.all_lanes(c, ["crm"], 1.0), "COVERING INDEX ix_deliveries_due"),
        (lambda c: quarantine.quarantine_page(c, before=9), "INTEGER PRIMARY KEY (rowid<?)"),
        (lambda c: search.delivered_page(c, "crm", 1, 9), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (lambda c: figures.count_events(c, 1, 9), "events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (lambda c: figures.count_events(c, 1, 9), "(event_seq=?)"),
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
        lambda c: find_events(c, EventFilter(chatbot="acme")),
        lambda c: find_deliveries(c, DeliveryFilter()),
        lambda c: find_deliveries(c, DeliveryFilter(chatbot="acme", destination="crm")),
        lambda c: audit_log.list_entries(c, Action.PAUSE, 9),
    ],
)
def test_a_page_is_read_in_its_order_and_not_sorted(engine: Engine, ask: Callable[[Connection], object]) -> None:
    assert not [step for step in plans(engine, ask) if "ORDER BY" in step]


def test_every_destination_that_something_waits_for_is_listed(engine: Engine) -> None:
    with engine.connect() as connection:
        found = find_deliveries(connection, DeliveryFilter(state=PENDING))

    assert [(row.id, row.destination) for row in found.rows] == [(2, "mail"), (1, "crm")]
