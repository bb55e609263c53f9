"""Which records share a call. Pure."""

from collections import deque
from dataclasses import dataclass

from bridge.store.base import Delivery
from connectors.base import Connector, Record


@dataclass(frozen=True, slots=True)
class Ready:
    """A delivery with the record it has become."""

    delivery: Delivery
    record: Record
    loaded_at: float
    """Seconds since the epoch; what is younger than the destination's `linger` may wait for company."""


def next_batch(ready: deque[Ready], size: int, loaded_before: float, connector: Connector) -> list[Ready]:
    """Take the next call's records out of `ready`: the first one, and others that may share its call.

    At most `size`, all of one group, no two with the same key, in their order. Empty if the batch is not full and its
    first record was not loaded by `loaded_before`; then nothing is taken.
    """
    if size == 1:
        return [ready.popleft()]
    first = ready[0]
    group = connector.batch_group(first.record)
    keys = set()
    batch: list[Ready] = []
    left: list[Ready] = []
    for each in ready:
        key = connector.batch_key(each.record)
        if len(batch) < size and key not in keys and connector.batch_group(each.record) == group:
            keys.add(key)
            batch.append(each)
        else:
            left.append(each)
    if len(batch) < size and first.loaded_at > loaded_before:
        return []
    ready.clear()
    ready.extend(left)
    return batch
