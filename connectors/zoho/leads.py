"""The writing of records: reads for fields that are not always written, upserts, updates, and repairs.

COQL may lag behind writes (not documented). So the record of a contact's last delivery is read by its id first, which
finds it at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from connectors.base import Blame, Outcome, Reason, Rejected, Retry
from connectors.zoho import requests
from connectors.zoho.answers import is_inserted, refused_field
from connectors.zoho.client import ZohoClient
from connectors.zoho.requests import SECONDARY_EMAIL, ZohoRow

_ABSENT = (400, 404)  # answers to ids that the module does not have
_MOST_VALUES = 50  # values of one `in` (not documented for v8; a smaller number does no harm)


@dataclass(frozen=True, slots=True, repr=False)
class WrittenRow:
    """A row as it was finally sent, and its outcome."""

    row: ZohoRow
    outcome: Outcome
    is_new: bool = False


class ZohoLeads:
    """Writer of records. `write` may run in parallel.

    A hundred records cost one call. If some fields are not always written, the existing records are read first, in two
    or three calls, and those that exist are updated by their ids in one more. A record that is refused for one optional
    field is sent again without it, until no field is left to drop.
    """

    def __init__(self, client: ZohoClient) -> None:
        self._client = client

    async def write(self, rows: Sequence[ZohoRow]) -> list[WrittenRow]:
        """Write rows of one group, and return the results in the order given."""
        results: dict[str, WrittenRow] = {}
        sending: list[ZohoRow] = []
        for row, held in await self._reduced(rows):
            if held is None:
                sending.append(row)
            else:
                results[row.record.id] = WrittenRow(row, held)
        first: dict[str, Rejected] = {}
        while sending:
            lighter: list[ZohoRow] = []
            for written, name in await self._send(sending):
                outcome, record_id = written.outcome, written.row.record.id
                less = written.row.without(name) if isinstance(outcome, Rejected) else None
                if less is not None and isinstance(outcome, Rejected):
                    first.setdefault(record_id, outcome)
                    lighter.append(less)
                elif isinstance(outcome, Rejected) and name in written.row.dropped:
                    # A required field was refused, and then missed: the first refusal says why.
                    results[record_id] = replace(written, outcome=first[record_id])
                else:
                    results[record_id] = written
            sending = lighter
        return [results[row.record.id] for row in rows]

    async def _send(self, rows: Sequence[ZohoRow]) -> list[tuple[WrittenRow, str | None]]:
        """Send rows, and return each with the field that was refused."""
        results: dict[str, tuple[WrittenRow, str | None]] = {}
        url = self._client.base / rows[0].route.module
        known, others = [row for row in rows if row.found], [row for row in rows if not row.found]
        for part, method, target, document in (
            (others, "POST", url / "upsert", requests.upsert_document),
            (known, "PUT", url, requests.update_document),
        ):
            if not part:
                continue
            answered = await self._client.write(method, target, document(part), [row.record.id for row in part])
            for number, (row, outcome) in enumerate(zip(part, answered.outcomes, strict=True)):
                written = WrittenRow(row, outcome, is_inserted(answered.reply, number))
                results[row.record.id] = written, refused_field(answered.reply, number)
        return [results[row.record.id] for row in rows]

    async def _reduced(self, rows: Sequence[ZohoRow]) -> list[tuple[ZohoRow, Outcome | None]]:
        """Return the rows as they may be written, and the outcome of those whose record could not be read."""
        conditional = [row for row in rows if row.is_conditional]
        held = await self._written([row for row in conditional if requests.written_id(row)])
        if not isinstance(held, dict):
            return [(row, held if row.is_conditional else None) for row in rows]
        conditional = [row for row in conditional if row.record.id not in held]
        size = _MOST_VALUES // max((len(requests.key_notations(row)) for row in conditional), default=1)
        for start in range(0, len(conditional), size):
            chunk = conditional[start : start + size]
            found = await self._client.rows("POST", self._client.base / "coql", requests.held_query(chunk))
            if not isinstance(found, list):
                return [(row, found if row.is_conditional else None) for row in rows]
            for row in chunk:
                match = _match(row, found)
                if match is not None:
                    held[row.record.id] = match
        results: list[tuple[ZohoRow, Outcome | None]] = []
        seen: set[object] = set()
        for row in rows:
            match = held.get(row.record.id)
            if match is not None and match.get("id") in seen:
                results.append(
                    (row, Retry(Reason.CONFLICT, "another record of its batch is the same one", Blame.RECORD))
                )
            else:
                results.append((row.beside(match) if match is not None else row, None))
            seen |= {match.get("id")} if match is not None else set()
        return results

    async def _written(self, rows: Sequence[ZohoRow]) -> dict[str, Mapping[str, object]] | Retry | Rejected:
        """Return the records of the contacts' last deliveries that still have the rows' keys, by the rows' records."""
        if not rows:
            return {}
        ids = dict.fromkeys(filter(None, map(requests.written_id, rows)))
        query = {"ids": ",".join(ids), "fields": ",".join(requests.held_names(rows))}
        found = await self._client.rows("GET", (self._client.base / rows[0].route.module).with_query(query))
        if not isinstance(found, list):
            return {} if found.status in _ABSENT else found
        matches = {
            row.record.id: _match(row, [each for each in found if str(each.get("id")) == requests.written_id(row)])
            for row in rows
        }
        return {record_id: match for record_id, match in matches.items() if match is not None}


def _match(row: ZohoRow, found: Sequence[Mapping[str, object]]) -> Mapping[str, object] | None:
    """Return the record that has the key of a row, if there is one."""
    values = ((each, str(each.get(name) or "")) for name in (row.key[0], SECONDARY_EMAIL) for each in found)
    return next((each for each, value in values if requests.is_held(row, value)), None)
