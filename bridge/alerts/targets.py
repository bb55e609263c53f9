"""Sending of alerts and reports through Apprise, each target in its own thread and with a time limit.

The URLs are secrets, and Apprise's log may repeat them, so that log is discarded. Apprise is imported with the first
message, because it is large.
"""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from bridge.alerts.notifier import Notification

SEND_SECONDS = 60.0
"""Seconds to wait for a target. Apprise's own limits are 4 s to connect and 4 s between two parts of an answer."""
FIRST_WAIT = 15.0
LONGEST_WAIT = 900.0
"""Seconds until a failed target is tried again: at first, and at most."""
KEPT_LIMIT = 50
"""Maximum number of messages that are kept for a failing target: the newest ones."""

for _name in ("apprise", "urllib3"):
    logging.getLogger(_name).propagate = False
    logging.getLogger(_name).addHandler(logging.NullHandler())

log = structlog.get_logger()

Transport = Callable[[str, Sequence[Notification]], str | None]
"""Sends messages to a target: blocking, from any thread. Returns the reason of a failure, or None."""


UNKNOWN: Final = "it is not an address that Apprise knows; see https://github.com/caronc/apprise for their forms"


def is_address(url: str) -> bool:
    """Return True if Apprise knows the kind of a target and has all that it needs. Sends nothing."""
    from apprise import Apprise  # noqa: PLC0415 - see above

    try:
        return Apprise.instantiate(url) is not None
    except Exception:  # noqa: BLE001 - a plugin's fault; its text may hold the URL
        return False


@dataclass(frozen=True, slots=True)
class Message:
    """A message in both forms."""

    title: str
    text: str
    html: str | None = None
    """The same for targets that show HTML, such as mail."""
    good: bool = True
    """False for a warning."""


def send_message(url: str, message: Message) -> str | None:
    """Send a message to one Apprise URL: blocking, from any thread. Returns the reason of a failure, or None."""
    from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType, OverflowMode  # noqa: PLC0415 - see above

    # Without Apprise's own limit for the call, which would leave threads that the process waits for at its end.
    asset = AppriseAsset(app_id="Leadbridge", service_timeout=0, http_redirects=False)
    try:
        target = Apprise.instantiate(url, asset=asset)
        if target is None:
            return UNKNOWN
        # A long report goes to a chat in parts.
        target.overflow_mode = OverflowMode.SPLIT
        html = message.html if target.resolve_format() is NotifyFormat.HTML else None
        sender = Apprise(asset=asset)
        sender.add(target)
        taken = sender.notify(
            title=message.title,
            body=html or message.text,
            body_format=NotifyFormat.HTML if html else NotifyFormat.TEXT,
            notify_type=NotifyType.SUCCESS if message.good else NotifyType.WARNING,
        )
    except Exception as error:  # noqa: BLE001 - a plugin's fault is no reason to stop; its text may hold the URL
        return f"Apprise raised {type(error).__name__}"
    return None if taken else "it was not taken: see that the address is right, valid, and can be reached from here"


def send_notifications(url: str, messages: Sequence[Notification]) -> str | None:
    """Send messages as one notification to one Apprise URL; see `Transport`."""
    text = "\n".join(each.text for each in messages)
    good = all(each.good for each in messages)
    return send_message(url, Message(f"Leadbridge on {socket.gethostname()}", text, good=good))


async def in_thread(send: Callable[[], str | None], ended: Callable[[], None] = lambda: None) -> str | None:
    """Send in a thread that does not delay the end of the process; `ended` is called in the loop at its end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str | None] = loop.create_future()

    def finish(failure: str | None) -> None:
        ended()
        if not done.done():
            done.set_result(failure)

    def work() -> None:
        failure = send()
        # Without a loop nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, failure)

    threading.Thread(target=work, name="alert", daemon=True).start()
    return await done


def target_label(at: int, url: str) -> str:
    """Return a name of a target for logs: its position in the configuration, and its kind."""
    return f"alerts.to[{at}] ({url.partition('://')[0]})"


class Outbox:
    """Unsent messages of each target. Lives in the event loop's thread; a crash loses them.

    Args:
        send: Sends messages to a target.
        patience: Seconds to wait for a target.
    """

    def __init__(self, send: Transport = send_notifications, patience: float = SEND_SECONDS) -> None:
        self._send = send
        self._patience = patience
        self._waiting: dict[str, list[Notification]] = {}
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._busy: set[str] = set()

    async def post(self, urls: Sequence[str], messages: Sequence[Notification], now: float) -> None:
        """Send messages to all targets, including targets that failed before, and wait for the slowest.

        A target that fails keeps its messages, and a later call tries again.
        """
        for url in self._waiting.keys() - set(urls):
            del self._waiting[url]
        for url in urls:
            self._waiting[url] = [*self._waiting.get(url, ()), *messages][-KEPT_LIMIT:]
        due = [
            (at, url)
            for at, url in enumerate(urls)
            if self._waiting[url] and url not in self._busy and now >= self._not_before.get(url, 0.0)
        ]
        await asyncio.gather(*(self._post(url, target_label(at, url), now) for at, url in due))

    async def _post(self, url: str, name: str, now: float) -> None:
        messages = self._waiting[url]
        try:
            async with asyncio.timeout(self._patience):
                self._busy.add(url)
                failure = await in_thread(partial(self._send, url, messages), partial(self._busy.discard, url))
        except TimeoutError:
            failure = f"no answer within {self._patience:g} s"
        if failure is None:
            # Messages that were added meanwhile wait for the next call.
            self._waiting[url] = self._waiting.get(url, [])[len(messages) :]
            self._failures.pop(url, None)
            log.info("alerted", target=name, messages=len(messages))
            return
        failures = self._failures[url] = self._failures.get(url, 0) + 1
        self._not_before[url] = now + min(FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT)
        log.error("alert_not_sent", target=name, messages=len(messages), failure=failure)
