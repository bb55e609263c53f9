"""Outcomes on their way into the store: cleaned, and written even if one of them is refused.

A connector may be anybody's code, and repeats the answers of a destination. So the texts and numbers of an outcome are
cleaned once, before any decision uses them. If the store still refuses an outcome, or another transaction has locked
its row, no other outcome waits for it.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from bridge.errors import LeaseLostError, StoreUnavailableError
from bridge.store.interface import Lease, Settlement, Store
from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry

TEXT_LIMIT = 2_000
"""Maximum number of characters of a text of an outcome."""
MEMO_LIMIT = 100
"""Maximum number of entries of a memo."""
HIGHEST_STATUS = 999
TROUBLE_SECONDS = 1.0
"""Seconds until outcomes are written again after the store could not commit."""
FIRST_LOCKED_SECONDS = 0.25
LONGEST_LOCKED_SECONDS = 1.0
"""Seconds until an outcome whose row was locked is written again: doubled each time, up to the longest."""
NOTE = "the store refused the texts of this outcome; see outcome_refused in the log"

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""PostgreSQL's text cannot hold NUL, and UTF-8 cannot hold half of a surrogate pair, which a header may contain."""

EnumT = TypeVar("EnumT", bound=StrEnum)


def clean_outcome(outcome: Outcome) -> Outcome:
    """Return an outcome whose texts and numbers can be stored and calculated with."""
    status = outcome.status
    if status is not None and not (type(status) is int and 0 <= status <= HIGHEST_STATUS):
        status = None
    if type(outcome) is Delivered and _is_clean(outcome, status):
        return outcome
    memo = _memo(outcome.memo) if outcome.memo else {}
    if isinstance(outcome, Delivered):
        remote_id, remote_url, warning = map(_text, (outcome.remote_id, outcome.remote_url, outcome.warning))
        return Delivered(remote_id, remote_url, warning, status, memo, _names(outcome.left_out))
    reason, detail = _member(outcome.reason, Reason.CONNECTOR_ERROR), _text(outcome.detail) or ""
    if isinstance(outcome, Rejected):
        return Rejected(reason, detail, _member(outcome.blame, Blame.RECORD), status, memo)
    return Retry(reason, detail, _member(outcome.blame, Blame.UNCLEAR), _seconds(outcome.after), status, memo)


def storable(text: str) -> str:
    """Return a text with U+FFFD for each character that the store cannot hold, cut to what an outcome may say."""
    if len(text) > TEXT_LIMIT:
        text = text[: TEXT_LIMIT - 1] + "…"
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("\ufffd", text)


def minimal_settlement(settlement: Settlement) -> Settlement:
    """Return a settlement with the decision about the delivery, and without any text or number of the destination."""
    attempt = settlement.attempt
    return settlement._replace(
        detail=NOTE if settlement.detail is not None else None,
        warning=NOTE if settlement.warning is not None else None,
        remote_id=None,
        remote_url=None,
        memo={},
        attempt=attempt and attempt._replace(status=None, detail=attempt.detail and NOTE, exchange=None),
    )


async def settle(
    store: Store,
    lease: Lease,
    settlements: Sequence[Settlement],
    log: FilteringBoundLogger,
) -> AsyncIterator[Sequence[Settlement]]:
    """Write outcomes, however long the store takes: a known outcome must not be forgotten.

    Yields the outcomes that have just been written. Raises LeaseLostError.
    """
    left, wait = settlements, FIRST_LOCKED_SECONDS
    while left:
        try:
            locked = await store.settle(lease, left)
        except StoreUnavailableError as error:
            log.warning("lane_waits_for_store", error=str(error))
            await asyncio.sleep(TROUBLE_SECONDS)
            continue
        except LeaseLostError:
            raise
        except Exception as error:
            log.exception("outcome_refused", error=type(error).__name__, deliveries=len(left))
            if len(left) > 1:
                # One of them is refused, and the others must not wait for it.
                for each in left:
                    async for written in settle(store, lease, [each], log):
                        yield written
                return
            if left[0] == (shortest := minimal_settlement(left[0])):
                await asyncio.sleep(TROUBLE_SECONDS)
            left = [shortest]
            continue
        yield [each for each in left if each.delivery not in locked]
        left = [each for each in left if each.delivery in locked]
        if left:
            log.warning("rows_locked", deliveries=len(left), again_in=wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_LOCKED_SECONDS)


def _is_clean(outcome: Delivered, status: int | None) -> bool:
    """Return whether an outcome holds nothing but a status, as most do."""
    has_no_texts = outcome.remote_id is outcome.remote_url is outcome.warning is None
    has_only_texts = type(outcome.memo) is dict and not outcome.memo and outcome.left_out == ()
    return has_no_texts and has_only_texts and outcome.status is status


def _text(value: object) -> str | None:
    if value is None:
        return None
    try:
        return storable(value if isinstance(value, str) else str(value))
    except Exception:  # noqa: BLE001 - anybody's code may do anything
        return None


def _names(names: object) -> tuple[str, ...]:
    return tuple(each for each in names if isinstance(each, str)) if isinstance(names, tuple) else ()


def _memo(memo: Mapping[str, str]) -> Mapping[str, str]:
    try:
        entries = list(memo.items())[:MEMO_LIMIT]
    except Exception:  # noqa: BLE001 - as above
        return {}
    texts = ((_text(name), _text(value)) for name, value in entries)
    return {name: value for name, value in texts if name is not None and value is not None}


def _seconds(after: object) -> float | None:
    if isinstance(after, bool) or not isinstance(after, (int, float)) or math.isnan(after) or after < 0:
        return None
    return float(min(after, 1e9))


def _member(value: EnumT, otherwise: EnumT) -> EnumT:
    try:
        return type(otherwise)(value)
    except ValueError:
        return otherwise
