"""What the demo's CRMs hold in the end, as rows to show. Pure."""

import html
from typing import Any

from bridge.cli.demo_story import Stage

Row = dict[str, Any]


def of_hubspot(stage: Stage) -> list[Row]:
    """Give the contacts, then what belongs to them."""
    crm = stage.hubspot
    names = {each.id: _name(each.properties, "firstname", "lastname") for each in crm.contacts}
    rows: list[Row] = [
        {
            "object": "contact",
            "id": each.id,
            "name": names[each.id],
            "email": each.properties.get("email"),
            "phone": each.properties.get("phone"),
        }
        for each in crm.contacts
    ]
    for kind, records, text, when in (
        ("note", crm.notes, "hs_note_body", ""),
        ("meeting", crm.meetings, "hs_meeting_body", "hs_meeting_start_time"),
        ("task", crm.tasks, "hs_task_body", ""),
    ):
        for each in records:
            said, _, _ = each.properties[text].partition("<br><br>")
            whose = ", ".join(names[contact] for contact in each.associations["contacts"])
            shown = {"text": html.unescape(said), "when": each.properties.get(when)}
            rows.append({"object": kind, "id": each.id, "name": whose, **shown})
    return rows


def of_salesforce(stage: Stage) -> list[Row]:
    """Give the leads, then what belongs to them."""
    crm = stage.salesforce
    rows: list[Row] = [
        {
            "object": "lead",
            "id": each.id,
            "name": _name(each.fields, "FirstName", "LastName"),
            "email": each.fields.get("Email"),
            "phone": each.fields.get("Phone"),
            "text": each.fields.get("Description"),
        }
        for each in crm.leads
    ]
    names = {row["id"]: row["name"] for row in rows}
    for kind, records in (("event", crm.events), ("task", crm.tasks)):
        for each in records:
            said, _, _ = each.fields["Description"].partition("\n\n")
            shown = {"text": said, "when": each.fields.get("StartDateTime")}
            rows.append({"object": kind, "id": each.id, "name": names[each.fields["WhoId"]], **shown})
    return rows


def _name(fields: Any, *parts: str) -> str:  # noqa: ANN401 - a record's fields, of either CRM
    return " ".join(filter(None, (fields.get(part) for part in parts)))
