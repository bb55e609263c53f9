"""The org: checks, refusals and derived values of records. Does not use the network.

A rule matches leads with leads and contacts with contacts, by e-mail. A rule that alerts lets a record through if the
call allows it; a rule that blocks never does.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from connectors.testing.salesforce.call import Options
from connectors.testing.salesforce.objects import USER, Field, SObject
from connectors.testing.salesforce.problems import Problem, ProblemError, not_found, refused, refused_record
from connectors.testing.salesforce.rows import Row, Rows
from connectors.testing.salesforce.values import event_times, full_id, moment, problems_of, read_all

_MESSAGE = "Use one of these records?"

Mode = Literal["none", "alert", "block"]

ValidationRule = Callable[[str, Mapping[str, Any]], str | None]
"""Receives the object's name and the record after the write; returns the refusing message, or None."""


@dataclass(slots=True)
class DuplicateRule:
    """The org's rule. A test may change its mode at any time."""

    mode: Mode = "none"
    spelling: Literal["duplicateResut", "duplicateResult"] = "duplicateResut"
    """The key in the answer: older versions of the API lack the `l`."""

    def problem(self, object_name: str, matches: Sequence[Row], options: Options, version: str) -> Problem | None:
        """Return the problem of a record with these matches; None if it may be written."""
        if self.mode == "none" or not matches or (self.mode == "alert" and options.allow_save):
            return None
        found = {
            "entityType": object_name,
            "errors": [],
            "matchEngine": "ExactMatchEngine",
            "matchRecords": [_match(each, options, version) for each in matches],
            "rule": f"Standard_{object_name}_Match_Rule_v1_0",
            "size": len(matches),
            "success": True,
        }
        result = {
            "allowSave": self.mode == "alert",
            "duplicateRule": f"Standard_{object_name}_Duplicate_Rule",
            "duplicateRuleEntityType": object_name,
            "errorMessage": _MESSAGE,
            "matchResults": [found],
        }
        return Problem("DUPLICATES_DETECTED", _MESSAGE, (), {self.spelling: result})


