"""The requests and answers that a lane keeps with its attempts: each record's own, and no secret of the settings."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from yarl import URL

from bridge.config.reload import load_files
from bridge.delivery.exchanges import KINDS_LIMIT, Exchanges, kept_text
from bridge.store.driver import Driver
from bridge.store.exchanges import exchanges_of
from bridge.store.interface import Attempt, DeliveryState, Settlement
from bridge.store.schema import exchanges
from bridge.store.sql import SqlStore
from connectors.base import (
    Delivered,
    ExchangeRecorder,
    Outcome,
    Reason,
    Record,
    Rejected,
    exchange_items,
    exchange_log,
)
from tests.building import NOW, FakeConnector, all_delivered, destination, routed
from tests.delivery.test_lane import Rig
from tests.store.test_sql import rows

HOOK = "https://hooks.example.com/catch/8421/x7f3-secret"
CONFIG = """
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0"}
destinations:
  hook: {connector: http, url: "${HOOK}", auth: {bearer: "${TOKEN}"}}
  queried: {connector: http, url: "${QUERIED}"}
  templated: {connector: http, url: "${HOOK}/{{ Email }}", headers: {X-Api-Key: "${KEY_OF_API}", X-Note: "plain words"}}
"""
QUERIED = "https://HOOKS.example.com:443/x7f3-secret?token=the-query-token-789"
ENVIRON = {"HOOK": HOOK, "QUERIED": QUERIED, "TOKEN": "the-bearer-token-123", "KEY_OF_API": "the-api-key-456"}


@pytest.mark.parametrize(("name", "said"), [("hook", ENVIRON["TOKEN"]), ("templated", ENVIRON["KEY_OF_API"])])
def test_neither_a_credential_nor_a_url_from_a_variable_is_kept(name: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    config, _ = load_files(file, ENVIRON)
    log = Exchanges(config.destinations[name]).begin(["1"])
    try:
        assert exchange_log.get() is log
        body = f"{said}, plain words, ada@example.com".encode()
        log.note("POST", URL(HOOK) / "ada@example.com", {}, body, status=200, received=body)
    finally:
        exchange_log.set(None)
    kept = kept_text(log, "1") or ""
    for secret in ("x7f3-secret", *ENVIRON.values()):
        assert secret not in kept
    assert "plain words" in kept
    assert kept.count("ada@example.com") == 3


def test_a_url_from_a_variable_is_not_kept_without_its_query_either(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    config, _ = load_files(file, ENVIRON)
    log = Exchanges(config.destinations["queried"]).begin(["1"])
    try:
        log.note("POST", URL(QUERIED), {}, b"plain words", status=200, received=b"")
    finally:
        exchange_log.set(None)
    kept = kept_text(log, "1") or ""
    assert "plain words" in kept
    assert "x7f3-secret" not in kept


@pytest.mark.each_engine
async def test_each_attempt_keeps_its_own_part_of_a_shared_call(
    store: SqlStore, driver: Driver, capsys: pytest.CaptureFixture[str]
) -> None:
    await store.accept([routed("crm", Email=f"{name}@example.com") for name in ("ada", "bob", "cyd")])
    rig = Rig(store, driver, batch=3)

    async def call(records: Sequence[Record]) -> None:
        log = exchange_log.get()
        assert log is not None
        whole = " ".join(each.fields["email"] for each in records).encode()
        sent = [{"email": each.fields["email"]} for each in records[:2]]
        with exchange_items(zip([each.id for each in records], [*sent, None], strict=True)) as items:
            log.note("POST", URL("https://crm.example/batch"), {}, whole, status=207, received=whole)
        items.received((each.id, each.fields["email"]) for each in records[:2])

    def refuse_second(records: Sequence[Record]) -> Sequence[Outcome]:
        outcomes = list(all_delivered(records))
        outcomes[1] = Rejected(Reason.REFUSED, "no", status=400)
        return outcomes

    rig.connector.before, rig.connector.answer = call, refuse_second
    await rig.start()
    await rig.settled(3)
    await rig.stop()
    assert [len(each) for each in rig.connector.calls] == [3]
    with driver.engine().connect() as connection:
        found = [exchanges_of(connection, number)[1] for number in (1, 2, 3)]
    assert [(each.url, each.sent, each.received, each.status) for (each,) in found] == [
        ("https://crm.example", '{"email":"ada@example.com"}', "ada@example.com", 207),
        ("https://crm.example", '{"email":"bob@example.com"}', "bob@example.com", 207),
        ("https://crm.example", None, None, 207),
    ]
    for name, row in zip(("ada", "bob", "cyd"), rows(driver, exchanges), strict=True):
        others = {"ada", "bob", "cyd"} - {name}
        assert not any(f"{each}@" in row.content for each in others)
    assert "example.com" not in capsys.readouterr().out


@pytest.mark.each_engine
async def test_a_connector_that_sends_nothing_leaves_nothing(store: SqlStore, driver: Driver) -> None:
    await store.accept([routed("crm")])
    rig = Rig(store, driver)
    await rig.start()
    await rig.settled(1)
    await rig.stop()
    assert rows(driver, exchanges) == []


@pytest.mark.each_engine
async def test_under_load_only_some_delivered_attempts_keep_theirs(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed attempt, or one with a warning, has room of its own."""
    monkeypatch.setattr("bridge.delivery.exchanges.BURST", 2.0)
    await store.accept([routed("crm", Email=f"{number}@example.com") for number in range(6)])
    rig = Rig(store, driver, concurrency=1)

    async def call(records: Sequence[Record]) -> None:
        if log := exchange_log.get():
            log.note("POST", URL("https://crm.example"), {}, b"{}", status=200, received=b"{}")

    def answer(records: Sequence[Record]) -> Sequence[Outcome]:
        email = records[0].fields["email"]
        if email == "3@example.com":
            return [Rejected(Reason.REFUSED, "no")]
        return [Delivered(warning="a field was left out" if email == "4@example.com" else None)]

    rig.connector.before, rig.connector.answer = call, answer
    await rig.start()
    await rig.settled(6)
    assert [row.delivery_id for row in rows(driver, exchanges)] == [1, 2, 4, 5]
    await store.accept([routed("crm")])
    rig.advance(0.2)
    await rig.settled(7)
    await rig.stop()
    assert [row.delivery_id for row in rows(driver, exchanges)] == [1, 2, 4, 5, 7]


