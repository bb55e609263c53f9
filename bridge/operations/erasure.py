"""Erasure of a person's data, in the store and in the spool of this machine.

`find_person` reads all that names the person. `erase` leaves tombstones and removes it in short transactions, then
cleans the files. Both work beside a running `serve`.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

from sqlalchemy import Connection

from bridge.config import Config
from bridge.errors import StoreUnavailableError
from bridge.identity import Identity
from bridge.operations.audit import Action, Entry, Who
from bridge.operations.store_access import AuditCount, OpenStore, all_stores
from bridge.store import erasure, tombstones
from bridge.store.driver import Driver
from bridge.store.erasure import ErasureExtent, PersonMatches, Remains
from bridge.store.installation import adopt
from bridge.store.person_match import Person, PersonWords
from bridge.store.sqlite import SqliteDriver


@dataclass(frozen=True, slots=True, repr=False)
class StoreMatches:
    """Data of the person in one store."""

    driver: Driver
    store: OpenStore
    events: PersonMatches
    requests: PersonMatches
    words: PersonWords
    extent: ErasureExtent = field(default_factory=lambda: ErasureExtent(0, {}))
    texts: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Matches:
    """Data of the person in the spool, if there is one, and in the store."""

    person: Person
    stores: Sequence[StoreMatches]
    """The store is the last one."""

    @property
    def anything(self) -> bool:
        """True if anything can be erased."""
        return bool(self.events or self.requests or self.texts)

    @property
    def events(self) -> list[str]:
        """Ids of the events that name the person."""
        return [event for each in self.stores for event in each.events.sure.values()]

    @property
    def requests(self) -> list[int]:
        """Ids of the requests in quarantine that name the person."""
        return [request for each in self.stores for request in each.requests.sure]

    @property
    def deliveries(self) -> int:
        """Number of deliveries of the events."""
        return sum(each.extent.deliveries for each in self.stores)

    @property
    def pending(self) -> Mapping[str, int]:
        """Number of pending deliveries among them, by destination."""
        return dict(sum((Counter(each.extent.pending) for each in self.stores), Counter[str]()))

    @property
    def texts(self) -> int:
        """Number of texts of destinations that name the person."""
        return sum(each.texts for each in self.stores)

    @property
    def unsure_events(self) -> list[str]:
        """Ids of the events that may name another person."""
        return [event for each in self.stores for event in each.events.unsure]

    @property
    def unsure_requests(self) -> list[str]:
        """Ids of the requests in quarantine that may name another person."""
        return [request for each in self.stores for request in each.requests.unsure]


def find_person(config: Config, person: Person) -> Matches:
    """Search the spool of this machine, then the store.

    The order matters: an event that is moved during the search is moved from the spool to the store.
    """
    stores = list(all_stores(config))
    with stores[0][1].writing() as connection:
        identity = adopt(connection, config.store.identity_key)
    words = PersonWords(person)
    found = [_find(*each, person, words, identity) for each in reversed(stores)]
    return Matches(person, [_measured(each) for each in found])


def _find(driver: Driver, store: OpenStore, person: Person, words: PersonWords, identity: Identity) -> StoreMatches:
    """Read the whole store in steps, because a long read keeps the write-ahead log from starting anew."""
    found = StoreMatches(driver, store, PersonMatches(), PersonMatches(), words)
    for look, holding in ((erasure.match_events, found.events), (erasure.match_requests, found.requests)):
        after: int | None = 0
        while after is not None:
            with store.reading() as connection:
                after = look(connection, person, after, holding, words, identity)
    return found


def _measured(found: StoreMatches) -> StoreMatches:
    """Count the deliveries of the events, and the texts that name the person or repeat words of the events."""
    seqs = list(found.events.sure)
    with found.store.reading() as connection:
        extent = erasure.erasure_extent(connection, seqs)
    texts = sum(len(each.columns) for step in erasure.texts(found.store.reading, found.words, seqs) for each in step)
    return replace(found, extent=extent, texts=texts)


def erase(config: Config, who: Who, matches: Matches, now: float) -> list[Remains]:
    """Erase the matches for good, and clean the files; return the kinds of remains that may be left.

    Tombstones and the cleaning are repeated even without matches, because an earlier erasure may have been stopped.
    """
    main = matches.stores[-1]
    facts: dict[str, str | int] = {
        "of": len(matches.events),
        "deliveries": matches.deliveries,
        "requests": len(matches.requests),
        "texts": matches.texts,
    }
    # The entry counts the events, and names neither them nor the person.
    count = AuditCount(main.store, Entry(who, Action.ERASE, count=0, facts=facts), time.time())
    tolerances = [0.0 if each.insecure_skip_verify else each.signature_tolerance for each in config.chatbots.values()]
    until = tombstones.until(now, tolerances, shared=not main.driver.exclusive)
    with main.store.writing() as connection:
        contacts = matches.person.contacts(adopt(connection, config.store.identity_key))
        tombstones.keep_contacts(connection, contacts, now, until)
    for each in matches.stores:
        _erase(each, main.store, until, count)
    own = (spelling for one in matches.stores for spelling in one.events.spellings)
    spellings = tuple({*matches.person.spellings, *own})
    return [left for each in matches.stores if (left := _clean(each.driver, spellings)) is not Remains.NOTHING]


def _erase(found: StoreMatches, main: OpenStore, until: float | None, count: AuditCount) -> None:
    """Leave the tombstones, then erase, in steps.

    The spool's tombstones are written to the store first, and stop a process that moves its events at this moment.
    """
    for seqs in _steps(list(found.events.sure)):
        with _marking(found, main, found.events, seqs, until) as connection:
            count.add(found.store, connection, len(seqs))
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
    found: StoreMatches, main: OpenStore, holding: PersonMatches, rows: Sequence[int], until: float | None
) -> Iterator[Connection]:
    """Change a store in the transaction that leaves the tombstones; change a spool in a transaction after it."""
    ids = set[bytes]().union(*(holding.marks[each] for each in rows))
    if found.store is main:
        with main.writing() as connection:
            tombstones.add_tombstones(connection, ids, until)
            yield connection
        return
    with main.writing() as own:
        tombstones.add_tombstones(own, ids, until)
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
        return erasure.scrub_files(driver, spellings)
    except driver.errors as error:
        raise StoreUnavailableError(
            f"the rows are erased, but the store's file cannot be cleaned: {driver.safe_error(error)}; see that "
            "its disk has room for a second copy of it, and run this again"
        ) from error
