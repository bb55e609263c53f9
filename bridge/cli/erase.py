"""`leadbridge erase`: a person's data, removed for good."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Annotated

import typer
from sqlalchemy import Connection

from bridge.cli import inputs, output
from bridge.cli.inputs import JsonOption, PathArgument
from bridge.cli.store import OpenStore, all_stores, cause
from bridge.config import Config
from bridge.errors import StoreUnavailableError
from bridge.identity import Identity
from bridge.operations.audit import BY_COMMAND, Action, Entry
from bridge.store import audit_log, erasure, tombstones
from bridge.store.driver import Driver
from bridge.store.erasure import ErasureExtent, PersonMatches, Remains
from bridge.store.installation import adopt
from bridge.store.person_match import EmailAddress, Person, PersonWords, PhoneNumber
from bridge.store.sqlite import SqliteDriver

SHOWN = 20
"""The most ids that are named in text."""

_ADVICE = {
    Remains.LOG: "somebody reads the store all the while (a backup, a shell): the person may still be in its "
    "write-ahead log. Run this again when that has ended",
    Remains.PAGES: "the person may still be in unused parts of the store's file, which is too large to be rewritten "
    "beside a running `leadbridge serve`. Stop that for a moment, and run this again",
}

app = output.application()


@dataclass(frozen=True, slots=True, repr=False)
class _Found:
    """What one store holds of the person."""

    driver: Driver
    store: OpenStore
    events: PersonMatches
    requests: PersonMatches
    words: PersonWords
    extent: ErasureExtent = field(default_factory=lambda: ErasureExtent(0, {}))
    texts: int = 0

    @property
    def anything(self) -> bool:
        return bool(self.events.sure or self.requests.sure or self.texts)


@app.command()
def erase(
    path: PathArgument = None,
    *,
    email: Annotated[str | None, typer.Option("--email", metavar="ADDRESS", help="The address of the person.")] = None,
    phone: Annotated[str | None, typer.Option("--phone", metavar="NUMBER", help="The person's phone number.")] = None,
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="COUNTRY", help="The country of a number without a country code, such as US."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove for good all that names a person: events, their deliveries and attempts, refused requests.

    An e-mail address counts wherever it stands in an event, in whatever case and however it is escaped; not as a part
    of a longer one. A phone number counts by its digits, whatever stands between them, with and without its country
    code (write it with a +, or say its --region); of fewer than 10 digits only in the field PhoneNumber. Events where
    it is not sure are named and left alone.

    Where a destination has named the person in another lead's story or in a lane's reason, by the address or number,
    or by a name or a message of an erased event, [erased] takes the place of the whole text. Of an embedded store the
    free pages and the write-ahead log are cleaned too.

    An erased event does not come back: for as long as somebody could send its captured request again, it is answered
    with success and not kept. The same holds for what waits in the spool of another machine, for 7 days. The spool of
    this machine is searched; where several processes share PostgreSQL, run this beside each of them.

    It works beside a running `leadbridge serve`. A delivery that is pending is not made any more, but a call that is
    on its way is not called back. What the CRM, AI Agent and your backups hold is not touched: erase it there first.

    The exit status is 1 if nothing was found, or if something may be left.
    """
    person = _person(email, phone, region)
    settings = inputs.read(path)
    found = _find_all(settings, person)
    anything = any(each.anything for each in found)
    if not json:
        _show_unsure(found)
    if anything:
        _confirm(f"{_description(found)}. Erase all of this for good?", yes=yes)
    main = found[-1]
    tally = _Tally(main.store, found)
    now = time.time()
    tolerances = [0.0 if each.insecure_skip_verify else each.signature_tolerance for each in settings.chatbots.values()]
    until = tombstones.until(now, tolerances, shared=not main.driver.exclusive)
    with main.store.writing() as connection:
        contacts = person.contacts(adopt(connection, settings.store.identity_key))
        tombstones.keep_contacts(connection, contacts, now, until)
    for each in found:
        _erase(each, main.store, until, tally)
    # Also where nothing is there: an earlier run may have been stopped before this.
    spellings = tuple({*person.spellings, *(each for one in found for each in one.events.spellings)})
    remains = [left for each in found if (left := _clean(each.driver, spellings)) is not Remains.NOTHING]
    if json:
        output.write_json(_facts(found, remains))
    else:
        output.say(f"erased: {_description(found)}" if anything else "nothing in the store names this person")
    for left in remains:
        output.complain(_ADVICE[left])
    if remains or not anything:
        raise typer.Exit(1)


