"""Weekly reports from the store to a target that really listens: noted first, then sent, late if they were missed."""

import asyncio
import socketserver
import threading
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bridge.admin.query_threads import QueryThreads
from bridge.alerts.report_text import report_message
from bridge.alerts.reporter import AT_ONCE, Reporter, last_due
from bridge.alerts.targets import Message, send_message
from bridge.app import running
from bridge.config.model import Config, ReportSettings, WeeklyTime
from bridge.config.reload import load_files
from bridge.operations.problems import Problem, ProblemKind, find_problems
from bridge.operations.report import Report, ReportLine, span_before
from bridge.operations.tally import TallyTotals
from bridge.store.driver import Driver
from bridge.store.report_log import SENDING_SECONDS, take_unsent
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from connectors.base import Delivered, Outcome, Reason, Rejected
from tests.alerts.test_watch import Target
from tests.building import SERIAL, Clock, chatbot, config, routed
from tests.store.test_tally import settle

pytestmark = pytest.mark.filterwarnings("ignore:'(imghdr|cgi)' is deprecated:DeprecationWarning")

DAY = 86_400.0
WEEK = 7 * DAY
DUE = datetime(2026, 11, 23, 8, 0, tzinfo=UTC).timestamp()
"""A Monday, 08:00."""


class Mailbox(socketserver.ThreadingTCPServer):
    """Takes mail by SMTP."""

    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[Any] = []
        super().__init__(("127.0.0.1", 0), _Session)

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.server_address[1]}?from=bridge@example.com&to=owner@example.com&mode=insecure"


