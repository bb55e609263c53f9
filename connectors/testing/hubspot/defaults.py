"""The objects of every account of the HubSpot sandbox, with the properties that leads are usually mapped to.

A real account has several hundred properties on its contacts. These are the ones that matter to an integration for
leads: one of each type, and one of each kind that cannot be written. Names and options are HubSpot's own defaults.
"""

from connectors.testing.hubspot.schema import ObjectType, Property

STAGES = {
    "subscriber": "Subscriber",
    "lead": "Lead",
    "marketingqualifiedlead": "Marketing Qualified Lead",
    "salesqualifiedlead": "Sales Qualified Lead",
    "opportunity": "Opportunity",
    "customer": "Customer",
    "evangelist": "Evangelist",
    "other": "Other",
}
"""Lifecycle stages, in the order in which a contact moves forward."""
_LEAD_STATUS = {
    "NEW": "New",
    "OPEN": "Open",
    "IN_PROGRESS": "In Progress",
    "OPEN_DEAL": "Open Deal",
    "UNQUALIFIED": "Unqualified",
    "ATTEMPTED_TO_CONTACT": "Attempted to Contact",
    "CONNECTED": "Connected",
    "BAD_TIMING": "Bad Timing",
}
_OUTCOMES = {
    "SCHEDULED": "Scheduled",
    "COMPLETED": "Completed",
    "RESCHEDULED": "Rescheduled",
    "NO_SHOW": "No Show",
    "CANCELED": "Canceled",
}
_TASK_STATUS = {
    "NOT_STARTED": "Not Started",
    "IN_PROGRESS": "In Progress",
    "WAITING": "Waiting",
    "COMPLETED": "Completed",
    "DEFERRED": "Deferred",
}
_PRIORITIES = {"LOW": "Low", "MEDIUM": "Medium", "HIGH": "High"}
_TASK_TYPES = {"TODO": "To-do", "CALL": "Call", "EMAIL": "Email"}


def _text(name: str, label: str, field: str = "text") -> Property:
    return Property(name=name, label=label, field=field, hubspot=True)


def _choice(name: str, label: str, options: dict[str, str] | None, field: str = "select") -> Property:
    return Property(name=name, label=label, type="enumeration", field=field, options=options, hubspot=True)


def _moment(name: str, label: str, *, read_only: bool = False) -> Property:
    return Property(name=name, label=label, type="datetime", field="date", read_only=read_only, hubspot=True)


def _number(name: str, label: str) -> Property:
    return Property(name=name, label=label, type="number", field="number", hubspot=True)


_ID = Property(
    name="hs_object_id", label="Record ID", type="number", field="number", calculated=True, form=False, hubspot=True
)
_OWNER = _choice("hubspot_owner_id", "Owner", None)
_STAGE = _choice("lifecyclestage", "Lifecycle Stage", STAGES, "radio")
_TIMES = (
    _moment("hs_createdate", "Object create date/time", read_only=True),
    _moment("hs_lastmodifieddate", "Object last modified date/time", read_only=True),
)
_ACTIVITY = (_ID, *_TIMES, _moment("hs_timestamp", "Activity date"), _OWNER)

