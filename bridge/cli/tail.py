"""`leadbridge tail`: events, deliveries and refused requests as they happen."""

import json as json_text
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from bridge.admin.presentation import optional_timestamp
from bridge.cli import inputs, output
from bridge.cli.inputs import ChatbotOption, ConfigOption, DestinationOption, PathArgument
from bridge.event import timestamp
from bridge.operations.store_access import open_store
from bridge.store.activity import STEP, Follower, LatestActivity
from bridge.store.interface import DeliveryState
from bridge.store.queries import DeliveryRow

LOOK_SECONDS = 0.5
BACK = 10

_COLOURS = {"received": None, "delivered": "green", "again": "yellow", "dead": "red", "refused": "red"}

app = output.application()

ActivityLine = dict[str, Any]


@app.command(
    epilog=output.examples("leadbridge tail", "leadbridge tail --chatbot acme --back 50", "leadbridge tail --json")
)
def tail(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    chatbot: ChatbotOption = None,
    destination: DestinationOption = None,
    back: Annotated[
        int, typer.Option("--back", metavar="N", min=0, max=STEP, help="Begin with the last N events.")
    ] = BACK,
    json: Annotated[bool, typer.Option("--json", help="Write a JSON object in each line, for programs.")] = False,
) -> None:
    """Follow new events, tried deliveries and refused requests until Ctrl-C.

    A delivery is `delivered`, `dead` or `discarded`, or is tried `again` later. The content of events is not
    shown; use `events show` for it.
    """
    store = open_store(inputs.read_config(inputs.chosen_path(path, config)))
    follower = Follower()
    with store.reading() as connection:
        follower.begin(connection, back)
    try:
        while True:
            with store.reading() as connection:
                news = follower.look(connection)
            for line in _lines(news):
                if _is_wanted(line, chatbot, destination):
                    _show(line, as_json=json)
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        return


def _lines(news: LatestActivity) -> Iterator[ActivityLine]:
    """Return a line for each new event, refused request and tried delivery."""
    for event in news.events:
        yield {
            "at": timestamp(event.received_at),
            "what": "received",
            "chatbot": event.chatbot,
            "destination": None,
            "event": event.id,
            "detail": event.type if event.state.value == "accepted" else event.state.value,
        }
    for refused in news.refused:
        yield {
            "at": timestamp(refused.received_at),
            "what": "refused",
            "chatbot": refused.chatbot,
            "destination": None,
            "event": None,
            "detail": f"wrong signature; kept as `quarantine` {refused.id}",
        }
    for delivery in news.deliveries:
        yield {
            "at": optional_timestamp(delivery.settled_at) or timestamp(time.time()),
            "what": "again" if delivery.state is DeliveryState.PENDING else delivery.state.value,
            "chatbot": delivery.chatbot,
            "destination": delivery.destination,
            "event": delivery.event_id,
            "detail": _detail(delivery),
        }


def _detail(delivery: DeliveryRow) -> str:
    named = f"delivery {delivery.id}"
    if delivery.state is DeliveryState.PENDING:
        return f"{named}: {delivery.reason or 'failed'}, due {optional_timestamp(delivery.due_at)}"
    if delivery.state is DeliveryState.DELIVERED and delivery.settled_at is not None:
        return f"{named}: after {delivery.settled_at - delivery.received_at:,.1f} s"
    return f"{named}: {delivery.reason}" if delivery.reason else named


def _is_wanted(line: ActivityLine, chatbot: str | None, destination: str | None) -> bool:
    """Select by chatbot and destination; a line without a destination suits each of them."""
    return (chatbot is None or line["chatbot"] == chatbot) and (
        destination is None or line["destination"] in {None, destination}
    )


def _show(line: ActivityLine, *, as_json: bool) -> None:
    if as_json:
        output.say(json_text.dumps(line))
        return
    whom = " > ".join(filter(None, (line["chatbot"] or "-", line["destination"])))
    text = f"{line['at'][:19]}Z  {line['what']:<9}  {whom}  {(line['event'] or '')[:12]}  {line['detail'] or ''}"
    output.say(text.rstrip(), _COLOURS.get(line["what"]))
