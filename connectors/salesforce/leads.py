"""The writing of records without appointments: all in one call, and the remaining ones in a few more.

Each further round sends only records that the round before did not write, so none is written twice. All writes are by
key or id, so repeating a round after a lost answer changes nothing.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry, exchange_items
from connectors.http_client.answer import Answer
from connectors.salesforce.answers import Verdict, Written, read_parts, read_write
from connectors.salesforce.client import SalesforceClient, Shapes
from connectors.salesforce.duplicates import Allow, Learn, Update, resolve
from connectors.salesforce.errors import DROPPED, SalesforceProblem, record_outcomes, unread_fields
from connectors.salesforce.finder import ContactTarget, RecordFinder, contact_row
from connectors.salesforce.records import UNSEEN, Existing, Row, body, person_of
from connectors.salesforce.requests import MOST_PARTS, SalesforceRequest, SalesforceRequests, rule_headers
from connectors.salesforce.schema import ObjectSchema
from connectors.salesforce.status_codes import ErrorKind

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
    schema: ObjectSchema | None
    is_new: bool
    """True if it is sent as a record that may be created."""
    existing: Existing | None
    verdict: Verdict
    """Its state so far."""
    target: str | None = None
    """Record ID to write into; None for the record with the row's key."""
    warnings: tuple[str, ...] = ()

    @property
    def group(self) -> tuple[Hashable, ...]:
        """Return the collection that it goes into: records that may be new, existing ones, and records by their ids."""
        return self.is_new, self.target is None, self.row.route.object

    @property
    def kind(self) -> ErrorKind | None:
        """Return the kind of its problem, if it has one of its own."""
        return self.verdict.kind if isinstance(self.verdict, SalesforceProblem) else None


def make_draft(row: Row, schema: ObjectSchema | None, known: Mapping[str, Existing] | None) -> Draft:
    """Return a draft for a new record, for an existing one, or for an unknown one, which is written as existing.

    Args:
        row: The record.
        schema: Schema of its object.
        known: Existing records, by their key in lower case; None if they cannot be queried.
    """
    if known is not None:
        existing = known.get(row.key.casefold()) if row.asks else None
        return Draft(row, schema, existing is None, existing, _UNSENT)
    if not row.asks:
        return Draft(row, schema, True, None, _UNSENT)  # noqa: FBT003 - it may be created
    return Draft(row, schema, False, UNSEEN, _UNSENT)  # noqa: FBT003 - it is written as one that exists


def drop_refused_fields(drafts: Sequence[Draft]) -> list[Draft]:
    """Remove refused fields from records, and return the drafts to send again; none if that would not help.

    If a whole call was refused for a field, records without the field are sent again too. A record that has it and
    cannot go without it keeps its own problem.
    """
    lighter, beside, is_told_apart = [], [], False
    for each in drafts:
        names = refused_fields(each.row, each.verdict, each.schema)
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


def refused_fields(row: Row, verdict: object, schema: ObjectSchema | None) -> tuple[str, ...]:
    """Return the refused fields if a record can go without all of them, else nothing."""
    if not isinstance(verdict, SalesforceProblem) or verdict.kind not in DROPPED:
        return ()
    unknown = row.unknown(schema) if verdict.kind is ErrorKind.FIELD else ()
    found = row.droppable((*verdict.named, *unknown), schema)
    # An error about a reference often names no field. Of several references one is wrong, and the lead counts more.
    return found or (row.droppable(row.references(schema), schema) if verdict.is_about_a_reference else ())


def is_incomplete(verdict: object) -> bool:
    """Return True if a record lacks only what a new one requires."""
    return isinstance(verdict, SalesforceProblem) and verdict.code == "REQUIRED_FIELD_MISSING"