CONTACTS = ObjectType(
    name="contacts",
    singular="contact",
    type_id="0-1",
    scope="contacts",
    key="email",
    created="createdate",
    modified="lastmodifieddate",
    one_of=("email", "firstname", "lastname"),
    shown=("email", "firstname", "lastname"),
    properties=(
        _text("email", "Email"),
        _text("hs_additional_emails", "Additional email addresses"),
        _text("firstname", "First Name"),
        _text("lastname", "Last Name"),
        _text("phone", "Phone Number", "phonenumber"),
        _text("mobilephone", "Mobile Phone Number", "phonenumber"),
        _text("company", "Company Name"),
        _text("jobtitle", "Job Title"),
        _text("website", "Website URL"),
        _text("message", "Message", "textarea"),
        _text("address", "Street Address"),
        _text("city", "City"),
        _text("state", "State/Region"),
        _text("zip", "Postal Code"),
        _text("country", "Country/Region"),
        _text("hs_language", "Preferred language"),
        _STAGE,
        _choice("hs_lead_status", "Lead Status", _LEAD_STATUS, "radio"),
        _OWNER,
        _number("annualrevenue", "Annual Revenue"),
        Property(name="date_of_birth", label="Date of birth", hubspot=True),
        Property(name="first_visit", label="First visit", type="date", field="date"),
        _moment("closedate", "Close Date"),
        Property(name="hs_email_optout", label="Unsubscribed", type="bool", field="booleancheckbox", read_only=True),
        _moment("createdate", "Create Date", read_only=True),
        _moment("lastmodifieddate", "Last Modified Date", read_only=True),
        _ID,
    ),
)
COMPANIES = ObjectType(
    name="companies",
    singular="company",
    type_id="0-2",
    scope="companies",
    created="createdate",
    one_of=("name", "domain"),
    shown=("name", "domain"),
    properties=(
        _text("name", "Company name"),
        _text("domain", "Company Domain Name"),
        _text("phone", "Phone Number", "phonenumber"),
        _text("website", "Website URL"),
        _STAGE,
        _OWNER,
        _moment("createdate", "Create Date", read_only=True),
        _TIMES[1],
        _ID,
    ),
)
DEALS = ObjectType(
    name="deals",
    singular="deal",
    type_id="0-3",
    scope="deals",
    created="createdate",
    required=("dealname", "dealstage"),
    shown=("dealname", "amount", "dealstage"),
    properties=(
        _text("dealname", "Deal Name"),
        _choice("pipeline", "Pipeline", {"default": "Sales Pipeline"}),
        _choice("dealstage", "Deal Stage", {"appointmentscheduled": "Appointment Scheduled", "closedwon": "Won"}),
        _number("amount", "Amount"),
        _moment("closedate", "Close Date"),
        _text("description", "Deal Description", "textarea"),
        _OWNER,
        _moment("createdate", "Create Date", read_only=True),
        _TIMES[1],
        _ID,
    ),
)
LEADS = ObjectType(
    name="leads",
    singular="lead",
    type_id="0-136",
    scope="leads",
    required=("hs_lead_name",),
    needs="contacts",
    shown=("hs_lead_name",),
    properties=(
        _text("hs_lead_name", "Lead name"),
        _choice("hs_lead_type", "Lead type", {"NEW_BUSINESS": "New business", "UPSELL": "Upsell"}),
        _choice("hs_lead_label", "Lead label", {"HOT": "Hot", "WARM": "Warm", "COLD": "Cold"}),
        _OWNER,
        *_TIMES,
        _ID,
    ),
)
NOTES = ObjectType(
    name="notes",
    singular="note",
    type_id="0-46",
    scope="contacts",
    required=("hs_timestamp",),
    properties=(*_ACTIVITY, _text("hs_note_body", "Note body", "html")),
)
MEETINGS = ObjectType(
    name="meetings",
    singular="meeting",
    type_id="0-47",
    scope="contacts",
    label="meeting_event",
    required=("hs_timestamp",),
    properties=(
        *_ACTIVITY,
        _text("hs_meeting_title", "Meeting name"),
        _text("hs_meeting_body", "Meeting description", "html"),
        _text("hs_internal_meeting_notes", "Internal meeting notes", "html"),
        _text("hs_meeting_external_url", "External URL"),
        _text("hs_meeting_location", "Location"),
        _moment("hs_meeting_start_time", "Meeting start time"),
        _moment("hs_meeting_end_time", "Meeting end time"),
        _choice("hs_meeting_outcome", "Meeting outcome", _OUTCOMES),
        _choice("hs_activity_type", "Call and meeting type", {"Meeting": "Meeting", "Demo": "Demo"}),
    ),
)
TASKS = ObjectType(
    name="tasks",
    singular="task",
    type_id="0-27",
    scope="contacts",
    required=("hs_timestamp",),
    properties=(
        *_ACTIVITY,
        _text("hs_task_subject", "Task Title"),
        _text("hs_task_body", "Task Notes", "html"),
        _choice("hs_task_status", "Task Status", _TASK_STATUS),
        _choice("hs_task_priority", "Priority", _PRIORITIES),
        _choice("hs_task_type", "Task Type", _TASK_TYPES),
    ),
)
CALLS = ObjectType(
    name="calls",
    singular="call",
    type_id="0-48",
    scope="contacts",
    required=("hs_timestamp",),
    properties=(
        *_ACTIVITY,
        _text("hs_call_title", "Call Title"),
        _text("hs_call_body", "Call notes", "html"),
        _number("hs_call_duration", "Call duration"),
        _choice("hs_call_direction", "Call direction", {"INBOUND": "Inbound", "OUTBOUND": "Outbound"}),
    ),
)
OBJECTS = (CONTACTS, COMPANIES, DEALS, LEADS, NOTES, MEETINGS, TASKS, CALLS)
"""All default objects."""
