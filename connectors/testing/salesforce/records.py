"""The resources of records: one by id or external id, Describe, and sObject Collections of up to 200. Pure.

From the REST API Developer Guide, Reference.

From the REST API Developer Guide, sObject Collections. Rows have the order of the request. With `allOrNone` one bad row
undoes all others. The treatment of an unreadable record (an unknown field, a value of another type) is not documented
with certainty: by default the whole call fails, and a switch confines it to its row.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connectors.testing.contacts import Reply
from connectors.testing.salesforce.call import Call, Options, read_options
from connectors.testing.salesforce.objects import SObject
from connectors.testing.salesforce.org import Org, inaccessible
from connectors.testing.salesforce.problems import Problem, ProblemError, not_found, refused, refused_record
from connectors.testing.salesforce.rows import Row

_BODY_ON_UPDATE_SINCE = 46.0

_MOST = 200
_ROLLED_BACK = Problem(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
)

Document = Mapping[str, Any]


def answer_records(org: Org, call: Call) -> Reply:
    """Answer a call below `/sobjects`. Raises `ProblemError`."""
    match call.parts[1:]:
        case ():
            call.allow("GET")
            listed = [each.summary(call.version) for each in org.objects.values()]
            return Reply(200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": listed})
        case (name,):
            return _object(org, org.object(name), call)
        case (name, "describe"):
            call.allow("GET")
            return Reply(200, org.object(name).describe(call.version))
        case (name, record_id):
            return _row(org, org.object(name), record_id, call)
        case (name, key, value):
            return _by_key(org, org.object(name), key, value, call)
    raise not_found()


def created(row: Row, call: Call) -> Reply:
    """Return the answer to a create."""
    location = f"{call.root}/sobjects/{row.object}/{row.id}"
    return Reply(201, {"id": row.id, "success": True, "errors": []}, {"Location": location})


def check_key(key: str, document: Mapping[str, Any]) -> None:
    """Raise `ProblemError` for a record that repeats the field in the address."""
    if any(name.lower() == key.lower() for name in document):
        raise refused(400, "INVALID_FIELD", f"The {key} field should not be specified in the sobject data.")


def _object(org: Org, made: SObject, call: Call) -> Reply:
    call.allow("GET", "POST")
    if call.method == "GET":
        return Reply(200, {"objectDescribe": made.summary(call.version), "recentItems": []})
    return created(org.create(made, call.record, read_options(call.headers, call.number), call.version), call)


def _row(org: Org, made: SObject, record_id: str, call: Call) -> Reply:
    call.allow("GET", "PATCH", "DELETE")
    row = org.find(made, record_id)
    if call.method == "GET":
        return _shown(row, made, call)
    if call.method == "DELETE":
        org.delete(row)
    else:
        org.update(row, call.record, read_options(call.headers, call.number), call.version)
    return Reply(204, None)


def _by_key(org: Org, made: SObject, key: str, value: str, call: Call) -> Reply:
    call.allow("GET", "PATCH", "DELETE")
    field = org.key_field(made, key)
    found = org.with_key(made, field.name, value)
    if len(found) > 1:
        # The addresses of the matches; the form of the list is not documented with certainty.
        return Reply(300, [each.attributes(call.version)["url"] for each in found])
    if call.method == "PATCH":
        return _upsert(org, made, field.name, value, found, call)
    if not found:
        raise not_found()
    if call.method == "GET":
        return _shown(found[0], made, call)
    org.delete(found[0])
    return Reply(204, None)


def _upsert(org: Org, made: SObject, key: str, value: str, found: list[Row], call: Call) -> Reply:
    options = read_options(call.headers, call.number)
    check_key(key, call.record)
    if found:
        org.update(found[0], call.record, options, call.version)
        if call.number < _BODY_ON_UPDATE_SINCE:
            return Reply(204, None)
        return Reply(200, {"id": found[0].id, "success": True, "errors": [], "created": False})
    if call.query.get("updateOnly", "").lower() == "true":
        raise not_found()
    reply = created(org.create(made, {**call.record, key: value}, options, call.version), call)
    return Reply(201, {**reply.document, "created": True}, reply.headers)


def _shown(row: Row, made: SObject, call: Call) -> Reply:
    names = [each.strip() for each in call.query.get("fields", "").split(",") if each.strip()]
    for name in names:
        if name not in made.fields:
            raise refused(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {made.name}")
    shown = {name: row.fields.get(name) for name in (names or made.fields)}
    return Reply(200, {"attributes": row.attributes(call.version), **shown, "Id": row.id})


def answer_collections(org: Org, call: Call, *, unread_in_row: bool) -> Reply:
    """Answer a call below `/composite/sobjects`. Raises `ProblemError`.

    Args:
        org: Holds the records.
        call: The call.
        unread_in_row: True if an unreadable record fails alone.
    """
    options = read_options(call.headers, call.number)
    match call.parts[2:]:
        case ():
            call.allow("POST", "PATCH")
            writes = _create if call.method == "POST" else _update
            return _written(org, call, lambda each: writes(org, each, options, call), unread_in_row=unread_in_row)
        case (name, key):
            call.allow("PATCH")
            made = org.object(name)
            key = org.key_field(made, key).name
            twice = _twice(_records(call), key)
            return _written(
                org,
                call,
                lambda each: _upsert_row(org, made, key, each, twice, options, call),
                unread_in_row=unread_in_row,
            )
    raise not_found()


def _written(org: Org, call: Call, write: Callable[[Document], dict[str, Any]], *, unread_in_row: bool) -> Reply:
    all_or_none = call.record.get("allOrNone", False)
    if not isinstance(all_or_none, bool):
        raise refused(400, "JSON_PARSER_ERROR", "allOrNone must be true or false")
    mark, rows = org.rows.mark(), []
    for each in _records(call):
        try:
            rows.append(write(each))
        except ProblemError as error:
            if error.unread and not unread_in_row:
                org.rows.undo_to(mark)
                raise
            rows.append(error.row)
    if all_or_none and not all(row["success"] for row in rows):
        org.rows.undo_to(mark)
        lost = {"success": False, "errors": [_ROLLED_BACK.in_row()]}
        # The guide's example shows the id of an undone row too, which must not be trusted.
        rows = [{"id": row["id"], **lost} if row["success"] else row for row in rows]
    return Reply(200, rows)


def _records(call: Call) -> Sequence[Document]:
    records = call.record.get("records")
    unknown = set(call.record) - {"allOrNone", "records"}
    if unknown:
        raise refused(400, "JSON_PARSER_ERROR", f'Unrecognized field "{min(unknown)}"')
    if not isinstance(records, list) or not records:
        raise refused(400, "REQUIRED_FIELD_MISSING", "At least 1 record is required")
    if len(records) > _MOST:
        message = f"record limit reached. cannot submit more than {_MOST} records into this call"
        raise refused(400, "EXCEEDED_ID_LIMIT", message)
    if not all(isinstance(each, dict) for each in records):
        raise refused(400, "JSON_PARSER_ERROR", "Each record must be a JSON object")
    return records


def _object_of(org: Org, record: Document) -> SObject:
    attributes = record.get("attributes")
    name = attributes.get("type") if isinstance(attributes, dict) else None
    if not isinstance(name, str):
        raise ProblemError(400, Problem("INVALID_TYPE", "Each record needs attributes with a type"), unread=True)
    if name not in org.objects:
        raise ProblemError(400, Problem("INVALID_TYPE", f"sObject type '{name}' is not supported."), unread=True)
    return org.objects[name]


def _create(org: Org, record: Document, options: Options, call: Call) -> dict[str, Any]:
    row = org.create(_object_of(org, record), record, options, call.version)
    return {"id": row.id, "success": True, "errors": []}


def _update(org: Org, record: Document, options: Options, call: Call) -> dict[str, Any]:
    made = _object_of(org, record)
    record_id = next((value for name, value in record.items() if name.lower() == "id"), None)
    if not isinstance(record_id, str):
        raise refused_record("MISSING_ARGUMENT", "Id not specified in an update call", "Id")
    known = org.rows.get(record_id)
    if known is not None and known.id in org.hidden:
        raise inaccessible()
    row = org.find(made, record_id)
    org.update(row, {name: each for name, each in record.items() if name.lower() != "id"}, options, call.version)
    return {"id": row.id, "success": True, "errors": []}


def _upsert_row(
    org: Org, made: SObject, key: str, record: Document, twice: set[str], options: Options, call: Call
) -> dict[str, Any]:
    if _object_of(org, record) is not made:
        message = f"The records must be of the type in the address, {made.name}"
        raise ProblemError(400, Problem("INVALID_TYPE", message), unread=True)
    value = _key_of(record, key)
    if value is None:
        raise refused_record("MISSING_ARGUMENT", f"{key} not specified")
    if value.casefold() in twice:
        raise refused_record("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", key)
    found = org.with_key(made, key, value)
    if len(found) > 1:
        message = f"{key}: more than one record found for external id field: [{', '.join(each.id for each in found)}]"
        raise refused_record("DUPLICATE_EXTERNAL_ID", message)
    if not found:
        row = org.create(made, record, options, call.version)
        return {"id": row.id, "success": True, "errors": [], "created": True}
    org.update(found[0], {name: each for name, each in record.items() if name != key}, options, call.version)
    return {"id": found[0].id, "success": True, "errors": [], "created": False}


def _key_of(record: Document, key: str) -> str | None:
    value = record.get(key)
    return str(value) if value not in (None, "") else None


def _twice(records: Sequence[Document], key: str) -> set[str]:
    """Return the keys of more than one record."""
    counted = Counter(value.casefold() for each in records if (value := _key_of(each, key)) is not None)
    return {value for value, times in counted.items() if times > 1}
