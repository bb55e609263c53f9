"""The tally as a count over the tables, which it must equal."""

from sqlalchemy import Connection, case, func, literal, select, union_all

from bridge.store.interface import DeliveryState
from bridge.store.schema import deliveries, events, tally
from bridge.store.tally import SPEED_BOUNDS, WARNED_STATE, TallyKey, add_counts, sql_day


def missing_counts(connection: Connection) -> dict[TallyKey, int]:
    """Return the rows of the tables that the tally does not have. It may have more, of rows that were deleted."""
    floor = connection.dialect.name == "postgresql"
    delivered = deliveries.c.state == DeliveryState.DELIVERED.value
    took = deliveries.c.settled_at - events.c.received_at
    bucket = case(*((took < bound, number) for number, bound in enumerate(SPEED_BOUNDS)), else_=len(SPEED_BOUNDS))
    received = select(
        sql_day(events.c.received_at, floor=floor).label("day"),
        func.coalesce(events.c.chatbot, "").label("chatbot"),
        literal("").label("destination"),
        events.c.state,
        literal(0).label("bucket"),
        literal(1).label("number"),
    )
    ended = (
        select(
            sql_day(deliveries.c.settled_at, floor=floor),
            func.coalesce(events.c.chatbot, ""),
            deliveries.c.destination,
            case((delivered & deliveries.c.warning.is_not(None), WARNED_STATE), else_=deliveries.c.state),
            case((delivered, bucket), else_=0),
            literal(1),
        )
        .select_from(deliveries.join(events))
        .where(deliveries.c.settled_at.is_not(None))
    )
    counted = select(
        tally.c.day, tally.c.chatbot, tally.c.destination, tally.c.state, tally.c.bucket, -tally.c["count"]
    )
    rows = union_all(received, ended, counted).subquery("counts")
    key = (rows.c.day, rows.c.chatbot, rows.c.destination, rows.c.state, rows.c.bucket)
    missing = func.sum(rows.c.number)
    found = connection.execute(select(*key, missing).group_by(*key).having(missing > 0))
    return {TallyKey(*row[:-1]): int(row[-1]) for row in found}


def complete(connection: Connection) -> int:
    """Add to the tally what it lacks, after rows were written past the store; return the number of rows."""
    missing = missing_counts(connection)
    add_counts(connection, missing)
    return sum(missing.values())
