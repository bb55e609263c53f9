"""The bounded place for requests whose signature did not hold: the statements on `quarantine`.

A mistyped key must lose nothing, and a stranger must not fill the disk: each chatbot has a place of its own, bounded
in number, bytes and age. When it is full, the newest is not taken: what was first refused is what the sender will
not send again, and a flood must not wash it out.
"""

import hashlib

from sqlalchemy import Connection, delete, func, select

from bridge.store.base import Quarantined
from bridge.store.missing import insert_missing
from bridge.store.schema import quarantine

REQUESTS_LIMIT = 200
BYTES_LIMIT = 8 * 1024 * 1024
AGE_LIMIT = 7 * 24 * 3600.0


def keep(connection: Connection, request: Quarantined) -> bool:
    """Keep the request; False if its chatbot's place is full. The same body takes one place however often it comes."""
    connection.execute(
        delete(quarantine).where(
            quarantine.c.chatbot == request.chatbot, quarantine.c.received_at < request.received_at - AGE_LIMIT
        )
    )
    count, size = connection.execute(
        select(func.count(), func.coalesce(func.sum(func.length(quarantine.c.body)), 0)).where(
            quarantine.c.chatbot == request.chatbot
        )
    ).one()
    if count >= REQUESTS_LIMIT or size + len(request.body) > BYTES_LIMIT:
        return False
    row = {
        "received_at": request.received_at,
        "chatbot": request.chatbot,
        "digest": hashlib.sha256(request.body).digest(),
        "signature": request.signature,
        "body": request.body,
    }
    insert_missing(connection, quarantine, [row])
    return True
