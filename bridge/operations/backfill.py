"""Backfill: the vendor's list of a chatbot's leads, compared with the store, and the missed leads accepted."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from bridge.config import Chatbot, Config
from bridge.config.model import Pull
from bridge.errors import NotFoundError, OperatorError, did_you_mean
from bridge.event import UNSIGNED, Form, Verified, timestamp
from bridge.identity import Identity
from bridge.ingress.reprocess import acceptance
from bridge.ingress.routing import route
from bridge.operations.audit import Action, Entry, Subject, Who
from bridge.operations.store_access import OpenStore
from bridge.operations.vendor_list import (
    PATH,
    AnswerError,
    Judged,
    Listed,
    Verdict,
    days,
    judge,
    read_answer,
    read_element,
    read_stored,
)
from bridge.store import audit_log
from bridge.store.installation import adopt
from bridge.store.interface import RoutedEvent
from bridge.store.queries import STEP, received_since
from bridge.store.queue import Accept, write

TIMEOUT = 60.0
"""Seconds for one call."""
ANSWER_LIMIT = 64 * 1024 * 1024
"""Maximum number of bytes of an answer."""
ACCEPTED_AT_ONCE = 100
"""Events of one transaction."""
EARLIER_SECONDS = 86_400.0
"""Seconds before the first day from which on the store is read, because two clocks may differ."""

_REFUSED = {401, 403}


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """A request for the leads of a chatbot since the beginning of a day."""

    chatbot: str
    since: datetime
    """In UTC."""


@dataclass(frozen=True, slots=True, repr=False)
class BackfillResult:
    """Result of a backfill."""

    judged: Sequence[Judged]
    """All elements of the vendor's list, oldest first."""
    lines: Sequence[str]
    """A sentence for each missed lead."""


def check_since(config: Config, since: datetime, now: float) -> None:
    """Raise ValueError for a day that has not begun, or from which the store has removed events already.

    Removed events would be accepted a second time.
    """
    if since.timestamp() > now:
        raise ValueError("this day has not begun yet")
    oldest = now - min(config.store.retention_delivered, config.store.retention_dead)
    if since.timestamp() < oldest:
        raise ValueError(
            f"the store removes events after a while (store.retention), so missed leads from before "
            f"{timestamp(oldest)} cannot be recognised; name a later day"
        )


def source(config: Config, name: str) -> tuple[Chatbot, Pull]:
    """Return a chatbot with its vendor API. Raises OperatorError if there is no such chatbot, or no API."""
    chatbot = config.chatbots.get(name)
    if chatbot is None:
        raise NotFoundError(f"--chatbot {name}: no chatbot has this name{did_you_mean(name, config.chatbots)}")
    if chatbot.pull is None:
        raise OperatorError(
            f"chatbot {name} has no `pull`: put the vendor's API there, as in "
            "pull: {url: https://…, key: ${VENDOR_API_KEY}}"
        )
    return chatbot, chatbot.pull


def chatbots_with_pull(config: Config) -> list[str]:
    """Return the names of the chatbots whose leads the vendor can list. Raises OperatorError if there is none."""
    names = [each.name for each in config.chatbots.values() if each.pull]
    if not names:
        raise OperatorError(
            "no chatbot has `pull`: put the vendor's API there, as in pull: {url: https://…, key: ${VENDOR_API_KEY}}"
        )
    return names


def backfill(
    config: Config,
    store: OpenStore,
    who: Who,
    request: BackfillRequest,
    now: float,
    report: Callable[[str], None],
) -> BackfillResult:
    """Ask the vendor for a chatbot's leads, and accept the missed ones; report the progress.

    Raises OperatorError if the vendor's list cannot be read; then nothing is accepted.
    """
    chatbot, pull = source(config, request.chatbot)
    lists = [
        (serial, asyncio.run(_listed(pull, serial, request.since, now, report))) for serial in chatbot.serial_numbers
    ]
    with store.writing() as connection:
        identity = adopt(connection, config.store.identity_key)
    start = request.since.timestamp() - EARLIER_SECONDS
    judged = [
        each
        for serial, elements in lists
        for each in judge(elements, serial, _known(store, serial, elements, start, identity), identity)
    ]
    judged.sort(key=lambda each: each.listed.created.timestamp() if each.listed else 0.0)
    missed = [each.listed for each in judged if each.verdict is Verdict.MISSED and each.listed]
    return BackfillResult(judged, _accept(store, who, missed, chatbot, now, identity))