class Leads:
    """Writer of the rows of one route's object. May run in parallel."""

    def __init__(
        self, client: SalesforceClient, requests: SalesforceRequests, shapes: Shapes, finder: RecordFinder
    ) -> None:
        self._client = client
        self._requests = requests
        self._shapes = shapes
        self._finder = finder

    async def deliver(
        self, rows: Sequence[Row], schema: ObjectSchema | None, *, is_whole_batch: bool
    ) -> list[tuple[Row, Outcome]]:
        """Write the rows, and return each as it was written, with its outcome.

        Args:
            rows: Of one object, under one route's settings.
            schema: Description of the object.
            is_whole_batch: True if these are all the records of the bridge's call, so that the bridge splits them if
                they are refused together.
        """
        found = await self._finder.look(rows, schema)
        if isinstance(found, Retry | Rejected):
            return [(row, found) for row in rows]
        drafts = [make_draft(row.warned(found.warning) if found.warning else row, schema, found.known) for row in rows]
        await self._move(drafts, found.targets)
        await self._send([each for each in drafts if each.verdict is _UNSENT])
        await self._send_as_new(drafts)
        await self._follow_conversions(drafts)
        await self._send_without_refused(drafts)
        await self._send_in_parts([each for each in drafts if each.kind is ErrorKind.LOCKED])
        await self._settle_duplicates(drafts)
        if await self._follow_conversions(drafts):
            await self._send_without_refused(drafts)
        together = [each for each in drafts if _is_refused_together(each)]
        if not is_whole_batch or len(together) < len(drafts):
            await self._split(together)
        return self._outcomes(drafts, schema)

    async def _move(self, drafts: Sequence[Draft], targets: Mapping[str, ContactTarget]) -> None:
        """Let records be written into contacts; `targets` by the ids of the records."""
        moved = [each for each in drafts if each.row.record.id in targets]
        if not moved:
            return
        schema = await self._shapes.of("Contact")
        taken: set[str] = set()
        for each in moved:
            target = targets[each.row.record.id]
            if isinstance(schema, Retry):
                each.verdict = schema
            elif target.contact.id in taken:
                each.verdict = Retry(Reason.CONFLICT, _SAME_RECORD, Blame.RECORD, after=1.0)
            else:
                taken.add(target.contact.id)
                each.row = contact_row(each.row, schema, target.warning, target.opportunity)
                each.is_new, each.schema, each.existing = False, schema, target.contact
                each.target, each.verdict = target.contact.id, _UNSENT

    async def _follow_conversions(self, drafts: Sequence[Draft]) -> bool:
        """Write converted leads into their contacts, and return True if there were any."""
        converted = [each for each in drafts if each.kind is ErrorKind.CONVERTED]
        if not converted:
            return False
        targets = await self._finder.conversions([(each.row, each.target) for each in converted])
        if isinstance(targets, Retry | Rejected):
            for each in converted:
                each.verdict = targets
            return False
        await self._move(converted, targets)
        await self._send([each for each in converted if each.verdict is _UNSENT])
        return True

    async def _send(self, drafts: Sequence[Draft], *, allow: bool = False) -> None:
        """Send records in one call: new ones, existing ones, and those by id as collections of it."""
        groups = _grouped(drafts)
        calls = [(self._collection(chosen, allow=allow), [each.row.record.id for each in chosen]) for chosen in groups]
        if not calls:
            return
        verdicts = iter(await self._client.write(calls, self._requests))
        for chosen in groups:
            for each in chosen:
                each.verdict = next(verdicts)
                if len(chosen) == 1 and (names := unread_fields(each.verdict, each.row.fields)):
                    each.verdict = _with_fields(each.verdict, names)

    def _collection(self, drafts: Sequence[Draft], *, allow: bool) -> SalesforceRequest:
        rows = []
        for each in drafts:
            fields, each.warnings = body(each.row, each.existing, each.schema)
            rows.append((each.target or each.row.key, fields))
        first = drafts[0]
        headers = rule_headers(first.row.route, is_new=first.is_new, allow=allow)
        make = self._requests.update if first.target else self._requests.upsert
        return make(first.row.route, rows, headers)

    async def _send_as_new(self, drafts: Sequence[Draft]) -> None:
        """Send unknown records once more that turned out to be new.

        Fields that a new record requires are not sent for an unknown one, so only a new record lacks them.
        """
        new = [each for each in drafts if each.existing is UNSEEN and is_incomplete(each.verdict)]
        for each in new:
            each.is_new, each.existing = True, None
        await self._send(new)

    async def _send_without_refused(self, drafts: Sequence[Draft]) -> None:
        """Send records again without refused optional fields, until none is refused.

        This ends: each repeated record, or one beside it, has lost a field or its way. A field for which the whole call
        was refused may have been deleted, so the schema is read again.
        """
        while True:
            wrong = [each for each in drafts if each.kind in DROPPED]
            for each in _refused_calls(wrong):
                current = await self._shapes.of(each.row.route.object, within=_FRESH)
                each.schema = current if isinstance(current, ObjectSchema) else each.schema
            again = drop_refused_fields(wrong)
            if not again:
                return
            await self._send(again)

    async def _send_in_parts(self, drafts: Sequence[Draft]) -> None:
        size = max(1, len(drafts) // _SMALLER)
        for start in range(0, len(drafts), size):
            await self._send(drafts[start : start + size])

    async def _split(self, drafts: Sequence[Draft]) -> None:
        """Find the record for which others were refused with it.

        The bridge splits a batch only if all of it was refused. Of a batch that was sent in several calls, some records
        may be written already.
        """
        if len(drafts) == 1 and isinstance(drafts[0].verdict, Rejected):
            drafts[0].verdict = replace(drafts[0].verdict, blame=Blame.RECORD)
            return
        middle = len(drafts) // 2
        for half in filter(None, (drafts[:middle], drafts[middle:])):
            await self._send(half)
            await self._split([each for each in half if _is_refused_together(each)])

    async def _settle_duplicates(self, drafts: Sequence[Draft]) -> None:
        await self._learn([each for each in drafts if isinstance(_resolved(each), Learn)])
        found = [(each, _resolved(each)) for each in drafts]
        updated = [(each, to) for each, to in found if isinstance(to, Update)]
        was_new = {each.row.record.id for each, _ in updated if each.is_new}
        await self._update(updated)
        allowed = [(each, to) for each, to in found if isinstance(to, Allow)]
        for each, into in updated:
            if into.otherwise is not None and each.kind is ErrorKind.CONFIGURATION:
                each.existing, each.target, each.is_new = None, None, each.row.record.id in was_new
                allowed.append((each, into.otherwise))
        await self._send([each for each, _ in allowed], allow=True)
        for each, to in allowed:
            each.warnings += (to.warning,)

    async def _learn(self, drafts: Sequence[Draft]) -> None:
        """Send duplicates as requests of their own, to learn which records they duplicate.

        Their number is limited so that the time for one `deliver` is enough; the others are delivered again.
        """
        for each in drafts[_MOST_LEARNT:]:
            each.verdict = Retry(Reason.CONFLICT, _TOO_MANY, Blame.RECORD, after=1.0)
        drafts = drafts[:_MOST_LEARNT]
        for chosen in _grouped(drafts):
            for start in range(0, len(chosen), MOST_PARTS):
                await self._learn_some(chosen[start : start + MOST_PARTS])

    async def _learn_some(self, drafts: Sequence[Draft]) -> None:
        route, is_new = drafts[0].row.route, drafts[0].is_new
        rows = [(each.row.key, each.target, body(each.row, each.existing, each.schema)[0]) for each in drafts]
        ids = [each.row.record.id for each in drafts]
        with exchange_items(zip(ids, (fields for _, _, fields in rows), strict=True)) as items:
            answer = await self._client.call(self._requests.each(route, rows, rule_headers(route, is_new=is_new)))
        parts = read_parts(answer) if isinstance(answer, Answer) else {}
        items.received((name, part.body) for at, name in enumerate(ids) if (part := parts.get(str(at))))
        for number, each in enumerate(drafts):
            if isinstance(answer, Answer):
                each.verdict = read_write(parts.get(str(number)), answer.status, self._client.secrets, each.target)
            else:
                each.verdict = answer

    async def _update(self, found: Sequence[tuple[Draft, Update]]) -> None:
        """Write duplicates into the records that they duplicate; one per record in a call."""
        first: dict[str, tuple[Draft, Update]] = {}
        for each, to in found:
            if to.id in first:
                each.verdict = Retry(Reason.CONFLICT, _SAME_RECORD, Blame.RECORD, after=1.0)
            else:
                first[to.id] = (each, to)
        if first and await self._describe({record_id: each for record_id, (each, _) in first.items()}):
            await self._send([each for each, _ in first.values()])
            for each, to in first.values():
                each.warnings += (to.warning,)

    async def _describe(self, drafts: Mapping[str, Draft]) -> bool:
        """Read the values of the records with these ids that decide what is written.

        Return False if they cannot be read at the moment; the verdicts then hold the outcome.
        """
        some = next(iter(drafts.values()))
        wanted = dict.fromkeys(name for each in drafts.values() for name in each.row.wanted)
        known = await self._finder.values(some.row.route.object, list(drafts), tuple(wanted), some.schema)
        for record_id, each in drafts.items():
            each.is_new, each.target = False, record_id
            if isinstance(known, Retry | Rejected):
                each.verdict = known
                continue
            # Values that cannot be read stay unchanged (`body`).
            each.existing = known.get(record_id.casefold()) or Existing(record_id)
        return not isinstance(known, Retry | Rejected)

    def _outcomes(self, drafts: Sequence[Draft], schema: ObjectSchema | None) -> list[tuple[Row, Outcome]]:
        verdicts = [
            delivered_record(
                each.row, each.verdict, (*each.warnings, *assignment_warning(each.row, each.existing)), self._client
            )
            if isinstance(each.verdict, Written)
            else each.verdict
            for each in drafts
        ]
        people = [person_of(each.row.record) for each in drafts]
        described = schema is not None and schema.refuses(drafts[0].row.route.external_id)
        outcomes = record_outcomes(verdicts, [_memo(each) for each in drafts], people, described=described)
        return [(each.row, outcome) for each, outcome in zip(drafts, outcomes, strict=True)]


def delivered_record(
    row: Row, written: Written, warnings: Sequence[str], client: SalesforceClient, memo: Mapping[str, str] | None = None
) -> Delivered:
    """Return the outcome of a written record, with a link for people."""
    url = f"{client.instance}".rstrip("/") + f"/{written.id}" if client.instance else None
    return Delivered(written.id, url, "; ".join(warnings) or None, 200, memo or {}, row.left_out)


def _with_fields(verdict: Verdict, names: tuple[str, ...]) -> Verdict:
    """Return a refusal with the names of the fields at fault."""
    if isinstance(verdict, SalesforceProblem):
        return replace(verdict, fields=names)
    return (
        replace(verdict, detail=f"{verdict.detail} [{', '.join(names)}]") if isinstance(verdict, Rejected) else verdict
    )


def _grouped(drafts: Sequence[Draft]) -> list[list[Draft]]:
    groups: dict[Hashable, list[Draft]] = {}
    for each in drafts:
        groups.setdefault(each.group, []).append(each)
    return list(groups.values())


def _refused_calls(drafts: Sequence[Draft]) -> Iterator[Draft]:
    return (each for each in drafts if isinstance(each.verdict, SalesforceProblem) and each.verdict.is_whole_call)


def _is_refused_together(draft: Draft) -> bool:
    return isinstance(draft.verdict, Rejected) and draft.verdict.blame is Blame.BATCH


def _resolved(draft: Draft) -> Update | Allow | Learn | None:
    return resolve(draft.verdict, draft.row.route) if isinstance(draft.verdict, SalesforceProblem) else None


def _memo(draft: Draft) -> dict[str, Any]:
    """Return the number of locks that the record met: it goes in smaller batches then (`batch_group`)."""
    if draft.kind is not ErrorKind.LOCKED:
        return {}
    return {"locked": str(int(draft.row.record.memo.get("locked", "0")) + 1)}
