"""Health checks of an installation, a function for each area. Their findings say what to do.

A check changes nothing. `bridge.operations.probe` checks the destinations.
"""

import http.client
import json
import shutil
import ssl
import stat
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from bridge.alerts.rules import BridgeState, Rule, find_conditions
from bridge.config import Config
from bridge.config.model import ListenAddress
from bridge.event import EventState, Room, timestamp
from bridge.operations.acknowledgement import sort_problems
from bridge.operations.overview import quarantined_by_room
from bridge.operations.problems import find_problems
from bridge.operations.rekey import describe_keys
from bridge.operations.store_access import OpenStore, all_stores
from bridge.store import rotation
from bridge.store.driver import Driver
from bridge.store.filter import EVERYTHING, EventFilter
from bridge.store.lane_queries import all_lanes
from bridge.store.search import find_events
from bridge.store.sqlite import SqliteDriver
from connectors.base import Severity

ASK_SECONDS = 5.0
ANSWER_BYTES = 4096
CLOCK_SECONDS = 60.0
"""Difference of clocks that is reported; signatures are refused by `signature_tolerance`."""
EVENTS_LOOKED_AT = 20
CREATED_DIGITS = 10
"""Digits of an event's id that hold its time, as `bridge.identity` writes them."""
LITTLE_BYTES = 1024**3
FEW_BYTES = 100 * 1024**2
DAYS_LEFT = 14


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """A line of the report."""

    area: str
    severity: Severity
    """`NOTE` for a good finding."""
    message: str


def store(opened: OpenStore, driver: Driver) -> Iterator[HealthFinding]:
    """Check that the open store can be written. Raises StoreUnavailableError."""
    with opened.writing():
        pass
    yield HealthFinding("store", Severity.NOTE, f"{driver.name}: there, up to date, can be written")
    if isinstance(driver, SqliteDriver):
        yield _space(shutil.disk_usage(driver.path.absolute().parent).free)


def files(driver: Driver, spool: str) -> Iterator[HealthFinding]:
    """Report files with leads on this machine that other users can open."""
    kept = driver if isinstance(driver, SqliteDriver) else SqliteDriver(URL.create("sqlite", database=spool))
    for file in kept.exposed():
        mode = stat.S_IMODE(file.stat().st_mode)
        message = (
            f"{file}: other users of this machine can open it (mode {mode:o}), and it holds leads: chmod 600 {file}"
        )
        yield HealthFinding("store", Severity.WARNING, message)


def encryption(config: Config) -> Iterator[HealthFinding]:
    """Count the rows of the store and of the spool by their key. Reads the beginning of every row."""
    for driver, opened in all_stores(config):
        with opened.reading() as connection:
            old = rotation.count_by_key(connection)
            message = f"{driver.name}: {describe_keys(connection)}"
        for key in driver.keys.ids[:1]:
            del old[key]
        if driver.keys and old:
            message += "; `leadbridge db rekey` encrypts them with the first key"
        yield HealthFinding("encryption", Severity.WARNING if driver.keys and old else Severity.NOTE, message)


def check_clock(connection: Connection, driver: Driver, now: float) -> Iterator[HealthFinding]:
    """Compare this machine's clock with the database server's, and with the times in the latest events."""
    server = driver.clock(connection, now)
    if abs(server - now) > CLOCK_SECONDS:
        yield HealthFinding(
            "clock",
            Severity.WARNING,
            f"{server - now:+,.0f} s between this machine and the database server: synchronise both (NTP)",
        )
    events = find_events(connection, EventFilter(state=EventState.ACCEPTED, limit=EVENTS_LOOKED_AT)).rows
    # An event's id begins with its time of creation, or 0 if the time could not be read.
    late = [created - each.received_at for each in events if (created := int(each.id[:CREATED_DIGITS], 16))]
    if late and min(late) > CLOCK_SECONDS:
        yield HealthFinding(
            "clock",
            Severity.WARNING,
            f"the last events were created {min(late):,.0f} s after they came here: this machine's clock is behind; "
            "synchronise it (NTP), or signatures will be refused",
        )
    if events and events[0].received_at - now > CLOCK_SECONDS:
        yield HealthFinding(
            "clock", Severity.WARNING, "the last event was received in the future: the clock has been set back"
        )


def leads(connection: Connection, config: Config, now: float) -> Iterator[HealthFinding]:
    """Report the conditions that alerts are sent for, and paused lanes."""
    lanes = all_lanes(connection, list(config.destinations), now)
    found = find_problems(connection, config, now)
    state = BridgeState(
        stored=sort_problems(connection, found, EVERYTHING, EVERYTHING, now),
        store_commits=True,
        pauses={each.name: each.pause for each in lanes if each.pause and each.configured},
        quotas={},
        here=frozenset(each.name for each in lanes),
    )
    for each in find_conditions(state, now):
        severity = Severity.WARNING if each.key.rule == Rule.WARNED else Severity.ERROR
        yield HealthFinding("leads", severity, f"{each.subject}: {each.detail}")
    for lane in lanes:
        if lane.pending and not lane.configured:
            yield HealthFinding("leads", Severity.WARNING, f"{lane.name}: {lane.why()}: {removal_remedy(lane.name)}")
        elif lane.configured and lane.pause and lane.pause.by == "operator":
            message = f"{lane.name}: paused by an operator; end it with `leadbridge lanes resume {lane.name}`"
            yield HealthFinding("leads", Severity.WARNING, message)