async def _listed(pull: Pull, serial: str, start: datetime, now: float, report: Callable[[str], None]) -> list[Any]:
    """Return all elements of the vendor's list. Raises OperatorError."""
    elements: list[Any] = []
    headers = {"Authorization": pull.key}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT), headers=headers) as session:
        for first, last in days(start.date(), datetime.fromtimestamp(now, UTC).date()):
            report(f"asking for {first}")
            body = orjson.dumps({"serialNumber": serial, "startTime": first, "endTime": last})
            elements += await _ask(session, f"{pull.url}{PATH}", body)
    return elements


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes) -> list[Any]:
    try:
        # A redirect would take the key along to somebody else.
        async with session.post(
            url, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False
        ) as answer:
            content = await _read(answer)
    except TimeoutError as error:
        raise OperatorError(
            f"the vendor: no answer within {TIMEOUT:g} s; nothing was accepted. Try again later"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise OperatorError(f"the vendor: {error}; nothing was accepted. See whether pull.url is right") from error
    if answer.status in _REFUSED:
        raise OperatorError(
            f"the vendor: answered {answer.status}; nothing was accepted. See whether pull.key is right"
        )
    try:
        return read_answer(answer.status, content)
    except AnswerError as error:
        raise OperatorError(
            f"the vendor: {error}; nothing was accepted. See whether pull.url and pull.key are right"
        ) from error


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {ANSWER_LIMIT:,} bytes")
    return bytes(body)


def _known(store: OpenStore, serial: str, elements: Sequence[Any], moment: float, identity: Identity) -> list[Listed]:
    """Read the stored events that are, or may be, one of the elements."""
    listed = [
        each for each in (read_element(element, serial, identity) for element in elements) if isinstance(each, Listed)
    ]
    ids, kin = {each.id for each in listed}, {each.kin for each in listed}
    known = []
    after: int | None = 0 if listed else None
    while after is not None:
        with store.reading() as connection:
            rows = received_since(connection, moment, after)
        for row in rows:
            each = read_stored(row.id, row.payload, serial, identity)
            if each and (each.id in ids or each.kin in kin):
                known.append(each)
        after = rows[-1].seq if len(rows) == STEP else None
    return known


def _accept(
    store: OpenStore, who: Who, missed: Sequence[Listed], chatbot: Chatbot, now: float, identity: Identity
) -> list[str]:
    """Accept leads in order; return a line for each. After a crash the next backfill accepts the rest."""
    lines = []
    routed = [_routed(each, chatbot, now, identity) for each in missed]
    entry = None
    for start in range(0, len(routed), ACCEPTED_AT_ONCE):
        part = routed[start : start + ACCEPTED_AT_ONCE]
        with store.writing() as connection:
            ((*news,),) = (each for each in write(connection, [Accept(part)]) if isinstance(each, list))
            entry = entry or audit_log.add_entry(connection, _entry(who, chatbot, len(routed)), now)
            audit_log.add(connection, entry, sum(news))
        lines += [_line(each, is_new=new) for each, new in zip(part, news, strict=True)]
    return lines


def _entry(who: Who, chatbot: Chatbot, missed: int) -> Entry:
    return Entry(who, Action.BACKFILL, Subject.CHATBOT, chatbot.name, 0, {"of": missed})


def _routed(listed: Listed, chatbot: Chatbot, now: float, identity: Identity) -> RoutedEvent:
    """Route a lead as the webhook would; it is unsigned, because it came by a call of this program."""
    verified = Verified(orjson.dumps(listed.document), listed.document, Form.UNSIGNED, chatbot.name, (UNSIGNED,))
    return route(verified, chatbot, now, identity)


def _line(routed: RoutedEvent, *, is_new: bool) -> str:
    return acceptance(routed) if is_new else f"was received meanwhile as event {routed.event.id}"
