"""Who works a lane, and whether it is paused: the statements on `lanes`, run inside the writer's transaction."""

from collections.abc import Sequence

from sqlalchemy import Connection, or_, select, update

from bridge.errors import LeaseLostError
from bridge.store.base import Lease, Pause
from bridge.store.schema import lanes


def claim(connection: Connection, owner: str, names: Sequence[str], now: float, ttl: float) -> dict[str, Lease]:
    """Take the lanes that are free or whose lease is over, renew the owner's own; give those that it holds now.

    Taking a lane raises its fence, renewing does not. A lane that has no row yet gets one.
    """
    known = {row.name: row for row in connection.execute(select(lanes).where(lanes.c.name.in_(names)))}
    held = {}
    for name in names:
        row = known.get(name)
        if row is None:
            connection.execute(lanes.insert().values(name=name, owner=owner, fence=1, lease_until=now + ttl))
            held[name] = Lease(name, 1)
        elif row.owner == owner or row.owner is None or row.lease_until <= now:
            fence = row.fence if row.owner == owner else row.fence + 1
            connection.execute(
                update(lanes).where(lanes.c.name == name).values(owner=owner, fence=fence, lease_until=now + ttl)
            )
            held[name] = Lease(name, fence)
    return held


def release(connection: Connection, owner: str | None) -> None:
    """Give up all lanes of the owner, or of everybody: the next one need not wait for the leases to end."""
    held = lanes.c.owner.is_not(None) if owner is None else lanes.c.owner == owner
    connection.execute(update(lanes).where(held).values(owner=None, lease_until=None))


def pause(connection: Connection, lease: Lease, pause: Pause | None) -> None:
    """Write the lane's own pause, or its end; an operator's stays. Raises LeaseLostError."""
    row = connection.execute(select(lanes.c.fence).where(lanes.c.name == lease.lane)).one_or_none()
    if row is None or row.fence != lease.fence:
        raise LeaseLostError(f"lane {lease.lane}: another process has taken it over")
    connection.execute(
        update(lanes)
        .where(lanes.c.name == lease.lane, or_(lanes.c.paused_by.is_(None), lanes.c.paused_by != "operator"))
        .values(
            paused_by=pause.by if pause else None,
            pause_reason=pause.reason if pause else None,
            pause_detail=pause.detail if pause else None,
            paused_until=pause.until if pause else None,
        )
    )


def paused(connection: Connection, name: str) -> Pause | None:
    """Read why a lane is paused; None if it is not, or is not known."""
    row = connection.execute(select(lanes).where(lanes.c.name == name)).one_or_none()
    if row is None or row.paused_by is None:
        return None
    return Pause(row.paused_by, row.pause_reason, row.pause_detail, row.paused_until)