def removal_remedy(name: str) -> str:
    """Return the commands for the waiting deliveries of a destination that was removed."""
    return (
        f"`leadbridge deliveries move --all --destination {name} --to ROUTE`, or "
        f"`leadbridge deliveries discard --all --state pending --destination {name}`"
    )


def refused(connection: Connection) -> HealthFinding:
    """Count the requests in quarantine."""
    counted = quarantined_by_room(connection)
    if not counted:
        return HealthFinding("quarantine", Severity.NOTE, "empty")
    rooms = ", ".join(f"{counted[room]:,} {room}" for room in Room if counted[room])
    message = f"{counted.total():,} requests ({rooms}); see `leadbridge quarantine list`, release or discard them"
    return HealthFinding("quarantine", Severity.NOTE if counted.keys() == {Room.JUNK} else Severity.WARNING, message)


def bridge(address: ListenAddress) -> HealthFinding:
    """Ask the admin listener of `leadbridge serve` on this machine if it is ready."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - it is asked, not bound
    connection = http.client.HTTPConnection(host, address.port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        status, unused = answer.status, _unused(answer.read(ANSWER_BYTES))
    except (OSError, http.client.HTTPException):
        return HealthFinding("serve", Severity.WARNING, f"no answer at {address}: is `leadbridge serve` running?")
    finally:
        connection.close()
    if status == http.HTTPStatus.OK and unused:
        return HealthFinding("serve", Severity.WARNING, f"running and ready at {address}, but {unused}")
    if status == http.HTTPStatus.OK:
        return HealthFinding("serve", Severity.NOTE, f"running and ready at {address}")
    return HealthFinding("serve", Severity.ERROR, f"running at {address}, but not ready ({status}); see its log")


def _unused(answer: bytes) -> str:
    """Return a sentence about files with errors, from the answer of `/readyz`; empty without any."""
    try:
        count = int(json.loads(answer).get("files_with_errors", 0))
    except ValueError:
        return ""
    files = f"{count} file{' has' if count == 1 else 's have'} errors"
    return f"{files}: run `leadbridge check`" if count else ""


def webhook(url: str, now: float) -> Iterator[HealthFinding]:
    """Check the webhook as its sender sees it: the certificate, and the answer of the endpoint."""
    host, port, path = _https(url)
    if not host:
        yield HealthFinding(
            "webhook", Severity.ERROR, f"{url}: not an https:// address; name the address that the sender uses"
        )
        return
    context = ssl.create_default_context()
    connection = http.client.HTTPSConnection(host, port, timeout=ASK_SECONDS, context=context)
    try:
        connection.connect()
        yield _certificate(connection.sock.getpeercert(), now)
        connection.request("GET", path)
        answer = connection.getresponse()
        ready = answer.status == http.HTTPStatus.OK and b'"ready"' in answer.read(1024)
    except ssl.SSLCertVerificationError as error:
        yield HealthFinding(
            "webhook", Severity.ERROR, f"{url}: the certificate is not good: {error.verify_message}; renew it"
        )
        return
    except (OSError, http.client.HTTPException) as error:
        yield HealthFinding(
            "webhook", Severity.ERROR, f"{url}: cannot be reached: {error}; see DNS, firewall and proxy"
        )
        return
    finally:
        connection.close()
    if ready:
        yield HealthFinding("webhook", Severity.NOTE, f"{url}: answers")
    else:
        message = f"{url}: answers {answer.status}, and not as the webhook does; check the target of the proxy"
        yield HealthFinding("webhook", Severity.ERROR, message)


def _https(url: str) -> tuple[str, int, str]:
    """Return host, port and path of an https address; the host is empty for another address."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or "") if parts.scheme == "https" else ""
        port = parts.port or 443
    except ValueError:
        return "", 443, "/"
    return host, port, parts.path or "/"


def _certificate(certificate: object, now: float) -> HealthFinding:
    ends = ssl.cert_time_to_seconds(str(certificate["notAfter"])) if isinstance(certificate, dict) else now
    days = int((ends - now) // 86_400)
    until = f"the certificate is good until {timestamp(ends)[:10]}"
    if days < DAYS_LEFT:
        return HealthFinding(
            "webhook",
            Severity.WARNING,
            f"{until}, {days} days more: renew it now, and check why it is not renewed automatically",
        )
    return HealthFinding("webhook", Severity.NOTE, until)


def _space(free: int) -> HealthFinding:
    left = f"{free / 1024**3:,.1f} GiB left beside the store"
    if free < FEW_BYTES:
        return HealthFinding("disk", Severity.ERROR, f"{left}: the store will soon be full; make room")
    if free < LITTLE_BYTES:
        return HealthFinding("disk", Severity.WARNING, f"{left}: make room")
    return HealthFinding("disk", Severity.NOTE, left)
