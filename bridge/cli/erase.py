"""`leadbridge erase`: a person's data, removed for good."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from bridge.audit import BY_COMMAND, Action, Entry
from bridge.cli import configuration, output
from bridge.cli.options import JsonOption, PathArgument
from bridge.cli.store import OpenStore, cause, driver_of, open_store
from bridge.config import Config
from bridge.errors import StoreUnavailableError
from bridge.store import auditing, erasure
from bridge.store.driver import Driver
from bridge.store.erasure import Extent, Holding, Remains
from bridge.store.mentions import Address
from bridge.store.opening import spool_driver
from bridge.store.sqlite import SqliteDriver

SHOWN = 20
"""The most ids that are named in text."""

_ADVICE = {
    Remains.LOG: "somebody reads the store all the while (a backup, a shell): the address may still be in its "
    "write-ahead log. Run this again when that has ended",
    Remains.PAGES: "the address may still be in unused parts of the store's file, which is too large to be rewritten "
    "beside a running `leadbridge serve`. Stop that for a moment, and run this again",
}

app = output.application()


@dataclass(frozen=True, slots=True, repr=False)
class _Found:
    """What one store holds of the person."""

    driver: Driver
    store: OpenStore
    events: Holding
    requests: Holding
    extent: Extent
    words: int

    @property
    def anything(self) -> bool:
        return bool(self.events.sure or self.requests.sure or self.words)


@app.command()
def erase(
    path: PathArgument = None,
    *,
    email: Annotated[str, typer.Option("--email", metavar="ADDRESS", help="The address of the person.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove for good all that holds an e-mail address: events, their deliveries and attempts, refused requests.

    The address counts wherever it stands in an event, in whatever case and however it is escaped; not as a part of a
    longer one: such events are named and left alone. Where a destination has named it in another lead's story,
    [erased] takes its place. Of an embedded store the free pages and the write-ahead log are cleaned too. Where several
    processes share PostgreSQL, run it beside each of them, for each has a spool of its own.

    It works beside a running `leadbridge serve`. A delivery that is pending is not made any more, but a call that is
    on its way is not called back. What the CRM, AI Agent and your backups hold is not touched: erase it there first.

    The exit status is 1 if nothing was found, or if something may be left.
    """
    address = _address(email)
    found = [_find(*each, address) for each in _stores(configuration.read(path))]
    anything = any(each.anything for each in found)
    if not json:
        _show_unsure(found)
    if anything:
        _confirm(f"{_description(found)}. Erase all of this for good?", yes=yes)
    tally = _Tally(found[0].store, found)
    for each in found:
        _erase(each, address, tally)
    # Also where nothing is there: an earlier run may have been stopped before this.
    remains = [left for each in found if (left := _clean(each.driver, address)) is not Remains.NOTHING]
    if json:
        output.write_json(_facts(found, remains))
    else:
        output.say(f"erased: {_description(found)}" if anything else "nothing in the store holds this address")
    for left in remains:
        output.complain(_ADVICE[left])
    if remains or not anything:
        raise typer.Exit(1)


def _address(email: str) -> Address:
    try:
        return Address(email)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--email") from None


def _stores(settings: Config) -> Iterator[tuple[Driver, OpenStore]]:
    """Give the store, and the spool that a process on this machine keeps before it."""
    driver = driver_of(settings)
    yield driver, open_store(settings)
    if not driver.exclusive and Path(settings.store.spool).exists():
        spool = spool_driver(settings.store.spool, settings.store.encryption_keys)
        yield spool, OpenStore(spool)


def _find(driver: Driver, store: OpenStore, address: Address) -> _Found:
    """Read the whole store, in steps: a long question would keep the write-ahead log from being begun anew."""
    events, requests = Holding(), Holding()
    _walk(store.reading, lambda connection, after: erasure.look_at_events(connection, address, after, events))
    _walk(store.reading, lambda connection, after: erasure.look_at_requests(connection, address, after, requests))
    seqs = list(events.sure)
    with store.reading() as connection:
        extent, words = erasure.extent(connection, seqs), erasure.words(connection, address, seqs)
    return _Found(driver, store, events, requests, extent, words)


def _walk(
    reading: Callable[[], AbstractContextManager[Connection]], look: Callable[[Connection, int], int | None]
) -> None:
    after: int | None = 0
    while after is not None:
        with reading() as connection:
            after = look(connection, after)


