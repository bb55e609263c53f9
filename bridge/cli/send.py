"""`leadbridge send`: send an event to the webhook, signed as the vendor signs it."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import aiohttp
import orjson
import typer
from yarl import URL

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption, read_event, split_event
from bridge.config import Chatbot, Config, ListenAddress
from bridge.errors import OperatorError, did_you_mean
from bridge.event import decode, serial_number
from bridge.ingress.signature import HEADER, sign

TIMEOUT = 30.0
"""Seconds for the whole call."""
ANSWER_LIMIT = 64 * 1024
"""Maximum number of bytes of the answer that are read."""
SUCCESS = (b'{"status":"success"}', b'{"status":"Success: test request received"}')
"""Bodies that mean success to the vendor."""

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, not bound to

app = output.application()


@app.command(
    epilog=output.examples(
        "leadbridge send",
        "leadbridge send lead.json --chatbot acme",
        "leadbridge send --to https://leads.example.com/webhook",
    )
)
def send(
    arguments: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH] [EVENT.json]",
            help="The configuration, if it is not the default one, and a file with the event (- for standard input). "
            "Without the event a sample lead is sent.",
            show_default=False,
        ),
    ] = None,
    *,
    config: ConfigOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="URL", help="Where to send it. Default: /webhook at the configured server.listen."
        ),
    ] = None,
    chatbot: Annotated[
        str | None, typer.Option("--chatbot", metavar="NAME", help="Sign with the key of this chatbot.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send a signed event to the webhook, as the vendor would.

    It is signed with the first key of the chatbot that the event's SerialNumber names, or that --chatbot names. The
    sample lead has a new SessionID each time, so that it is never a duplicate.

    The exit status is 0 if the answer means success to the vendor.
    """
    path, event = split_event(arguments or [])
    settings = inputs.read_whole(inputs.chosen_path(path, config))
    body = read_event(event) if event else None
    sender = _chatbot(settings, chatbot, body)
    if body is None:
        body = _sample(sender, time.time())
    url = _url(to, settings.server.listen)
    with output.waiting("waiting for the answer"):
        status, answer = asyncio.run(_post(url, body, _headers(sender, body, time.time())))
    text = answer.decode("utf-8", "replace")
    if json:
        state = "accepted" if answer in SUCCESS else "refused"
        output.write_json({"state": state, "chatbot": sender.name, "url": str(url), "status": status, "answer": text})
    else:
        output.say(f"{status} {text}")
    if answer not in SUCCESS:
        raise typer.Exit(1)


def _chatbot(config: Config, name: str | None, body: bytes | None) -> Chatbot:
    """Return the chatbot whose key signs. Raises OperatorError."""
    if name is not None:
        if name not in config.chatbots:
            raise OperatorError(f"--chatbot {name}: no chatbot has this name{did_you_mean(name, config.chatbots)}")
        return config.chatbots[name]
    if body is None:
        return _only(config)
    serial = _serial(body)
    if serial not in config.chatbot_by_serial:
        raise OperatorError(
            f"the event's SerialNumber {serial or '(none)'} is not that of a chatbot in the configuration; "
            "name the signing chatbot with --chatbot"
        )
    return config.chatbot_by_serial[serial]


def _only(config: Config) -> Chatbot:
    """Return the first chatbot, for a sample."""
    for chatbot in config.chatbots.values():
        if len(config.chatbots) > 1:
            output.complain(f"signing for chatbot {chatbot.name}; choose another one with --chatbot")
        return chatbot
    raise OperatorError("the configuration has no chatbot to sign for; add one under chatbots")


def _serial(body: bytes) -> str:
    """Return the serial number of the body, or of its first element."""
    try:
        document = decode(body)
    except ValueError:
        return ""
    if isinstance(document, list) and document:
        document = document[0]
    return serial_number(document) or ""


def _sample(chatbot: Chatbot, now: float) -> bytes:
    """Return a lead in the vendor's form, with an invented person."""
    return orjson.dumps(
        {
            "SerialNumber": chatbot.serial_numbers[0],
            "Type": "Lead",
            "FirstName": "Ada",
            "LastName": "Example",
            "Email": "ada@example.com",
            "PhoneNumber": "+12025550123",
            "CreateTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Content": "A sample lead, sent by leadbridge send.",
            "SessionID": int(now * 1000),
            "URI": "https://example.com/",
        }
    )


def _headers(chatbot: Chatbot, body: bytes, now: float) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if chatbot.signing_keys:
        headers[HEADER] = sign(chatbot.signing_keys[0], str(int(now)), body)
    return headers


def _url(to: str | None, listen: ListenAddress) -> URL:
    """Return the address to send to; without a path it is the webhook's. Raises OperatorError."""
    if to is None:
        return URL.build(scheme="http", host=_ANYWHERE.get(listen.host, listen.host), port=listen.port, path="/webhook")
    try:
        url = URL(to)
    except ValueError as error:
        raise OperatorError(f"--to {to}: not a URL; write http://HOST:PORT/webhook") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise OperatorError(f"--to {to}: not the URL of a webhook; write http://HOST:PORT/webhook")
    return url if url.path not in {"", "/"} else url.with_path("/webhook")


async def _post(url: URL, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Send the event; return the answer's status and body. Raises OperatorError."""
    timeout = aiohttp.ClientTimeout(TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, await _read(answer)
    except TimeoutError as error:
        raise OperatorError(f"{url}: no answer within {TIMEOUT:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise OperatorError(f"{url}: {error}; is `leadbridge serve` running there?") from error


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Read the answer's body, or the beginning of a long body."""
    body = b""
    while chunk := await answer.content.read(ANSWER_LIMIT - len(body)):
        body += chunk
    return body