def _person(email: str | None, phone: str | None, region: str | None) -> Person:
    try:
        if email is not None and phone is None and region is None:
            return EmailAddress(email)
        if phone is not None and email is None:
            return PhoneNumber(phone, region.upper() if region else None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--phone" if email is None else "--email") from None
    raise typer.BadParameter("give either --email, or --phone and perhaps --region")


def _find_all(settings: Config, person: Person) -> list[_Found]:
    """Look into the spool that a process on this machine keeps, then into the store, which comes last.

    In this order, since what is moved meanwhile is moved from the one to the other.
    """
    stores = list(all_stores(settings))
    with stores[0][1].writing() as connection:
        identity = adopt(connection, settings.store.identity_key)
    words = PersonWords(person)
    found = [_find(*each, person, words, identity) for each in reversed(stores)]
    return [_measured(each) for each in found]


def _find(driver: Driver, store: OpenStore, person: Person, words: PersonWords, identity: Identity) -> _Found:
    """Read the whole store, in steps: a long question would keep the write-ahead log from being begun anew."""
    found = _Found(driver, store, PersonMatches(), PersonMatches(), words)
    for look, holding in ((erasure.match_events, found.events), (erasure.match_requests, found.requests)):
        after: int | None = 0
        while after is not None:
            with store.reading() as connection:
                after = look(connection, person, after, holding, words, identity)
    return found


def _measured(found: _Found) -> _Found:
    """Count what goes with the events, and the texts that name the person, once all that they say is known."""
    seqs = list(found.events.sure)
    with found.store.reading() as connection:
        extent = erasure.extent(connection, seqs)
    texts = sum(len(each.columns) for step in erasure.texts(found.store.reading, found.words, seqs) for each in step)
    return replace(found, extent=extent, texts=texts)


class _Tally:
    """The entry in the audit log, which counts the events that are erased; it says neither whose nor which."""

    def __init__(self, store: OpenStore, found: Sequence[_Found]) -> None:
        """Keep it in the store, before anything is erased."""
        self._store = store
        facts: dict[str, str | int] = {
            "of": sum(len(each.events.sure) for each in found),
            "deliveries": sum(each.extent.deliveries for each in found),
            "requests": sum(len(each.requests.sure) for each in found),
            "texts": sum(each.texts for each in found),
        }
        with store.writing() as connection:
            self._entry = audit_log.keep(connection, Entry(BY_COMMAND, Action.ERASE, count=0, facts=facts), time.time())

    def add(self, store: OpenStore, connection: Connection, count: int) -> None:
        """Count a step, in its own transaction; one of the spool, which is another store, before it."""
        if store is self._store:
            audit_log.add(connection, self._entry, count)
            return
        with self._store.writing() as own:
            audit_log.add(own, self._entry, count)


def _erase(found: _Found, main: OpenStore, until: float | None, tally: _Tally) -> None:
    """Leave the tombstones, then erase, in steps. What the spool holds has its tombstones in the store, and first.

    A process that moves it at this moment is stopped by them.
    """
    for seqs in _steps(list(found.events.sure)):
        with _marking(found, main, found.events, seqs, until) as connection:
            tally.add(found.store, connection, len(seqs))
            erasure.erase_events(connection, seqs)
    for numbers in _steps(list(found.requests.sure)):
        with _marking(found, main, found.requests, numbers, until) as connection:
            erasure.erase_requests(connection, numbers)
    for step in erasure.texts(found.store.reading, found.words, ()):
        if step:
            with found.store.writing() as connection:
                erasure.erase_texts(connection, step)


@contextmanager
def _marking(
    found: _Found, main: OpenStore, holding: PersonMatches, rows: Sequence[int], until: float | None
) -> Iterator[Connection]:
    """Change a store in the transaction that leaves the tombstones; of a spool, in one after it."""
    ids = set[bytes]().union(*(holding.marks[each] for each in rows))
    if found.store is main:
        with main.writing() as connection:
            tombstones.keep(connection, ids, until)
            yield connection
        return
    with main.writing() as own:
        tombstones.keep(own, ids, until)
    with found.store.writing() as connection:
        yield connection


def _steps(rows: Sequence[int]) -> Iterator[list[int]]:
    left = iter(rows)
    while step := list(islice(left, erasure.STEP)):
        yield step


def _clean(driver: Driver, spellings: Sequence[bytes]) -> Remains:
    if not isinstance(driver, SqliteDriver):
        return Remains.NOTHING
    try:
        return erasure.clean(driver, spellings)
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
                f"left alone, because it is not sure that the person is meant: {len(unsure)} {what} ({names}). "
                "If it is the person's all the same, give the address or number as it stands there"
            )


def _description(found: Sequence[_Found]) -> str:
    parts = [
        _count(sum(len(each.events.sure) for each in found), "event", "events"),
        _count(sum(each.extent.deliveries for each in found), "delivery", "deliveries"),
        _count(sum(len(each.requests.sure) for each in found), "request in quarantine", "requests in quarantine"),
        _count(sum(each.texts for each in found), "text of a destination", "texts of destinations"),
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
        "texts": sum(each.texts for each in found),
        "unsure": {
            "events": [event for each in found for event in each.events.unsure],
            "quarantined": [int(request) for each in found for request in each.requests.unsure],
        },
        "remains": [each.value for each in remains],
    }
