"""The resources of single records: sObject Basic Information, Describe, Rows, and Rows by External ID. Pure.

From the REST API Developer Guide, Reference.
"""

from collections.abc import Mapping
from typing import Any

from connectors.testing.contacts import Reply
from connectors.testing.salesforce.call import Call
from connectors.testing.salesforce.objects import SObject
from connectors.testing.salesforce.options import read_options
from connectors.testing.salesforce.org import Org
from connectors.testing.salesforce.problems import not_found, refused
from connectors.testing.salesforce.rows import Row

_BODY_ON_UPDATE_SINCE = 46.0


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
