"""`leadbridge quarantine`: requests that were refused because their signature did not hold."""

import time
from typing import Annotated

import typer

from bridge import again
from bridge.audit import BY_COMMAND, Action, Entry, Subject
from bridge.cli import configuration, output
from bridge.cli.ids import for_each
from bridge.cli.options import PAGE_ROWS, BeforeOption, ChatbotOption, ConfigOption, JsonOption, LimitOption
from bridge.cli.store import OpenStore, open_store
from bridge.config import Config
from bridge.errors import OperatorError
from bridge.event import timestamp
from bridge.store import auditing, questions
from bridge.store.questions import Page, QuarantineRow

_COLUMNS = ("id", "state", "chatbot", "received_at", "bytes")

app = output.application(no_args_is_help=True)


@app.callback()
def quarantine() -> None:
    """Look at requests with a wrong signature; release them.

    A request that names one of your chatbots, but whose signature does not hold, was answered with 401 and is kept
    here for some days: if the signing key in the configuration was mistyped, nothing is lost. Mend the key, then
    release.
    """


@app.command("list")
def list_(
    *,
    config: ConfigOption = None,
    chatbot: ChatbotOption = None,
    before: BeforeOption = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List the requests, newest first, without what they hold."""
    with open_store(configuration.read(config)).reading() as connection:
        rows = questions.quarantine_page(connection, Page(chatbot, None, before, limit))
    output.show_rows([_row(each) for each in rows], _COLUMNS, as_json=json)
    if not json and len(rows) == limit:
        output.complain(f"For older ones: --before {rows[-1].id}")


@app.command()
def release(
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID", show_default=False, help="Ids of requests.")] = None,
    *,
    config: ConfigOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Instead of IDs: every request.")] = False,
) -> None:
    """Verify requests again with the configuration as it is on disk now, and accept those whose signature holds.

    Their age is taken as of their receipt. The others stay, are named, and the exit status is 1.
    """
    if bool(ids) == everything:
        raise typer.BadParameter("give either IDs or --all")
    settings = configuration.read(config)
    store = open_store(settings)
    chosen = _all(store) if everything else ids or []
    if not chosen:
        output.say("nothing is in quarantine")
    for_each(chosen, lambda each: output.say(_release(store, each, settings)))


def _release(store: OpenStore, request: int, config: Config) -> str:
    with store.writing() as connection:
        quarantined = questions.quarantined(connection, request)
        said = again.release(connection, request, quarantined, config) if quarantined else None
        if said is None:
            raise OperatorError(f"{request}: no request in quarantine has this id; see `leadbridge quarantine list`")
        auditing.keep(connection, Entry(BY_COMMAND, Action.RELEASE, Subject.REQUEST, str(request)), time.time())
    return said


def _all(store: OpenStore) -> list[int]:
    """Give every request's id, oldest first; their number is bounded for each chatbot."""
    ids: list[int] = []
    page = None
    with store.reading() as connection:
        while page is None or page:
            page = questions.quarantine_page(connection, Page(before=ids[-1] if ids else None))
            ids += [row.id for row in page]
    return ids[::-1]


def _row(row: QuarantineRow) -> dict[str, object]:
    return {
        "id": row.id,
        "state": "quarantined",
        "chatbot": row.chatbot,
        "received_at": timestamp(row.received_at),
        "bytes": row.size,
    }
