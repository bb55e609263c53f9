"""Words about an event's fields that its documentation and the editors' hover texts share. Pure."""

from collections.abc import Mapping
from typing import Final

SOURCES: Final[Mapping[str, str]] = {
    "SerialNumber": "The chatbot's id.",
    "Type": "`Lead` or `Appointment`.",
    "FirstName": "First name.",
    "LastName": "Last name.",
    "Email": "E-mail address, as it was typed.",
    "PhoneNumber": "Phone number, as it was typed.",
    "CreateTime": "When it was created, in UTC.",
    "Content": "What the visitor wrote, or what the appointment is about.",
    "SessionID": "Number of the chat session.",
    "URI": "Address of the page on which the chat took place.",
    "chatbot": "The chatbot's name in this configuration.",
    "event.id": "The id that the event has here: the same on every attempt.",
    "event.received_at": "When it was received, ISO 8601 in UTC.",
}
"""What a field can be made of, by the names that the configuration uses."""

EXAMPLES: Final[Mapping[str, tuple[str, str]]] = {
    "trim": ("trim", "  Ada  "),
    "lower": ("lower", "Ada@Example.COM"),
    "upper": ("upper", "gb"),
    "title": ("title", "MARY O'NEILL-SMITH"),
    "truncate": ("{truncate: 12}", "A quote for 40 chairs, please"),
    "e164": ("{e164: US}", "(415) 555-0100"),
    "email": ("email", " mailto:Ada@Example.COM "),
    "date": ('{date: {format: "%d.%m.%Y %H:%M", tz: Europe/Berlin}}', "2026-11-24T22:30:00Z"),
    "epoch_ms": ("epoch_ms", "2026-11-24T22:30:00Z"),
    "regex_extract": ("{regex_extract: 'order (\\d+)'}", "About order 4711: where is it?"),
    "regex_replace": ("{regex_replace: {pattern: '\\s+', with: ' '}}", "too   many    blanks"),
    "first_name": ("first_name", "Dr. Ada King Lovelace"),
    "last_name": ("last_name", "Dr. Ada King Lovelace"),
    "lookup": ("{lookup: {Lead: new, Appointment: meeting-booked}}", "Appointment"),
    "hash": ("hash", "ada@example.com"),
    "url_host": ("url_host", "https://www.example.com/contact?x=1"),
    "query_param": ("{query_param: utm_source}", "https://example.com/?utm_source=mail&utm_medium=x"),
    "html_escape": ("html_escape", "1 < 2 & 3"),
    "bmp": ("bmp", "Thanks 🎉!"),
    "json": ("json", 'She said "hello"'),
}
"""Of each transform that comes with the bridge: how it is asked for in YAML, and a value to show it on."""