class _Session(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        while line := self.rfile.readline().strip().upper():
            if line == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines: list[bytes] = []
                while (each := self.rfile.readline()) != b".\r\n":
                    lines.append(each)
                self.server.mails.append(message_from_bytes(b"".join(lines), policy=policy.default))
            self.wfile.write(b"221 bye\r\n" if line == b"QUIT" else b"250 ok\r\n")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def settings(*to: str, zone: str = "UTC", chatbots: frozenset[str] | None = None) -> ReportSettings:
    return ReportSettings("weekly", to, chatbots, WeeklyTime(0, 8, 0), ZoneInfo(zone))


def configured(*reports: ReportSettings) -> Config:
    made = config([chatbot("acme"), chatbot("zenith", serial_numbers=("2",))])
    return replace(made, reports={each.name: each for each in reports})


def reporter(store: SqlStore, query_threads: QueryThreads, clock: Clock, *reports: ReportSettings) -> Reporter:
    return Reporter(lambda: configured(*reports), store, query_threads.ask, clock)


async def lead(store: SqlStore, chatbot: str, at: float, outcome: Outcome | None) -> None:
    made = routed("crm", received_at=at)
    await store.accept([made._replace(event=made.event._replace(chatbot=chatbot))])
    if outcome:
        (due,) = await store.due("crm", 0, 100)
        await settle(store, {due.id: outcome}, at + 2.0)


@pytest.mark.each_engine
async def test_a_report_is_sent_once_by_several_processes_and_across_restarts(
    store: SqlStore, driver: Driver, query_threads: QueryThreads, target: Target
) -> None:
    await lead(store, "acme", DUE - 2 * DAY, Delivered("1"))
    clock, wanted = Clock(DUE - 60), settings(target.url)
    others = [SqlStore(copy(driver)), SqlStore(copy(driver))]
    processes = [reporter(each, query_threads, clock, wanted) for each in (store, *others)]
    await asyncio.gather(*(each.check() for each in processes))
    assert target.taken == [], "nothing is owed for the time before"
    clock.now = DUE
    await asyncio.gather(*(each.check() for each in processes))
    restarted = reporter(store, query_threads, clock, wanted)
    for clock.now in (DUE + 30, DUE + SENDING_SECONDS + 1, DUE + WEEK - 1):
        await asyncio.gather(*(each.check() for each in (*processes, restarted)))
    (taken,) = target.taken
    assert taken["title"] == "Leads of weekly: 16 Nov to 22 Nov 2026"
    assert "1 lead." in taken["message"].splitlines()
    clock.now = DUE + WEEK
    await asyncio.gather(*(each.check() for each in (*processes, restarted)))
    assert [each["title"][-11:] for each in target.taken] == ["22 Nov 2026", "29 Nov 2026"]
    for each in others:
        await each.close()


async def test_a_report_that_was_missed_is_sent_late_and_only_the_newest(
    store: SqlStore, query_threads: QueryThreads, target: Target
) -> None:
    clock, wanted = Clock(DUE - DAY), settings(target.url)
    await reporter(store, query_threads, clock, wanted).check()
    clock.now = DUE + 2 * WEEK + 3 * DAY
    later = reporter(store, query_threads, clock, wanted)
    await later.check()
    await later.check()
    (taken,) = target.taken
    assert taken["title"].endswith("30 Nov to 06 Dec 2026"), "the days of its time, not those before the late sending"


async def unsent(store: SqlStore, wanted: ReportSettings, now: float) -> list[tuple[str, int, str]]:
    found = await store.query(lambda connection: find_problems(connection, configured(wanted), now))
    return [(each.key, each.count, each.why) for each in found if each.kind is ProblemKind.REPORT]


@pytest.mark.each_engine
async def test_a_receiver_that_takes_nothing_is_a_problem_and_gets_the_report_when_a_person_sends_it(
    store: SqlStore, query_threads: QueryThreads, target: Target
) -> None:
    other = Target()
    await other.server.start_server()
    clock, wanted = Clock(DUE - DAY), settings(target.url, other.url)
    sender = reporter(store, query_threads, clock, wanted)
    await sender.check()
    target.status, clock.now = 500, DUE
    await sender.check()
    target.status = 200
    assert await unsent(store, wanted, DUE + 1) == [], "it may still be under way"
    for clock.now in (DUE + 30, DUE + SENDING_SECONDS, DUE + 2 * SENDING_SECONDS):
        await sender.check()
    assert (len(target.taken), len(other.taken)) == (1, 1)
    ((key, count, why),) = await unsent(store, wanted, clock.now)
    assert (key, count) == ("report-weekly", 1)
    assert "reports.weekly.to[0] (json)" in why
    assert target.url not in why
    assert await unsent(store, settings(), clock.now) == [], "the receiver is no longer configured"
    taken = [await store.change(partial(take_unsent, name="weekly", now=clock.now)) for _ in range(2)]
    assert taken[1] is None, "a second person has it sent at the same time"
    assert taken[0] is not None
    assert await sender.send_left(taken[0]) == {}
    assert [each["title"][-11:] for each in target.taken] == ["22 Nov 2026"] * 2
    assert len(other.taken) == 1
    assert await unsent(store, wanted, clock.now + WEEK) == []
    await other.server.close()


async def test_forty_clients_get_theirs_a_few_at_a_time(store: SqlStore, query_threads: QueryThreads) -> None:
    clock, lock = Clock(DUE - DAY), threading.Lock()
    sent: list[str] = []
    under_way, most = 0, 0

    def send(url: str, _: Message) -> str | None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        sent.append(url)
        with lock:
            under_way -= 1
        return None

    wanted = settings(*(f"json://client-{number}/x" for number in range(40)))
    sender = Reporter(lambda: configured(wanted), store, query_threads.ask, clock, send)
    await sender.check()
    clock.now = DUE
    await sender.check()
    assert sorted(sent) == sorted(wanted.to)
    assert most <= AT_ONCE


async def test_a_process_that_dies_between_sending_and_noting_leaves_a_problem_and_no_second_report(
    store: SqlStore, query_threads: QueryThreads
) -> None:
    clock, sent, wanted = Clock(DUE - DAY), [], settings("json://x/y")
    begun, goes_on = threading.Event(), threading.Event()

    def without_end(url: str, message: Message) -> str | None:
        sent.append((url, message.title))
        begun.set()
        goes_on.wait(10)
        return None

    def made() -> Reporter:
        return Reporter(lambda: configured(wanted), store, query_threads.ask, clock, without_end)

    await made().check()
    clock.now = DUE
    died = asyncio.ensure_future(made().check())
    await asyncio.to_thread(begun.wait, 10)
    died.cancel()
    await asyncio.gather(died, return_exceptions=True)
    clock.now = DUE + 2 * SENDING_SECONDS
    await made().check()
    assert len(sent) == 1
    assert [each[0] for each in await unsent(store, wanted, clock.now)] == ["report-weekly"]
    goes_on.set()


async def test_a_client_gets_the_numbers_and_problems_of_its_chatbots_alone(
    store: SqlStore, query_threads: QueryThreads, driver: Driver, target: Target
) -> None:
    for chatbot_, days, outcome in (
        ("acme", 2, Delivered("1")),
        ("acme", 3, Rejected(Reason.REFUSED, "no: ada@example.com")),
        ("zenith", 2, Delivered("2")),
        ("zenith", 4, Rejected(Reason.UNROUTED, "zenith's")),
        ("acme", 9, Delivered("3")),
    ):
        await lead(store, chatbot_, DUE - days * DAY, outcome)
    await lead(store, "acme", DUE - 60, None)
    clock, wanted = Clock(DUE - DAY), settings(target.url, chatbots=frozenset({"acme"}))
    sender = reporter(store, query_threads, clock, wanted)
    await sender.check()
    clock.now = DUE
    await sender.check()
    (taken,) = target.taken
    text = taken["message"]
    assert "2 leads, +100 % compared with the 7 days before." in text
    assert "1 delivery arrived, 50 % of all." in text
    assert "1 not delivered" in text
    assert "The destination refused the record." in text
    assert "zenith" not in text
    assert "ada@" not in text


async def test_a_bridge_that_runs_sends_what_was_due_while_it_was_down(
    tmp_path: Path, embedded: SqliteDriver, target: Target
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "server: {listen: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"
        f"store: {{url: 'sqlite:///{embedded.path}'}}\n"
        f"reports: {{weekly: {{to: '{target.url}', every: monday 08:00}}}}\n"
        f"chatbots: {{acme: {{serial_number: {SERIAL}, signing_keys: a-signing-key-of-good-length}}}}\n"
    )
    made, files = load_files(path, {})

    async def check(now: float) -> None:
        opened = SqlStore(embedded)
        await Reporter(lambda: made, opened, opened.query, lambda: now).check()
        await opened.close()

    await check(DUE - DAY)
    async with running(made, files, lambda: DUE + DAY):
        await asyncio.wait_for(target.first.wait(), 10)
    await check(DUE + DAY + 2 * SENDING_SECONDS)
    (taken,) = target.taken
    assert taken["title"] == "Leads of weekly: 16 Nov to 22 Nov 2026"


def test_a_mail_has_the_report_as_html_and_as_text(mailbox: Mailbox) -> None:
    report = Report(
        span_before(DUE),
        ReportLine(None, TallyTotals(), TallyTotals()),
        [ReportLine(name, TallyTotals(), TallyTotals()) for name in ("acme", "<b>zenith")],
        [Problem(ProblemKind.DEAD, "crm: refused", "The destination refused the record.", "", 3)],
    )
    assert send_message(mailbox.url, report_message("all", report)) is None
    (mail,) = mailbox.mails
    assert mail["Subject"] == "Leads of all: 16 Nov to 22 Nov 2026"
    parts = {each.get_content_type(): each.get_content() for each in mail.walk() if not each.is_multipart()}
    assert "<li>&lt;b&gt;zenith: 0 leads</li>" in parts["text/html"]
    assert {"- <b>zenith: 0 leads", "- crm: refused (3). The destination refused the record."} <= {
        line.strip() for line in parts["text/plain"].splitlines()
    }


@pytest.mark.parametrize(
    ("zone", "now", "due"),
    [
        ("UTC", "2026-11-23T07:59:59Z", "2026-11-16T08:00:00Z"),
        ("UTC", "2026-11-23T08:00:00Z", "2026-11-23T08:00:00Z"),
        ("Europe/Berlin", "2026-11-23T07:00:00Z", "2026-11-23T07:00:00Z"),
        ("Europe/Berlin", "2026-11-23T06:59:59Z", "2026-11-16T07:00:00Z"),
        # Summer time has begun between the two.
        ("Europe/Berlin", "2026-03-30T06:00:00Z", "2026-03-30T06:00:00Z"),
        ("Europe/Berlin", "2026-03-30T05:59:59Z", "2026-03-23T07:00:00Z"),
        ("Asia/Tokyo", "2026-11-22T23:00:00Z", "2026-11-22T23:00:00Z"),
    ],
)
def test_a_report_is_due_by_the_clock_of_its_time_zone(zone: str, now: str, due: str) -> None:
    found = last_due(settings(zone=zone), datetime.fromisoformat(now).timestamp())
    assert datetime.fromtimestamp(found, UTC) == datetime.fromisoformat(due)
