"""`leadbridge backfill`: leads that were missed while the bridge was down, from the vendor's own list."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import aiohttp
import orjson
import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import JsonOption, PathArgument
from bridge.cli.store import OpenStore, open_store
from bridge.config import Chatbot, Config
from bridge.config.model import Pull
from bridge.errors import OperatorError, did_you_mean
from bridge.event import UNSIGNED, EventState, Form, Verified, timestamp
from bridge.identity import Identity
from bridge.ingress.routing import route
from bridge.operations.audit import BY_COMMAND, Action, Entry, Subject
from bridge.operations.backfill import (
    PATH,
    AnswerError,
    Judged,
    Listed,
    Verdict,
    days,
    judge,
    read_answer,
    read_element,
    read_known,
)
from bridge.store import audit_log
from bridge.store.history import STEP, received_since
from bridge.store.installation import adopt
from bridge.store.interface import RoutedEvent
from bridge.store.queue import Accept, write

TIMEOUT = 60.0
"""Seconds for one call."""
ANSWER_LIMIT = 64 * 1024 * 1024
"""Bytes of an answer, at most."""
ACCEPTED_AT_ONCE = 100
"""Events of one transaction."""
EARLIER_SECONDS = 86_400.0
"""How long before the first day the store is looked at: two clocks may differ."""

_REFUSED = {401, 403}
_NOT_ACCEPTED = {Verdict.DOUBTFUL, Verdict.INCOMPLETE}

app = output.application()


@app.command()
def backfill(
    path: PathArgument = None,
    *,
    chatbot: Annotated[str, typer.Option("--chatbot", metavar="NAME", help="Whose leads.")],
    since: Annotated[
        datetime, typer.Option("--since", metavar="DATE", formats=["%Y-%m-%d"], help="From this day (UTC) until now.")
    ],
    json: JsonOption = False,
) -> None:
    """Ask the vendor for the leads of a chatbot, and accept those that never came.

    It needs the chatbot's `pull: {url, key}`. A lead that is accepted is routed as if it had come to the webhook, and
    goes to the destinations from a running `leadbridge serve`. One that is known is left alone. One that does not say
    enough to be told from others, or that may be a known one spelled otherwise, is shown and not accepted: if it was
    missed, write it as an event and `leadbridge send` it. This shows personal data.

    The exit status is 1 if anything was not accepted for that reason.
    """
    config = inputs.read(path)
    source = _chatbot(config, chatbot)
    if source.pull is None:
        raise OperatorError(
            f"chatbot {chatbot} has no `pull`: put the vendor's API there, as in "
            "pull: {url: https://…, key: ${VENDOR_API_KEY}}"
        )
    now = time.time()
    start = since.replace(tzinfo=UTC)
    _check_since(start.timestamp(), now, config)
    store = open_store(config)
    elements = asyncio.run(_listed(source.pull, source.serial_number, start, now))
    with store.writing() as connection:
        identity = adopt(connection, config.store.identity_key)
    known = _known(store, source.serial_number, elements, start.timestamp() - EARLIER_SECONDS, identity)
    judged = judge(elements, source.serial_number, known, identity)
    missed = [each for each in judged if each.verdict is Verdict.MISSED]
    lines = _accept(store, missed, source, now, identity)
    if json:
        output.write_json([_row(each, chatbot) for each in reversed(judged)])
    else:
        _show(judged, lines, f"{chatbot} since {start.date()}")
    if any(each.verdict in _NOT_ACCEPTED for each in judged):
        raise typer.Exit(1)


def _chatbot(config: Config, name: str) -> Chatbot:
    if name not in config.chatbots:
        raise OperatorError(f"--chatbot {name}: no chatbot has this name{did_you_mean(name, config.chatbots)}")
    return config.chatbots[name]


def _check_since(start: float, now: float, config: Config) -> None:
    """Refuse a time of which the store does not know all that has come: what it has removed would come again."""
    if start > now:
        raise typer.BadParameter("this day has not begun yet", param_hint="--since")
    kept = min(config.store.retention_delivered, config.store.retention_dead)
    oldest = now - kept
    if start < oldest:
        raise typer.BadParameter(
            f"the store removes events after a while (store.retention), so those from before {timestamp(oldest)} "
            "cannot be told from ones that were missed; give a later day",
            param_hint="--since",
        )


# -- asking


async def _listed(pull: Pull, serial: str, start: datetime, now: float) -> list[Any]:
    """Give all elements of the vendor's list. Raises OperatorError."""
    elements: list[Any] = []
    headers = {"Authorization": pull.key}
    with output.waiting() as tell:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT), headers=headers) as session:
            for first, last in days(start.date(), datetime.fromtimestamp(now, UTC).date()):
                tell(f"asking for {first}")
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
        raise OperatorError(f"{url}: no answer within {TIMEOUT:g} s; nothing was accepted. Try again later") from error
    except (aiohttp.ClientError, OSError) as error:
        raise OperatorError(f"{url}: {error}; nothing was accepted. See whether pull.url is right") from error
    if answer.status in _REFUSED:
        raise OperatorError(f"{url}: answered {answer.status}; nothing was accepted. See whether pull.key is right")
    try:
        return read_answer(answer.status, content)
    except AnswerError as error:
        raise OperatorError(
            f"{url}: {error}; nothing was accepted. See whether pull.url and pull.key are right"
        ) from error


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {ANSWER_LIMIT:,} bytes")
    return bytes(body)