def failed(status: int, state: DeliveryState = DeliveryState.PENDING) -> Settlement:
    attempt = Attempt(1, NOW, 0.1, "retry", Reason.SERVER_ERROR, status, "no")
    return Settlement(1, "e", "crm", "acme", NOW, state, None, 1, 1, NOW, None, attempt=attempt)


def test_a_destination_that_refuses_everything_keeps_some_of_each_cause() -> None:
    """The attempts of one cause, however many, leave room for the first of the next one, and for dead letters."""
    kept = Exchanges(destination("crm", FakeConnector()))
    log = ExchangeRecorder().begin(["1"])
    log.note("POST", URL("https://crm.example"), {}, b"{}", status=500)

    def keep(settlement: Settlement, times: int, now: float = NOW) -> int:
        settled = [kept.settled(settlement, log, "1", now).attempt for _ in range(times)]
        return sum(each is not None and each.exchange is not None for each in settled)

    assert keep(failed(500), 10_000) == 100
    assert keep(failed(503), 3) == 3
    assert keep(failed(500, DeliveryState.DEAD), 3) == 3
    assert keep(failed(500), 10_000, NOW + 60.0) == 100
    assert keep(failed(500), 10_000, NOW + 62.0) == 10
    hostile = sum(keep(failed(status), 1_000, NOW + 62.0) for status in range(600, 999))
    assert hostile <= 100 * KINDS_LIMIT