class _Tally:
    """The entry in the audit log, which counts the events that are erased; it says neither whose nor which."""

    def __init__(self, store: OpenStore, found: Sequence[_Found]) -> None:
        """Keep it in the store, before anything is erased."""
        self._store = store
        facts: dict[str, str | int] = {
            "of": sum(len(each.events.sure) for each in found),
            "deliveries": sum(each.extent.deliveries for each in found),
            "requests": sum(len(each.requests.sure) for each in found),
            "texts": sum(each.words for each in found),
        }
        with store.writing() as connection:
            self._entry = auditing.keep(connection, Entry(BY_COMMAND, Action.ERASE, count=0, facts=facts), time.time())

    def add(self, store: OpenStore, connection: Connection, count: int) -> None:
        """Count a step, in its own transaction; one of the spool, which is another store, before it."""
        if store is self._store:
            auditing.add(connection, self._entry, count)
            return
        with self._store.writing() as own:
            auditing.add(own, self._entry, count)


def _erase(found: _Found, address: Address, tally: _Tally) -> None:
    for seqs in _steps(list(found.events.sure)):
        with found.store.writing() as connection:
            tally.add(found.store, connection, len(seqs))
            erasure.erase_events(connection, seqs)
    for ids in _steps(list(found.requests.sure)):
        with found.store.writing() as connection:
            erasure.erase_requests(connection, ids)
    if found.words:
        with found.store.writing() as connection:
            erasure.erase_words(connection, address)


def _steps(rows: Sequence[int]) -> Iterator[list[int]]:
    left = iter(rows)
    while step := list(islice(left, erasure.STEP)):
        yield step


def _clean(driver: Driver, address: Address) -> Remains:
    if not isinstance(driver, SqliteDriver):
        return Remains.NOTHING
    try:
        return erasure.clean(driver, address)
    except driver.errors as error:
        raise StoreUnavailableError(
            f"the rows are erased, but the store's file cannot be cleaned: {cause(error)}; see that its disk has room "
            "for a second copy of it, and run this again"
        ) from error


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not _asked_in_a_terminal():
        raise typer.BadParameter(f"{question} Say so with --yes: there is nobody to ask")
    typer.confirm(question, abort=True, err=True)


def _asked_in_a_terminal() -> bool:
    return sys.stdin.isatty()


# -- showing


def _show_unsure(found: Sequence[_Found]) -> None:
    events = [event for each in found for event in each.events.unsure]
    requests = [request for each in found for request in each.requests.unsure]
    for what, unsure in (("events", events), ("requests in quarantine", requests)):
        if unsure:
            names = ", ".join(unsure[:SHOWN]) + (", …" if len(unsure) > SHOWN else "")
            output.complain(
                f"left alone, for the address is only a part of a longer one there: {len(unsure)} {what} ({names}). "
                "If it is the person's all the same, give that longer one"
            )


def _description(found: Sequence[_Found]) -> str:
    parts = [
        _count(sum(len(each.events.sure) for each in found), "event", "events"),
        _count(sum(each.extent.deliveries for each in found), "delivery", "deliveries"),
        _count(sum(len(each.requests.sure) for each in found), "request in quarantine", "requests in quarantine"),
        _count(sum(each.words for each in found), "text of a destination", "texts of destinations"),
    ]
    waiting = ", ".join(f"{count} to {name}" for name, count in sorted(_pending(found).items()))
    pending = f"; not delivered yet, and never to be: {waiting}" if waiting else ""
    return ", ".join(each for each in parts if each) + pending


def _pending(found: Sequence[_Found]) -> dict[str, int]:
    return dict(sum((Counter(each.extent.pending) for each in found), Counter[str]()))


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}" if number else ""


def _facts(found: Sequence[_Found], remains: Sequence[Remains]) -> dict[str, object]:
    return {
        "erased": any(each.anything for each in found),
        "events": [event for each in found for event in each.events.sure.values()],
        "deliveries": sum(each.extent.deliveries for each in found),
        "pending": _pending(found),
        "quarantined": [request for each in found for request in each.requests.sure],
        "texts": sum(each.words for each in found),
        "unsure": {
            "events": [event for each in found for event in each.events.unsure],
            "quarantined": [int(request) for each in found for request in each.requests.unsure],
        },
        "remains": [each.value for each in remains],
    }
