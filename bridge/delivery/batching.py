"""Which records share a call. Pure."""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from bridge.config.model import Destination
from bridge.store.interface import Delivery
from connectors.base import Record


@dataclass(frozen=True, slots=True)
class Ready:
    """A delivery with the record it has become."""

    delivery: Delivery
    record: Record
    loaded_at: float
    """Seconds since the epoch; what is younger than the destination's `linger` may wait for company."""
    group: Hashable = None
    """The connector's `batch_group` of the record; not asked for where a call takes one record."""
    key: Hashable = None
    """Its `batch_key`."""


def made_ready(delivery: Delivery, record: Record, destination: Destination, now: float) -> Ready:
    """Ask the connector what a record may share a call with. Raises whatever the connector does."""
    if destination.batch_size == 1:
        return Ready(delivery, record, now)
    group, key = destination.connector.batch_group(record), destination.connector.batch_key(record)
    hash(key)
    return Ready(delivery, record, now, group, key)


def next_batch(ready: deque[Ready], size: int, loaded_before: float) -> list[Ready]:
    """Take the next call's records out of `ready`: the first one, and others that may share its call.

    At most `size`, all of one group, no two with the same key, in their order. Empty if the batch is not full and its
    first record was not loaded by `loaded_before`; then nothing is taken.
    """
    if size == 1:
        return [ready.popleft()]
    first = ready[0]
    keys = set()
    batch: list[Ready] = []
    left: list[Ready] = []
    for each in ready:
        if len(batch) < size and each.key not in keys and each.group == first.group:
            keys.add(each.key)
            batch.append(each)
        else:
            left.append(each)
    if len(batch) < size and first.loaded_at > loaded_before:
        return []
    ready.clear()
    ready.extend(left)
    return batch


def untried_place(ready: Sequence[Ready]) -> int | None:
    """Return where the first record stands whose delivery has not been tried."""
    return next((place for place, each in enumerate(ready) if not each.delivery.attempts), None)


def bring_untried_forward(ready: deque[Ready]) -> None:
    """Put the first record in front whose delivery has not been tried, if there is one."""
    if place := untried_place(ready):
        first = ready[place]
        del ready[place]
        ready.appendleft(first)