def _match(row: Row, options: Options, version: str) -> dict[str, Any]:
    details = row.fields if options.record_details else {"Id": row.id}
    record = {"attributes": row.attributes(version), **details}
    return {"additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0, "record": record}


class Org:
    """An org in memory.

    Args:
        objects: Objects by name.
        duplicates: Duplicate rule.
        now: Seconds since the epoch.
    """

    def __init__(self, objects: Mapping[str, SObject], duplicates: DuplicateRule, now: Callable[[], float]) -> None:
        self.objects = objects
        self.duplicates = duplicates
        self.validation_rules: list[ValidationRule] = []
        self.page_size = 2000
        """Maximum number of records in a page of a query."""
        self.hidden: set[str] = set()
        """Ids of records that are not shared with the user: only a duplicate rule finds them."""
        self.locks: Counter[str] = Counter()
        """Number of further writes that find a record locked, by its id or by the value of its external id."""
        self.lock_in_trigger = False
        """True if a lock appears as the failure of a trigger, with another code around it."""
        self.rows = Rows(objects)
        self._now = now

    def object(self, name: str) -> SObject:
        """Return an object. Raises `ProblemError` for an unknown name."""
        if name not in self.objects:
            raise not_found()
        return self.objects[name]

    def key_field(self, made: SObject, name: str) -> Field:
        """Return an identifying field. Raises `ProblemError` for any other field."""
        field = made.fields.get(name)
        if field is None or not field.finds_records:
            raise not_found(f"Provided external ID field does not exist or is not accessible: {name}")
        return field

    def find(self, made: SObject, record_id: str) -> Row:
        """Return a record by its id. Raises `ProblemError`."""
        if full_id(record_id) is None:
            raise not_found(f"Provided external ID field does not exist or is not accessible: {record_id}")
        row = self.rows.get(record_id)
        if row is None or row.object != made.name or row.id in self.hidden:
            raise not_found()  # "verify that there are no sharing issues" (REST API Developer Guide, Status Codes)
        if row.deleted:
            raise refused(404, "ENTITY_IS_DELETED", "entity is deleted")
        return row

    def with_key(self, made: SObject, name: str, value: str) -> list[Row]:
        """Return the records with this value in an identifying field that the user may see."""
        return [each for each in self.rows.with_key(made.name, name, value) if each.id not in self.hidden]

    def create(self, made: SObject, document: Mapping[str, Any], options: Options, version: str) -> Row:
        """Create a record. Raises `ProblemError`."""
        written = self._read(made, document)
        self._check_lock(made, written, None)
        _check_writable([each for each in written if not made.fields[each].createable])
        values = dict.fromkeys(made.fields) | {each.name: each.default for each in made.fields.values()} | written
        values |= {each.name: each.default for each in made.fields.values() if values[each.name] is None}
        missing = [each.name for each in made.fields.values() if each.required and each.createable]
        _check_required([name for name in missing if values[name] is None])
        values = self._checked(made, values, written, None, options, version)
        stamp = moment(self._now())
        system = {"CreatedDate": stamp, "LastModifiedDate": stamp, "SystemModstamp": stamp}
        row = self.rows.add(made, {**values, **system})
        self._assign(row, options)
        return row

    def update(self, row: Row, document: Mapping[str, Any], options: Options, version: str) -> None:
        """Change a record. Raises `ProblemError`."""
        made = self.objects[row.object]
        written = self._read(made, document)
        self._check_lock(made, written, row)
        _check_writable([each for each in written if not made.fields[each].updateable])
        if row.fields.get("IsConverted"):
            raise _converted()
        emptied = [name for name, value in written.items() if value is None]
        _check_required([name for name in emptied if not made.fields[name].describe()["nillable"]])
        values = self._checked(made, {**row.fields, **written}, written, row, options, version)
        stamp = moment(self._now())
        self.rows.change(row, {**values, "LastModifiedDate": stamp, "SystemModstamp": stamp})
        self._assign(row, options)

    def delete(self, row: Row) -> None:
        """Put a record into the recycle bin."""
        self.rows.change(row, {"IsDeleted": True}, deleted=True)

    def convert(self, row: Row, *, opportunity: bool = False) -> Row:
        """Convert a lead, as a user of the CRM does, and return its contact, which gets its activities."""
        day = moment(self._now())[:10]
        names = set(self.objects["Contact"].fields) & set(row.fields)
        copied = {name: row.fields[name] for name in names if self.objects["Contact"].fields[name].createable}
        key = {each.name: None for each in self.objects["Contact"].fields.values() if each.external_id}
        contact = self.add("Contact", **{**copied, **key})
        deal = self.add("Opportunity", Name=row.fields["Company"]).id if opportunity else None
        state = {"IsConverted": True, "ConvertedDate": day, "Status": "Closed - Converted"}
        self.rows.change(row, {**state, "ConvertedContactId": contact.id, "ConvertedOpportunityId": deal})
        for each in [*self.rows.of("Task"), *self.rows.of("Event")]:
            if each.fields["WhoId"] == row.id:
                self.rows.change(each, {"WhoId": contact.id})
        self.rows.settle()
        return contact

    def add(self, name: str, **fields: Any) -> Row:
        """Add a record, as a user of the CRM does: a user, a campaign, a contact."""
        row = self.create(self.objects[name], fields, Options(assign=False), "68.0")
        self.rows.settle()
        return row

    def _read(self, made: SObject, document: Mapping[str, Any]) -> dict[str, Any]:
        if any(name.lower() == "id" for name in document):
            raise refused(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
        return read_all(made.fields, document, made.name)

    def _checked(
        self,
        made: SObject,
        values: dict[str, Any],
        written: Mapping[str, Any],
        row: Row | None,
        options: Options,
        version: str,
    ) -> dict[str, Any]:
        """Check a record in Salesforce's order, and return it with its derived values.

        The order is: values, validation rules, duplicate rules, unique fields (Apex Developer Guide, Triggers and Order
        of Execution).
        """
        problems = problems_of(made.fields, written)
        if problems:
            raise ProblemError(400, *problems)
        self._check_references(made, written)
        values |= _derived(made, values, written)
        said = (rule(made.name, values) for rule in self.validation_rules)
        problems = [Problem("FIELD_CUSTOM_VALIDATION_EXCEPTION", message) for message in said if message]
        if problems:
            raise ProblemError(400, *problems)
        if written.get("Email") and "LastName" in made.fields:
            hidden = self.hidden if options.as_user else ()
            found = self.rows.with_key(made.name, "Email", written["Email"])
            matches = [each for each in found if each is not row and each.id not in hidden]
            problem = self.duplicates.problem(made.name, matches, options, version)
            if problem:
                raise ProblemError(400, problem)
        self._check_unique(made, written, row)
        if made.name == "CampaignMember" and row is None:
            self._check_member(values)
        return values

    def _check_member(self, values: Mapping[str, Any]) -> None:
        for each in self.rows.of("CampaignMember"):
            if all(each.fields[name] == values[name] for name in ("CampaignId", "LeadId", "ContactId")):
                raise refused_record("DUPLICATE_VALUE", "Already a campaign member.")

    def _check_references(self, made: SObject, written: Mapping[str, Any]) -> None:
        for name, value in written.items():
            if made.fields[name].kind != "reference" or value is None or full_id(value) == USER:
                continue
            row = self.rows.get(value)
            if row is not None and row.object == "User" and not row.fields["IsActive"]:
                what = f"operation performed with inactive user [{row.id}] as owner of {made.name.lower()}"
                raise refused_record("INACTIVE_OWNER_OR_USER", what, name)
            if row is None:
                raise refused_record("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
            if row.id in self.hidden:
                raise inaccessible()
            if row.object not in made.fields[name].refers_to:
                message = f"{made.fields[name].title}: id value of incorrect type: {value}"
                raise refused_record("FIELD_INTEGRITY_EXCEPTION", message, name)
            if row.deleted:
                raise ProblemError(404, Problem("ENTITY_IS_DELETED", "entity is deleted"))
            if row.fields.get("IsConverted"):
                raise _converted()

    def _check_unique(self, made: SObject, written: Mapping[str, Any], row: Row | None) -> None:
        for name, value in written.items():
            if value is None or not made.fields[name].unique:
                continue
            for other in self.rows.with_key(made.name, name, value):
                if other is not row:
                    shown = (name, other.id) if other.id not in self.hidden else ("<unknown>", "<unknown>")
                    message = "duplicate value found: {} duplicates value on record with id: {}".format(*shown)
                    raise refused_record("DUPLICATE_VALUE", message)

    def _check_lock(self, made: SObject, written: Mapping[str, Any], row: Row | None) -> None:
        names = [each.name for each in made.fields.values() if each.external_id]
        shown = [(row.fields if row else written).get(name) for name in names] + ([row.id] if row else [])
        for key in shown:
            if key is not None and self.locks[str(key)] > 0:
                self.locks[str(key)] -= 1
                raise locked(row.id if row else "", made.name, in_trigger=self.lock_in_trigger)

    def _assign(self, row: Row, options: Options) -> None:
        if row.object == "Lead" and options.assign:
            self.rows.assign(row)


def locked(record_id: str, object_name: str = "Lead", *, in_trigger: bool) -> ProblemError:
    """Return the refusal of a record that somebody else is writing."""
    message = f"unable to obtain exclusive access to this record or 1 records: {record_id}"
    if not in_trigger:
        return refused_record("UNABLE_TO_LOCK_ROW", message)
    outer = f"{object_name}Trigger: execution of AfterUpdate\n\ncaused by: System.DmlException: Update failed."
    inner = f"First exception on row 0 with id {record_id}; first error: UNABLE_TO_LOCK_ROW, {message}: []"
    return refused_record("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"{outer} {inner}")


def inaccessible() -> ProblemError:
    """Return the refusal of a record that refers to one that is not shared with the user."""
    code = "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
    return refused_record(code, "insufficient access rights on cross-reference id")


def _converted() -> ProblemError:
    return refused_record("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")


def _check_writable(names: list[str]) -> None:
    if names:
        message = (
            f"Unable to create/update fields: {', '.join(names)}. Please check the security settings of this field and "
            "verify that it is read/write for your profile or permission set."
        )
        raise refused_record("INVALID_FIELD_FOR_INSERT_UPDATE", message, *names)


def _check_required(missing: list[str]) -> None:
    if missing:
        message = f"Required fields are missing: [{', '.join(missing)}]"
        raise refused_record("REQUIRED_FIELD_MISSING", message, *missing)


def _derived(made: SObject, values: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the org computes itself."""
    if made.name == "Event":
        return event_times(values, written)
    if made.name == "Task":
        return {"IsClosed": values["Status"] == "Completed"}
    if "LastName" not in values:
        return {}
    return {"Name": " ".join(filter(None, (values.get("FirstName"), values["LastName"])))}
