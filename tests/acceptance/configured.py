"""Configurations for the program under test, as an operator writes them; secrets stand in its environment."""

from collections.abc import Mapping, Sequence
from typing import Any

SERIAL = "59001dd73709417321c58b11693183a2"
KEY = "sign-key-of-the-acceptance-tests-\u00fc"
ENVIRONMENT = {"SIGN_KEY": KEY}

FIELDS = {
    "lead": "SessionID",
    "email": "Email",
    "phone": "PhoneNumber",
    "first_name": "FirstName",
    "last_name": "LastName",
    "message": "Content",
}
RETRY = {"initial": "200ms", "max": "500ms", "jitter": 0}


def http(url: str, **changes: Any) -> dict[str, Any]:
    """Give a destination on this machine; it is patient for a moment only, and tries again soon."""
    return {"connector": "http", "url": url, "allow_private": True, "timeout": "5s", "retry": RETRY, **changes}


def chatbot(routes: Sequence[Mapping[str, Any] | str], **changes: Any) -> dict[str, Any]:
    """Give a chatbot; a route may be just the name of a destination, and then gets all fields."""
    whole = [{"to": route, "fields": FIELDS} if isinstance(route, str) else dict(route) for route in routes]
    return {"serial_number": SERIAL, "signing_keys": ["${SIGN_KEY}"], "routes": whole, **changes}


def settings(destinations: Mapping[str, Any], website: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give a whole configuration: ports that are chosen free, a store in the folder, one chatbot.

    Args:
        destinations: By name.
        website: The chatbot; by default every lead goes to all the destinations.
    """
    return {
        "server": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "store": {"url": "sqlite:///leadbridge.db"},
        "destinations": dict(destinations),
        "chatbots": {"website": website or chatbot(list(destinations))},
    }


def marked(destination: str, fields: Mapping[str, Any] = FIELDS) -> dict[str, Any]:
    """Give a route that only leads take whose content is the destination's name: several tests, one program."""
    return {"to": destination, "when": f'Content == "{destination}"', "fields": dict(fields)}
