"""The writing of records without appointments: all in one call, and the remaining ones in a few more.

Each further round sends only records that the round before did not write, so none is written twice. All writes are by
key or id, so repeating a round after a lost answer changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.salesforce.answers import Part, Verdict, Written, read_existing, read_parts, read_rows, read_write
from connectors.salesforce.client import SalesforceClient, Shapes
from connectors.salesforce.duplicates import Allow, Learn, Update, resolve
from connectors.salesforce.errors import (
    DROPPED,
    SalesforceProblem,
    is_refusal,
    outcome,
    read_salesforce_problem,
    record_outcomes,
)
from connectors.salesforce.records import UNSEEN, Existing, Row, body, person_of, takes_remark
from connectors.salesforce.requests import (
    KEYS_PER_QUERY,
    MOST_PARTS,
    SalesforceRequest,
    SalesforceRequests,
    rule_headers,
)
from connectors.salesforce.schema import ObjectSchema
from connectors.salesforce.status_codes import ErrorKind

Known = Mapping[str, Existing] | None
"""Existing records, by their key in lower case; None if they cannot be queried."""

_UNASSIGNED = (
    "assignment rules were not run, because it is unknown whether the record is new; let the user query {name}"
)
_UNSENT = Retry(Reason.CONNECTOR_ERROR, "not sent")
_SMALLER = 4  # number of parts for locked records: a smaller transaction ends sooner and locks less
_MOST_LEARNT = 100  # duplicates whose matches one `deliver` reads, in four calls
_TOO_MANY = "a duplicate rule found a record; the next attempt will find out which one"
_FRESH = 60.0  # seconds; a younger description of the object is current enough to explain a refused field
_SAME_RECORD = "another record of the same call is written into the same one"


@dataclass(slots=True, repr=False)
class Draft:
    """A record on its way through the rounds of one `deliver`."""

    row: Row
    is_new: bool
    """True if it is sent as a record that may be created."""
    existing: Existing | None
    verdict: Verdict
    """Its state so far."""
    warnings: tuple[str, ...] = ()


def make_draft(row: Row, known: Known) -> Draft:
    """Return a draft for a new record, for an existing one, or for an unknown one, which is written as existing."""
    if known is not None:
        existing = known.get(row.key.casefold()) if row.asks else None
        return Draft(row, existing is None, existing, _UNSENT)
    if not row.asks:
        return Draft(row, True, None, _UNSENT)  # noqa: FBT003 - it may be created
    return Draft(row, False, UNSEEN, _UNSENT)  # noqa: FBT003 - it is written as one that exists


def drop_refused_fields(drafts: Sequence[Draft], shape: ObjectSchema | None) -> list[Draft]:
    """Remove refused fields from records, and return the drafts to send again; none if that would not help.

    If a whole call was refused for a field, records without the field are sent again too. A record that has it and
    cannot go without it keeps its own problem.
    """
    lighter, beside, is_told_apart = [], [], False
    for each in drafts:
        names = refused_fields(each.row, each.verdict, shape)
        if names:
            each.row = each.row.without(names)
            lighter.append(each)
        elif isinstance(each.verdict, SalesforceProblem) and each.verdict.is_whole_call:
            if each.row.has(each.verdict.named):
                each.verdict = replace(each.verdict, is_whole_call=False)
                is_told_apart = True
            else:
                beside.append(each)
    return lighter + beside if lighter or is_told_apart else []


def assignment_warning(row: Row, existing: Existing | None) -> tuple[str, ...]:
    """Return a warning for a record that may have been new and was not assigned to anybody."""
    is_unknown = existing is UNSEEN and row.is_assigned and row.route.assignment == "created"
    return (_UNASSIGNED.format(name=row.route.object),) if is_unknown else ()


def refused_fields(row: Row, verdict: object, shape: ObjectSchema | None) -> tuple[str, ...]:
    """Return the refused fields if a record can go without all of them, else nothing."""
    if not isinstance(verdict, SalesforceProblem) or verdict.kind not in DROPPED:
        return ()
    unknown = row.unknown(shape) if verdict.kind is ErrorKind.FIELD else ()
    found = row.droppable((*verdict.named, *unknown), shape)
    # An error about a reference often names no field. Of several references one is wrong, and the lead counts more.
    return found or (row.droppable(row.references(shape), shape) if verdict.is_about_a_reference else ())


def is_incomplete(verdict: object) -> bool:
    """Return True if a record lacks only what a new one requires."""
    return isinstance(verdict, SalesforceProblem) and verdict.code == "REQUIRED_FIELD_MISSING"


class Leads:
    """Writer of the rows of one route's object. May run in parallel."""

    def __init__(self, client: SalesforceClient, requests: SalesforceRequests, shapes: Shapes) -> None:
        self._client = client
        self._requests = requests
        self._shapes = shapes

    async def deliver(self, rows: Sequence[Row], shape: ObjectSchema | None, *, is_whole_batch: bool) -> list[Outcome]:
        """Write the rows, and return the outcome of each.

        Args:
            rows: Of one object, under one route's settings.
            shape: Description of the object.
            is_whole_batch: True if these are all the records of the bridge's call, so that the bridge splits them if
                they are refused together.
        """
        known = await self._known(rows, shape)
        if isinstance(known, Retry):
            return [known] * len(rows)
        drafts = [make_draft(row, known) for row in rows]
        await self._send(drafts, shape)
        await self._send_as_new(drafts, shape)
        shape = await self._send_without_refused(drafts, shape)
        await self._send_in_parts([each for each in drafts if _kind(each) is ErrorKind.LOCKED], shape)
        await self._settle_duplicates(drafts, shape)
        together = [each for each in drafts if _is_refused_together(each)]
        if not is_whole_batch or len(together) < len(drafts):
            await self._split(together, shape)
        return self._outcomes(drafts, shape)

    async def _known(self, rows: Sequence[Row], shape: ObjectSchema | None) -> Known | Retry:
        """Query which of the records exist, where it matters."""
        asking = [row for row in rows if row.asks]
        if not asking:
            return {}
        route = asking[0].route
        remarks = route.remark is not None and takes_remark(route.object, shape)
        return await self._existing(asking[0], route.external_id, [row.key for row in asking], description=remarks)

    async def _existing(self, row: Row, field: str, keys: Sequence[str], *, description: bool) -> Known | Retry:
        answer = await self._client.call(self._requests.existing(row.route, field, keys, description=description))
        if not isinstance(answer, Answer):
            return None if is_refusal(answer) or isinstance(answer, Rejected) else answer
        parts = read_parts(answer)
        asked = [parts.get(str(number)) for number in range(-(-len(keys) // KEYS_PER_QUERY))]
        found = read_existing(asked, field)
        return found if found is not None else self._unanswered(asked)

    def _unanswered(self, parts: Sequence[Part | None]) -> Retry | None:
        """Return the temporary failure of a query; None if it is refused for good."""
        for part in parts:
            problem = (
                read_salesforce_problem(part.body, part.status, self._client.secrets)
                if part and not part.is_good
                else None
            )
            meant = outcome(problem) if problem else None
            if isinstance(meant, Retry) and not is_refusal(meant):
                return meant
        return None

    async def _send(self, drafts: Sequence[Draft], shape: ObjectSchema | None, *, allow: bool = False) -> None:
        """Send records by their keys: possibly new ones in one call, existing ones in another."""
        for is_new in (True, False):
            chosen = [each for each in drafts if each.is_new is is_new]
            if chosen:
                headers = rule_headers(chosen[0].row.route, is_new=is_new, allow=allow)
                await self._send_some(chosen, shape, headers, self._requests.upsert)

    async def _send_some(
        self,
        drafts: Sequence[Draft],
        shape: ObjectSchema | None,
        headers: Mapping[str, str],
        make: Callable[..., SalesforceRequest],
        ids: Sequence[str] | None = None,
    ) -> None:
        """Make one call, and set the verdict of each draft."""
        made = [body(each.row, each.existing, shape) for each in drafts]
        for each, (_, warnings) in zip(drafts, made, strict=True):
            each.warnings = warnings
        keys = ids or [each.row.key for each in drafts]
        rows = [(key, fields) for key, (fields, _) in zip(keys, made, strict=True)]
        request = make(drafts[0].row.route, rows, headers)
        answer = await self._client.write(request, is_single=len(drafts) == 1)
        verdicts: Sequence[Verdict]
        if isinstance(answer, Answer):
            verdicts = read_rows(answer, len(drafts), self._client.secrets)
        else:
            verdicts = [answer] * len(drafts)
        for each, verdict in zip(drafts, verdicts, strict=True):
            each.verdict = verdict

    async def _send_as_new(self, drafts: Sequence[Draft], shape: ObjectSchema | None) -> None:
        """Send unknown records once more that turned out to be new.

        Fields that a new record requires are not sent for an unknown one, so only a new record lacks them.
        """
        new = [each for each in drafts if each.existing is UNSEEN and is_incomplete(each.verdict)]
        for each in new:
            each.is_new, each.existing = True, None
        await self._send(new, shape)

    async def _send_without_refused(self, drafts: Sequence[Draft], shape: ObjectSchema | None) -> ObjectSchema | None:
        """Send records again without refused optional fields, until none is refused, and return the object's shape.

        This ends: each repeated record, or one beside it, has lost a field or its way. The shape may change, because a
        field for which the whole call was refused may have been deleted.
        """
        while True:
            wrong = [
                each for each in drafts if isinstance(each.verdict, SalesforceProblem) and each.verdict.kind in DROPPED
            ]
            if any(isinstance(each.verdict, SalesforceProblem) and each.verdict.is_whole_call for each in wrong):
                current = await self._shapes.of(wrong[0].row.route.object, within=_FRESH)
                shape = current if isinstance(current, ObjectSchema) else shape
            again = drop_refused_fields(wrong, shape)
            if not again:
                return shape
            await self._send(again, shape)

    async def _send_in_parts(self, drafts: Sequence[Draft], shape: ObjectSchema | None) -> None:
        size = max(1, len(drafts) // _SMALLER)
        for start in range(0, len(drafts), size):
            await self._send(drafts[start : start + size], shape)

    async def _split(self, drafts: Sequence[Draft], shape: ObjectSchema | None) -> None:
        """Find the record for which others were refused with it.

        The bridge splits a batch only if all of it was refused. Of a batch that was sent in several calls, some records
        may be written already.
        """
        if len(drafts) == 1 and isinstance(drafts[0].verdict, Rejected):
            drafts[0].verdict = replace(drafts[0].verdict, blame=Blame.RECORD)
            return
        middle = len(drafts) // 2
        for half in filter(None, (drafts[:middle], drafts[middle:])):
            await self._send(half, shape)
            await self._split([each for each in half if _is_refused_together(each)], shape)

    async def _settle_duplicates(self, drafts: Sequence[Draft], shape: ObjectSchema | None) -> None:
        await self._learn([each for each in drafts if isinstance(_resolved(each), Learn)], shape)
        found = [(each, _resolved(each)) for each in drafts]
        updated = [(each, to) for each, to in found if isinstance(to, Update)]
        await self._update(updated, shape)
        allowed = [(each, to) for each, to in found if isinstance(to, Allow)]
        for each, into in updated:
            if into.otherwise is not None and _kind(each) is ErrorKind.CONFIGURATION:
                each.existing = None
                allowed.append((each, into.otherwise))
        await self._send([each for each, _ in allowed], shape, allow=True)
        for each, to in allowed:
            each.warnings += (to.warning,)

    async def _learn(self, drafts: Sequence[Draft], shape: ObjectSchema | None) -> None:
        """Send duplicates as requests of their own, to learn which records they duplicate.

        Their number is limited so that the time for one `deliver` is enough; the others are delivered again.
        """
        for each in drafts[_MOST_LEARNT:]:
            each.verdict = Retry(Reason.CONFLICT, _TOO_MANY, Blame.RECORD, after=1.0)
        drafts = drafts[:_MOST_LEARNT]
        for is_new in (True, False):
            chosen = [each for each in drafts if each.is_new is is_new]
            for start in range(0, len(chosen), MOST_PARTS):
                await self._learn_some(chosen[start : start + MOST_PARTS], shape, is_new=is_new)

    async def _learn_some(self, drafts: Sequence[Draft], shape: ObjectSchema | None, *, is_new: bool) -> None:
        route = drafts[0].row.route
        rows = [(each.row.key, body(each.row, each.existing, shape)[0]) for each in drafts]
        answer = await self._client.call(self._requests.each(route, rows, rule_headers(route, is_new=is_new)))
        parts = read_parts(answer) if isinstance(answer, Answer) else {}
        for number, each in enumerate(drafts):
            if isinstance(answer, Answer):
                each.verdict = read_write(parts.get(str(number)), answer.status, self._client.secrets)
            else:
                each.verdict = answer

    async def _update(self, found: Sequence[tuple[Draft, Update]], shape: ObjectSchema | None) -> None:
        """Write duplicates into the records that they duplicate; one per record in a call."""
        first: dict[str, tuple[Draft, Update]] = {}
        for each, to in found:
            if to.id in first:
                each.verdict = Retry(Reason.CONFLICT, _SAME_RECORD, Blame.RECORD, after=1.0)
            else:
                first[to.id] = (each, to)
        if not first:
            return
        if await self._describe({record_id: each for record_id, (each, _) in first.items()}, shape):
            drafts = [each for each, _ in first.values()]
            headers = rule_headers(drafts[0].row.route, is_new=False)
            await self._send_some(drafts, shape, headers, self._requests.update, list(first))
            for each, to in first.values():
                each.warnings += (to.warning,)

    async def _describe(self, drafts: Mapping[str, Draft], shape: ObjectSchema | None) -> bool:
        """Read the descriptions of the records with these ids, to which remarks are appended.

        Return False if they cannot be read at the moment; the verdicts then hold the outcome.
        """
        some = next(iter(drafts.values())).row
        known: Known | Retry = {}
        if takes_remark(some.route.object, shape) and any(each.row.remark for each in drafts.values()):
            known = await self._existing(some, "Id", list(drafts), description=True)
        for record_id, each in drafts.items():
            if isinstance(known, Retry):
                each.verdict = known
                continue
            # A description that cannot be read stays unchanged (`body`).
            each.existing = (known or {}).get(record_id.casefold()) or Existing(record_id)
        return not isinstance(known, Retry)

    def _outcomes(self, drafts: Sequence[Draft], shape: ObjectSchema | None) -> list[Outcome]:
        verdicts = [
            delivered_record(
                each.row, each.verdict, (*each.warnings, *assignment_warning(each.row, each.existing)), self._client
            )
            if isinstance(each.verdict, Written)
            else each.verdict
            for each in drafts
        ]
        people = [person_of(each.row.record) for each in drafts]
        described = shape is not None and shape.refuses(drafts[0].row.route.external_id)
        return record_outcomes(verdicts, [_memo(each) for each in drafts], people, described=described)


def delivered_record(
    row: Row, written: Written, warnings: Sequence[str], client: SalesforceClient, memo: Mapping[str, str] | None = None
) -> Delivered:
    """Return the outcome of a written record, with a link for people."""
    url = f"{client.instance}".rstrip("/") + f"/{written.id}" if client.instance else None
    return Delivered(written.id, url, "; ".join(warnings) or None, 200, memo or {}, row.left_out)


def _is_refused_together(draft: Draft) -> bool:
    return isinstance(draft.verdict, Rejected) and draft.verdict.blame is Blame.BATCH


def _kind(draft: Draft) -> ErrorKind | None:
    return draft.verdict.kind if isinstance(draft.verdict, SalesforceProblem) else None


def _resolved(draft: Draft) -> Update | Allow | Learn | None:
    return resolve(draft.verdict, draft.row.route) if isinstance(draft.verdict, SalesforceProblem) else None


def _memo(draft: Draft) -> dict[str, Any]:
    """Return the number of locks that the record met: it goes in smaller batches then (`batch_group`)."""
    if _kind(draft) is not ErrorKind.LOCKED:
        return {}
    return {"locked": str(int(draft.row.record.memo.get("locked", "0")) + 1)}
