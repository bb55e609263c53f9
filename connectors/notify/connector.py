"""The notify connector: one message for each record and address, through Apprise."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from connectors.base import (
    Connector,
    Context,
    ExpressionError,
    Finding,
    MappedRoute,
    Outcome,
    Preview,
    Reason,
    Record,
    Rejected,
    SettingError,
    Severity,
)
from connectors.event_text import Sources
from connectors.notify import answers, requests
from connectors.notify.requests import Message
from connectors.notify.settings import NotifyRoute, NotifySettings

# Apprise's log may repeat addresses, which hold tokens, and texts of a lead.
for _name in ("apprise", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class NotifyConnector(Connector):
    """Sends a message about each lead to people: e-mail, Slack, Teams, SMS, and whatever else Apprise supports.

    A message has no key, so it is sent at least once: it may come twice if the connection is lost before the service
    confirmed it. An address that has confirmed it does not get it again when another one failed.
    """

    destination_settings = NotifySettings
    route_settings = NotifyRoute

    def __init__(self, settings: NotifySettings, context: Context) -> None:
        self._addresses = tuple(each.get_secret_value() for each in settings.to)
        self._sources = Sources(context)
        self._context = context
        faults = [
            SettingError(("to", at), "Apprise does not know this form of address; see github.com/caronc/apprise/wiki")
            for at, address in enumerate(self._addresses)
            if not _apprise().add(address)
        ]
        if faults:
            raise ExceptionGroup("to", faults)

    def check_route(self, settings: NotifyRoute, fields: Sequence[str]) -> None:
        """Compile the texts. Raises `SettingError` for them, and for a route without anything to say."""
        self._sources.check("subject", settings.subject)
        self._sources.check("text", settings.text)
        if settings.text is None and not fields:
            raise SettingError(("text",), "is missing, and no field is mapped: the message would be empty")

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Send the messages, one after the other."""
        return [await self._deliver_one(record) for record in records]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the message about the first record."""
        message = self._message(records[0])
        to = ", ".join(f"{answers.kind(each)}://…" for each in self._addresses)
        return Preview("SEND", to, {"Subject": message.subject}, message.text)

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Return a note: a service cannot be asked without sending something to people."""
        what = "the addresses have a known form; `leadbridge send` with a test lead shows that messages arrive"
        return (Finding(Severity.NOTE, what),)

    async def close(self) -> None:
        """Do nothing: Apprise opens a connection for each message."""

    async def _deliver_one(self, record: Record) -> Outcome:
        try:
            message = await self._context.offload(lambda: self._message(record))
        except ExpressionError as error:
            return Rejected(Reason.MAPPING, error.message)
        sent = set(requests.sent_marks(record.memo))
        failed: list[str] = []
        last: str | None = None
        for address in self._addresses:
            mark = requests.mark(address)
            if mark in sent:
                continue
            async with self._context.pace():
                taken, raised = await asyncio.to_thread(_send, address, message)
            if taken:
                sent.add(mark)
            else:
                failed.append(answers.kind(address))
                last = raised or last
        return answers.notify_outcome(frozenset(sent), failed, last)

    def _message(self, record: Record) -> Message:
        route = record.route
        assert isinstance(route, NotifyRoute)  # noqa: S101 - the bridge passes `route_settings`
        return requests.message(record, route, self._sources)


def _apprise() -> Any:
    # Imported with the first destination that needs it: it takes half a second and 45 MB.
    from apprise import Apprise, AppriseAsset  # noqa: PLC0415

    # A redirect would carry the lead to another host, or pass for a success without a message.
    return Apprise(asset=AppriseAsset(app_id="Leadbridge", service_timeout=0, http_redirects=False))


def _send(address: str, message: Message) -> tuple[bool, str | None]:
    """Send a message to one address. Returns True if it was taken, and the kind of an error. Blocks; for a thread."""
    from apprise import NotifyFormat, NotifyType  # noqa: PLC0415

    try:
        target = _apprise()
        target.add(address)
        taken = target.notify(
            title=message.subject, body=message.text, body_format=NotifyFormat.TEXT, notify_type=NotifyType.INFO
        )
    except Exception as error:  # noqa: BLE001 - a service's fault; its text may hold the address
        return False, type(error).__name__
    return bool(taken), None
