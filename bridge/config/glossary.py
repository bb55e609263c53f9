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