# -- comparing and accepting


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
            each = read_known(row.id, row.payload, serial, identity)
            if each and (each.id in ids or each.kin in kin):
                known.append(each)
        after = rows[-1].seq if len(rows) == STEP else None
    return known


def _accept(store: OpenStore, missed: Sequence[Judged], chatbot: Chatbot, now: float, identity: Identity) -> list[str]:
    """Accept them in order; says in a line each what came of it. A crash leaves the later ones for the next time."""
    lines = []
    routed = [_routed(each.listed, chatbot, now, identity) for each in missed if each.listed]
    entry = None
    for start in range(0, len(routed), ACCEPTED_AT_ONCE):
        part = routed[start : start + ACCEPTED_AT_ONCE]
        with store.writing() as connection:
            ((*news,),) = (each for each in write(connection, [Accept(part)]) if isinstance(each, list))
            entry = entry or audit_log.keep(connection, _entry(chatbot, len(routed)), now)
            audit_log.add(connection, entry, sum(news))
        lines += [_line(each, is_new=new) for each, new in zip(part, news, strict=True)]
    return lines


def _entry(chatbot: Chatbot, missed: int) -> Entry:
    return Entry(BY_COMMAND, Action.BACKFILL, Subject.CHATBOT, chatbot.name, 0, {"of": missed})


def _routed(listed: Listed, chatbot: Chatbot, now: float, identity: Identity) -> RoutedEvent:
    """Route it as the webhook's event that it would have been; it came by a call of ours, so nothing is signed."""
    verified = Verified(orjson.dumps(listed.document), listed.document, Form.UNSIGNED, chatbot.name, (UNSIGNED,))
    return route(verified, chatbot, now, identity)


def _line(routed: RoutedEvent, *, is_new: bool) -> str:
    event = routed.event
    if not is_new:
        return f"has come meanwhile as event {event.id}"
    if event.state is not EventState.ACCEPTED:
        return f"accepted as event {event.id}, which is {event.state.value}"
    where = ", ".join(each.destination for each in routed.deliveries) or "no destination: no route takes it"
    return f"accepted as event {event.id}, for {where}"


# -- showing


def _show(judged: Sequence[Judged], lines: Sequence[str], what: str) -> None:
    for line in lines:
        output.say(line)
    for each in judged:
        if each.verdict in _NOT_ACCEPTED:
            output.say(f"not accepted: {each.why}", "yellow")
            output.say(f"  {orjson.dumps(each.element).decode()}")
    counts = Counter(each.verdict for each in judged)
    output.say(
        f"{what}: {len(judged)} in the vendor's list; {counts[Verdict.MISSED]} accepted, "
        f"{counts[Verdict.KNOWN]} known, {counts[Verdict.DOUBTFUL] + counts[Verdict.INCOMPLETE]} not accepted"
    )


def _row(each: Judged, chatbot: str) -> dict[str, Any]:
    return {
        "id": each.listed.id if each.verdict is Verdict.MISSED and each.listed else each.known,
        "state": "accepted" if each.verdict is Verdict.MISSED else each.verdict.value,
        "chatbot": chatbot,
        "created_at": timestamp(each.listed.created.timestamp()) if each.listed else None,
        "why": each.why or None,
        "element": each.element if each.verdict in _NOT_ACCEPTED else None,
    }
