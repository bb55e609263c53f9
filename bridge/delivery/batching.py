"""Batches of records that share a call. Pure."""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from bridge.config.model import Destination
from bridge.store.interface import Delivery
from connectors.base import Record


class BatchItem(NamedTuple):
    """A delivery with its record."""

    delivery: Delivery
    record: Record
    loaded_at: float
    """Seconds since the epoch. A record that is younger than the destination's `linger` may wait for others."""
    group: Hashable = None
    """`Connector.batch_group` of the record; not computed if a call takes one record."""
    key: Hashable = None
    """`Connector.batch_key` of the record."""


def ready_record(delivery: Delivery, record: Record, destination: Destination, now: float) -> BatchItem:
    """Ask the connector which records may share a call with this one. Raises any error of the connector."""
    if destination.batch_size == 1:
        return BatchItem(delivery, record, now)
    group, key = destination.connector.batch_group(record), destination.connector.batch_key(record)
    hash(key)
    return BatchItem(delivery, record, now, group, key)


def next_batch(
    ready: deque[BatchItem], size: int, loaded_before: float, shares: Mapping[int, int] = MappingProxyType({})
) -> list[BatchItem]:
    """Take the records of the next call out of `ready`: the first one, and others that may share its call.

    The batch has at most `size` records of one group, no two with the same key, in their order. It is empty, and
    nothing is taken, if it is not full and its first record was loaded after `loaded_before`. `shares` is the most
    records of a call with a delivery, where that is less (`bridge.delivery.suspects`).
    """
    if size == 1:
        return [ready.popleft()]
    first = ready[0]
    keys = set()
    batch: list[BatchItem] = []
    left: list[BatchItem] = []
    for each in ready:
        most = min(size, shares.get(each.delivery.id, size)) if shares else size
        if len(batch) < most and each.key not in keys and each.group == first.group:
            size = most
            keys.add(each.key)
            batch.append(each)
        else:
            left.append(each)
    if len(batch) < size and first.loaded_at > loaded_before:
        return []
    ready.clear()
    ready.extend(left)
    return batch


def untried_place(ready: Sequence[BatchItem]) -> int | None:
    """Return the index of the first record whose delivery was never tried."""
    return next((place for place, each in enumerate(ready) if not each.delivery.attempts), None)


def bring_untried_forward(ready: deque[BatchItem]) -> None:
    """Move the first record whose delivery was never tried to the front, if there is one."""
    if place := untried_place(ready):
        first = ready[place]
        del ready[place]
        ready.appendleft(first)
