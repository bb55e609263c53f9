"""Bulk release of requests in quarantine, and bulk routing of unrecognised events."""

import dataclasses
import json

from sqlalchemy import Connection, func, select

from bridge.event import Room
from bridge.identity import Identity
from bridge.ingress.signature import sign
from bridge.operations.audit import BY_COMMAND
from bridge.operations.bulk import Progress
from bridge.operations.recovery import STEP, Recovery, RecoveryAction
from bridge.store import audit_log
from bridge.store.filter import Scope
from bridge.store.interface import QuarantinedRequest
from bridge.store.quarantine import Kept, KeptSelection, add_request
from bridge.store.schema import events, quarantine
from tests.building import KEY, NOW, FakeConnector, chatbot, config, destination, lead, route

CONFIG = config(
    [chatbot("acme", route("crm")), chatbot("hotel", route("crm"), serial_numbers=("0" * 32,))],
    [destination("crm", FakeConnector())],
)


def quarantined(connection: Connection, count: int, key: bytes, name: str = "acme", at: float = NOW) -> None:
    serial = CONFIG.chatbots[name].serial_numbers[0]
    for _ in range(count):
        body = json.dumps(lead(SerialNumber=serial)).encode()
        signature = sign(key, str(int(at)), body)
        room = Room.MISMATCH if at == NOW else Room.STALE
        assert add_request(connection, QuarantinedRequest(NOW, name, signature, body, room), Identity(bytes(32)))


def run(connection: Connection, change: Recovery) -> Progress:
    progress = Progress(change.extent(connection))
    while not progress.ended:
        progress = change.step(connection, BY_COMMAND, progress, NOW)
    return progress


def left(connection: Connection) -> list[str]:
    return list(connection.execute(select(quarantine.c.chatbot)).scalars())


def release(**chosen: object) -> Recovery:
    any_age = bool(chosen.pop("any_age", False))
    selection = dataclasses.replace(KeptSelection(Kept.REQUESTS), **chosen)  # type: ignore[arg-type]
    return Recovery(RecoveryAction.RELEASE, selection, CONFIG, any_age)


def test_those_that_match_are_accepted_and_the_others_stay(connection: Connection) -> None:
    quarantined(connection, STEP + 2, KEY)
    quarantined(connection, 3, b"the-key-of-a-stranger")
    quarantined(connection, 2, KEY, "hotel")
    done = run(connection, release(chatbot="acme"))
    assert (done.extent.count, done.done, done.refused) == (STEP + 5, STEP + 2, 3)
    assert sorted(left(connection)) == ["acme"] * 3 + ["hotel"] * 2
    assert len(list(connection.execute(select(events.c.seq)))) == STEP + 2
    (entry,) = audit_log.list_entries(connection, None, None, 10)
    assert (entry.action, entry.count) == ("release_all", STEP + 2)
    assert dict(entry.facts) == {"of": STEP + 5, "kept": "requests", "chatbot": "acme"}
    assert run(connection, release(chatbot="acme")).refused == 3, "once more changes nothing"


def test_an_old_signature_needs_any_age(connection: Connection) -> None:
    quarantined(connection, 2, KEY, at=NOW - 7200)
    assert run(connection, release()).refused == 2
    done = run(connection, release(room=Room.STALE, any_age=True))
    assert (done.done, done.refused) == (2, 0)
    assert left(connection) == []


def test_a_person_of_one_chatbot_releases_its_own_only(connection: Connection) -> None:
    quarantined(connection, 1, KEY)
    quarantined(connection, 1, KEY, "hotel")
    own = Scope(frozenset({"acme"}))
    assert release(chatbot="hotel", scope=own).extent(connection).count == 0
    ids = tuple(connection.execute(select(quarantine.c.id)).scalars())
    assert run(connection, release(ids=ids, scope=own)).done == 1
    assert left(connection) == ["hotel"]


def test_unrecognised_events_are_routed_again(connection: Connection) -> None:
    quarantined(connection, 2, KEY)
    quarantined(connection, 1, KEY, "hotel")
    run(connection, release())
    # An unrecognised event has another id than the recognised one that it becomes.
    connection.execute(events.update().values(state="unrecognised", type=None, id=func.randomblob(16)))
    selection = KeptSelection(Kept.EVENTS, "acme")
    done = run(connection, Recovery(RecoveryAction.RELEASE, selection, CONFIG))
    assert (done.done, done.refused) == (2, 0)
    states = connection.execute(select(events.c.chatbot, events.c.state).order_by(events.c.chatbot)).all()
    assert sorted(map(tuple, states)) == [("acme", "accepted")] * 2 + [("hotel", "unrecognised")]
    rest = run(connection, Recovery(RecoveryAction.DISCARD, KeptSelection(Kept.EVENTS), CONFIG))
    assert rest.done == 1
