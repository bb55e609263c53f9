"""Answers of Pipedrive's API to persons, leads, deals and activities. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.http_client.json_api import Reply
from connectors.pipedrive.requests import LISTS, holds_value


class UnreadableError(ValueError):
    """A success whose document has another shape; its text is the rest of "it answered 200, but"."""


def found_person(reply: Reply, field: str, term: str) -> str | None:
    """Return the id of the person that a search found by its e-mail or phone. Raises `UnreadableError`.

    The oldest one is taken where there are several. Where an item shows e-mails or phones, they must hold the term.
    """
    items = reply.get("data", "items")
    if not isinstance(items, list):
        raise UnreadableError("does not say which persons there are")
    for each in items:
        item = Reply(reply.status, each, {})
        shown = item.get("item", LISTS[field])
        number = item.id_at("item", "id")
        if number and number.isdecimal() and (not isinstance(shown, list) or holds_value(field, term, shown)):
            return number
    return None


def person_in(reply: Reply) -> Mapping[str, Any]:
    """Return the person in an answer. Raises `UnreadableError`."""
    person = reply.get("data")
    if not isinstance(person, dict) or person.get("id") is None:
        raise UnreadableError("does not show the person")
    return person


def is_found(person: Mapping[str, Any], terms: Sequence[tuple[str, str]]) -> bool:
    """Return True if a person has one of the e-mails or phones that are searched."""
    return any(holds_value(field, term, person.get(LISTS[field]) or ()) for field, term in terms)


def created_id(reply: Reply, *, numeric: bool) -> str:
    """Return the id of what was created. Raises `UnreadableError`."""
    found = reply.id_at("data", "id")
    if found is None or (numeric and not found.isdecimal()):
        raise UnreadableError("names no id")
    return found


def rows_in(reply: Reply) -> list[dict[str, Any]]:
    """Return the rows of a list; an empty list may be null. Raises `UnreadableError`."""
    rows = reply.get("data")
    is_list = isinstance(reply.document, dict) and reply.get("success") is True and "data" in reply.document
    if not is_list or not isinstance(rows, list | None):
        raise UnreadableError("is no list")
    return [each for each in rows or () if isinstance(each, dict) and each.get("id") is not None]


def same_lead(rows: list[dict[str, Any]], record_id: str, title: str) -> str | None:
    """Return the id of the lead of a delivery; where leads show no `origin_id`, of the one with its title."""
    for each in rows:
        if each.get("origin_id") == record_id if "origin_id" in each else each.get("title") == title:
            return str(each["id"])
    return None


def same_title(rows: list[dict[str, Any]], title: str) -> str | None:
    """Return the id of the deal with a title."""
    return next((str(each["id"]) for each in rows if each.get("title") == title), None)


def marked(rows: list[dict[str, Any]], mark: str) -> str | None:
    """Return the id of the note or activity that carries a mark."""
    texts = ((str(each["id"]), f"{each.get('content')} {each.get('note')}") for each in rows)
    return next((number for number, text in texts if mark in text), None)
