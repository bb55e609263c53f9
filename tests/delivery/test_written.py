"""The last write for a contact reaches the connector, with a real store and a search that finds new records late."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import update

from bridge.store.driver import Driver
from bridge.store.encryption import KeyRing
from bridge.store.interface import NewDelivery, RoutedEvent
from bridge.store.queue import written_records
from bridge.store.schema import deliveries
from bridge.store.sql import SqlStore
from connectors.base import Delivered, Outcome, Reason, Record, Rejected
from connectors.pipedrive import PipedriveConnector
from connectors.pipedrive.settings import PipedriveRoute, PipedriveSettings
from connectors.testing.pipedrive import PipedriveFake
from tests.building import FakeConnector, chatbot, destination, event, route, routed
from tests.connectors.building import context
from tests.delivery.test_lane import Rig, rig
from tests.store.test_rotation import using

__all__ = ["rig"]

pytestmark = pytest.mark.each_engine

RigMaker = Callable[..., Rig]
FIRST = ("p1", {"person": "m1"})


class Seeker(FakeConnector):
    """Answers with the ids p1, p2, … in the order of the records."""

    uses_written = True

    def __init__(self) -> None:
        super().__init__()
        self.answer = self.number
        self.count = 0

    def number(self, records: Sequence[Record]) -> Sequence[Outcome]:
        before, self.count = self.count, self.count + len(records)
        return [Delivered(f"p{at}", memo={"person": f"m{at}"}) for at in range(before + 1, self.count + 1)]

    @property
    def records(self) -> list[Record]:
        return [record for call in self.calls for record in call]

    @property
    def written(self) -> list[tuple[str | None, dict[str, str]] | None]:
        found = [each.written for each in self.records]
        return [None if each is None else (each.remote_id, dict(each.memo)) for each in found]


def seeking(lane: Rig, **options: Any) -> Seeker:
    lane.connector = made = Seeker()
    lane.destination = destination("crm", made, **options)
    return made


async def one_by_one(lane: Rig, *emails: str, after: int = 0) -> None:
    for number, email in enumerate(emails, after + 1):
        await lane.accept(Email=email)
        await lane.settled(number)


async def test_a_record_comes_with_the_last_write_for_its_contact(rig: RigMaker) -> None:
    connector = seeking(lane := rig())
    await lane.start()
    await one_by_one(lane, "a@x.org", "b@x.org", "A@x.org", "a@x.org")
    assert connector.written == [None, None, FIRST, ("p3", {"person": "m3"})]


async def test_so_does_one_that_was_accepted_together_with_the_first(rig: RigMaker) -> None:
    """The second delivery of a contact is read when the outcome of the first is committed, also in batches."""
    connector = seeking(lane := rig(), batch=50)
    people = [f"{number}@x.org" for number in range(20)]
    await lane.store.accept([routed("crm", Email=each) for _ in range(2) for each in people])
    await lane.start()
    await lane.settled(40)
    wrote: dict[str, str] = {}
    for number, (record, written) in enumerate(zip(connector.records, connector.written, strict=True), 1):
        email = str(record.fields["email"])
        assert (written and written[0]) == wrote.get(email)
        wrote[email] = f"p{number}"


async def test_a_write_elsewhere_and_one_that_left_no_id_do_not_count(rig: RigMaker) -> None:
    connector = seeking(lane := rig())
    lane.bots = {"acme": chatbot("acme", route("crm"), route("other"))}
    await lane.start()
    await one_by_one(lane, "a@x.org")
    with lane.driver.engine().begin() as connection:
        connection.execute(update(deliveries).values(destination="other"))
    await one_by_one(lane, "a@x.org", after=1)
    connector.answer = lambda records: [Delivered() for _ in records]
    await one_by_one(lane, "a@x.org", "a@x.org", after=2)
    assert connector.written == [None, None, ("p2", {"person": "m2"}), ("p2", {"person": "m2"})]


async def test_another_route_of_the_same_event_counts(rig: RigMaker) -> None:
    connector = seeking(lane := rig())
    second = route("second", destination="crm")
    lane.bots = {"acme": chatbot("acme", route("crm"), second)}
    both = (NewDelivery("crm", "crm"), NewDelivery("second", "crm"))
    await lane.store.accept([RoutedEvent(event(Email="a@x.org"), both)])
    await lane.start()
    await lane.settled(2)
    assert connector.written == [None, FIRST]


async def test_a_dead_letter_that_created_the_person_counts(rig: RigMaker) -> None:
    connector = seeking(lane := rig())
    connector.answer = lambda records: [Rejected(Reason.REFUSED, "no", memo={"person": "7"}) for _ in records]
    await lane.start()
    await one_by_one(lane, "a@x.org", "a@x.org")
    assert connector.written == [None, (None, {"person": "7"})]


async def test_an_encrypted_store_gives_the_plain_values_and_skips_damaged_ones(driver: Driver) -> None:
    store = SqlStore(using(driver, KeyRing((bytes(range(32)),))))
    try:
        connector = seeking(lane := Rig(store, driver))
        await lane.start()
        await one_by_one(lane, "a@x.org", "a@x.org")
        assert all("m1" not in str(row.memo) for row in lane.rows())
        with driver.engine().begin() as connection:
            sealed = connection.execute(deliveries.select().order_by(deliveries.c.id)).first()
            assert sealed
            connection.execute(update(deliveries).where(deliveries.c.id == 2).values(memo=sealed.memo))
        await one_by_one(lane, "a@x.org", after=2)
        await lane.stop()
    finally:
        await store.close()
    assert connector.written == [None, FIRST, None]


async def test_other_connectors_cost_no_query(rig: RigMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    lane, asked = rig(), list[object]()
    query = lane.store.query

    async def counted(function: Callable[..., Any]) -> Any:
        asked.append(function)
        return await query(function)

    monkeypatch.setattr(lane.store, "query", counted)
    await lane.start()
    await one_by_one(lane, "a@x.org", "a@x.org")
    assert [each.written for call in lane.connector.calls for each in call] == [None, None]
    assert asked
    assert written_records not in [getattr(each, "func", None) for each in asked]


async def test_a_lead_and_an_appointment_within_the_lag_of_the_search_are_one_person(rig: RigMaker) -> None:
    lane = rig()
    async with PipedriveFake(token="token", search_lag=3600) as fake:
        settings = {"api_token": "token", "base_url": fake.origin, "allow_private": True}
        connector = PipedriveConnector(PipedriveSettings.model_validate(settings), context())
        lane.destination = destination("crm", connector)
        fields = {"name": "LastName", "email": "Email"}
        lane.bots = {"acme": chatbot("acme", route("crm", fields, settings=PipedriveRoute(title="Chat")))}
        await lane.start()
        await lane.accept(Email="a@x.org")
        await lane.accept(Email="A@x.org", Type="Appointment")
        await lane.settled(2)
        await lane.stop()
        await connector.close()
    assert lane.states() == ["delivered", "delivered"]
    assert len(fake.persons) == 1
    assert [each["person_id"] for each in fake.objects["leads"]] == [1, 1]
