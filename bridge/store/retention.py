"""Retention: the deletion of expired data in small steps beside the traffic.

Ages are counted from the store's newest receipt, not from the clock. A clock that is set wrong deletes nothing, because
it makes no receipt: the signature of a request is too old or too new for it.
"""

import asyncio
from collections.abc import Callable
from functools import partial

import structlog
from sqlalchemy import Connection, case, delete, func, select

from bridge.config.model import Config
from bridge.errors import StoreUnavailableError
from bridge.event import EventState
from bridge.store.audit_log import prune_entries
from bridge.store.exchanges import KEPT_SECONDS, prune_exchanges
from bridge.store.interface import DeliveryState, PruneResult, Store
from bridge.store.quarantine import AGE_LIMIT, prune_requests
from bridge.store.schema import deliveries, events
from bridge.store.tombstones import prune_tombstones

STEP = 500
"""Events that one transaction examines. It takes a few milliseconds."""
NEWEST_LOOKED_AT = 500
"""Number of last events among which the newest receipt is searched."""


def newest(connection: Connection, now: float) -> float | None:
    """Return the receipt of the newest event that is not in the future; None if there is none."""
    last = select(events.c.received_at).order_by(events.c.seq.desc()).limit(NEWEST_LOOKED_AT).subquery()
    query = select(func.max(last.c.received_at)).where(last.c.received_at <= now)
    found: float | None = connection.execute(query).scalar_one()
    return found


def prune_events(connection: Connection, now: float, delivered: float, dead: float, after: int) -> PruneResult:
    """Examine the next `STEP` events after a `seq`, and delete the expired ones.

    An event is kept while a delivery is pending, then for `dead` seconds after its last dead letter, and for
    `delivered` seconds after its last other delivery. An event without deliveries is kept for `delivered` seconds after
    its receipt, or `dead` seconds if it is unrecognised. Events from the future, received under a wrong clock, are
    skipped.
    """
    oldest = min(delivered, dead)
    seen = connection.execute(
        select(events.c.seq, events.c.received_at).where(events.c.seq > after).order_by(events.c.seq).limit(STEP)
    ).all()
    past = [row.received_at for row in seen if row.received_at <= now]
    if not seen or (past and past[0] > now - oldest):
        return PruneResult(None, 0)
    last = seen[-1].seq
    kept = case((deliveries.c.state == DeliveryState.DEAD.value, dead), else_=delivered)
    wanted = (
        select(deliveries.c.id)
        .where(
            deliveries.c.event_seq == events.c.seq,
            (deliveries.c.settled_at.is_(None)) | (deliveries.c.settled_at > now - kept),
        )
        .exists()
    )
    shown = case((events.c.state == EventState.UNRECOGNISED.value, dead), else_=delivered)
    deleted = connection.execute(
        delete(events).where(events.c.seq > after, events.c.seq <= last, events.c.received_at <= now - shown, ~wanted)
    )
    return PruneResult(last if len(seen) == STEP else None, deleted.rowcount)


ROUND_SECONDS = 3600.0
"""Pause between two rounds over the store."""
STEP_SECONDS = 0.2
"""Pause between two steps of a round, in which the writer is free for the traffic."""

log = structlog.get_logger()


async def prune_for_ever(config: Callable[[], Config], store: Store, clock: Callable[[], float]) -> None:
    """Prune the store round after round, until cancelled."""
    while True:
        try:
            newest = await store.newest_receipt(clock())
            if newest is not None:
                await _round(config, store, newest)
        except StoreUnavailableError as error:
            log.warning("not_pruned", error=str(error))
        await asyncio.sleep(ROUND_SECONDS)


async def _round(config: Callable[[], Config], store: Store, now: float) -> None:
    """Prune the store once; `now` is its newest receipt.

    The audit log is kept as long as the longest-kept event, so that the entry of an action lives as long as its
    subject.
    """
    after: int | None = 0
    count = 0
    while after is not None:
        kept = config().store
        pruned = await store.change(
            partial(
                prune_events,
                now=now,
                delivered=kept.retention_delivered,
                dead=kept.retention_dead,
                after=after,
            )
        )
        after = pruned.after
        count += pruned.deleted
        await asyncio.sleep(STEP_SECONDS)
    if count:
        log.info("pruned", events=count)
    more = True
    while more:
        more = await store.change(partial(prune_requests, before=now - AGE_LIMIT))
        more = await store.change(partial(prune_tombstones, now=now)) or more
        more = await store.change(partial(prune_exchanges, before=now - KEPT_SECONDS)) or more
        await asyncio.sleep(STEP_SECONDS)
    more = True
    while more:
        kept = config().store
        oldest = now - max(kept.retention_delivered, kept.retention_dead)
        more = await store.change(partial(prune_entries, before=oldest))
        await asyncio.sleep(STEP_SECONDS)
