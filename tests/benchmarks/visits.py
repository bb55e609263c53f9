"""What people and programs ask of the admin listener: every page and every GET of the API, and what is typical.

Pages are those that the dashboard's own navigation leads to, and calls those of the OpenAPI document, so that a new one
is asked for without a line here; beside them stand the searches, filters and deep cursors that people use.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from tests.benchmarks.fullness import CHATBOTS, DESTINATIONS, FAITHFUL, PHONE_ONLY, Fullness
from tests.benchmarks.visitor import Visitor

_LINK: Final = re.compile(r'<a[^>]* href="(/[a-z./]*)["?]')
_LINKING: Final = ("/", "/leads", "/chatbots", "/destinations", "/problems", "/tools")
"""Pages whose links are followed."""
_LOST: Final = {"state": "dead", "chatbot": "clinic-north", "destination": "salesforce"}
CLIENT_CHATBOTS: Final = ("hotel", "clinic-north")
"""Chatbots of a client's user."""
_PLACE: Final = re.compile(r"\{\w+\}")


@dataclass(frozen=True, slots=True)
class Visit:
    """One thing that is asked for."""

    what: str
    path: str
    form: Mapping[str, Any] | None = None
    """What is posted, where something is: a form to a page, JSON to the API."""

    @property
    def of_api(self) -> bool:
        """Whether a program asks it."""
        return self.path.startswith("/api/") or self.path in {"/metrics", "/healthz", "/readyz"}


def visits(who: Visitor, fullness: Fullness) -> Sequence[Visit]:
    """Give all that is asked of a store that is so full."""
    leads = {state: _one(who, state) for state in ("delivered", "dead", "pending")}
    known = [*_pages(leads, fullness), *_searches(fullness), *_calls(leads, fullness)]
    asked = {each.path.partition("?")[0] for each in known if each.form is None}
    linked = [path for page in _LINKING for path in _LINK.findall(who.read(page)) if path not in asked]
    described: Mapping[str, Any] = who.know("/api/openapi.json")["paths"]
    told = [path for path, methods in described.items() if "get" in methods and not _PLACE.search(path)]
    return [*known, *(Visit(path, path) for path in dict.fromkeys([*linked, *told]) if path not in asked)]


def scoped_visits() -> Sequence[Visit]:
    """Return the pages that a client's user loads, who sees `CLIENT_CHATBOTS`."""
    paths = (
        *("/", "/leads", "/leads?state=dead", "/leads?state=pending", "/leads?state=warning&days=30", "/leads?days=1"),
        *("/api/deliveries?state=dead", "/chatbots", "/chatbots/hotel", "/destinations", "/destinations/mail"),
        *("/problems", "/problems/quarantine", "/tools/report?days=92"),
    )
    found = [Visit(f"a client, {path}", path) for path in paths]
    return [*found, *(Visit(f"a client, search, {each}", "/leads", {"who": each}) for each in ("rson.77", FAITHFUL))]


def _one(who: Visitor, state: str) -> Mapping[str, Any]:
    (found,) = who.know(f"/api/deliveries?state={state}&limit=1")["deliveries"]
    return dict(found)


def _day() -> Mapping[str, str]:
    now = datetime.now(UTC)
    since, until = (f"{now - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (12, 11))
    return {"since": since, "until": until}


def _pages(leads: Mapping[str, Mapping[str, Any]], fullness: Fullness) -> Iterator[Visit]:
    yield Visit("overview", "/")
    yield Visit("events", "/leads")
    for what, query in _event_filters(fullness):
        yield Visit(f"events, {what}", f"/leads?{urlencode(query)}")
    newest = ".".join(str(fullness.events - number) for number in range(40))
    for what, query in _lead_filters(fullness):
        yield Visit(f"leads, {what}", f"/leads?{urlencode(query)}")
        yield Visit(f"leads, {what}, as a file", f"/leads.csv?{urlencode(query)}")
        yield Visit(f"leads, {what}, shown already", f"/leads?{urlencode({**query, 'rows': newest})}")
    for action in ("replay", "discard"):
        selected = {"action": action, "all": "yes", "rows": newest}
        yield Visit(f"leads, the question before a {action} of all of a page", "/leads/selection", selected)
    yield Visit("deliveries", "/api/deliveries")
    for what, query in _delivery_filters(fullness):
        yield Visit(f"deliveries, {what}", f"/api/deliveries?{urlencode(query)}")
    for state, lead in leads.items():
        yield Visit(f"a lead, {state}", f"/leads/{lead['event']}")
        yield Visit(f"a lead, {state}, personal data shown", f"/leads/{lead['event']}", {})
    for each in ("chatbots", *(f"chatbots/{name}" for name in CHATBOTS)):
        yield Visit(each, f"/{each}")
    for each in ("destinations", *(f"destinations/{name}" for name in DESTINATIONS)):
        yield Visit(each, f"/{each}")
    yield Visit("problems", "/problems")
    yield Visit("problems, one chatbot", "/problems?chatbot=clinic-north")
    for what, chosen in _bulk():
        yield Visit(f"preview of a replay, {what}", "/problems", {"action": "replay", **chosen})
    yield Visit("quarantine, one chatbot", "/problems/quarantine?chatbot=website")
    for days in (1, 7, 30, 92):
        yield Visit(f"report, {days} days", f"/tools/report?days={days}")
    yield Visit("reconcile, a month", "/api/reconcile?span=30d")
    yield Visit("audit, one action", "/tools/audit?action=search")
    yield Visit("playground, a route", "/tools/playground?route=website:0")
    tried = {"route": "website:0", "yaml": "to: hubspot\nfields: {email: Email}", "id": leads["dead"]["event"]}
    yield Visit("playground, a route tried", "/tools/playground", tried)


def _searches(fullness: Fullness) -> Iterator[Visit]:
    for what, wanted in (
        ("an e-mail of many leads", FAITHFUL),
        ("an e-mail", "person.1234@example.com"),
        ("an e-mail of nobody", "nobody@example.com"),
        ("a part of e-mails", "rson.77"),
        ("a part of no e-mail", "zebra"),
        ("a name", "Dávid Garcia 7734"),
        ("a part of many names", "dávid gar"),
        ("a name of nobody", "Lovelace"),
        ("a phone of many leads", PHONE_ONLY),
        ("the end of a phone", "202 000 1234"),
        ("a phone of nobody", "+99 999 999 999"),
    ):
        yield Visit(f"search, {what}", "/leads", {"who": wanted})
    deep = {"before": str(fullness.events // 2)}
    yield Visit("search, an e-mail at one chatbot", "/leads", {"who": FAITHFUL, "chatbot": "shop"})
    yield Visit("search, an e-mail on a day", "/leads", {"who": FAITHFUL, **_day()})
    yield Visit("search, a part of e-mails, deep", "/leads", {"who": "rson.77", **deep})
    yield Visit("search, the end of a phone, deep", "/leads", {"who": "202 000 1234", **deep})


def _calls(leads: Mapping[str, Mapping[str, Any]], fullness: Fullness) -> Iterator[Visit]:
    yield Visit("api: health", "/healthz")
    yield Visit("api: readiness", "/readyz")
    yield Visit("api: metrics", "/metrics")
    yield Visit("api: its description", "/api/openapi.json")
    for what, query in (("500 at once", {"limit": 500}), *_event_filters(fullness)):
        yield Visit(f"api: events, {what}", f"/api/events?{urlencode(query)}")
    for what, query in (("500 at once", {"limit": 500}), *_delivery_filters(fullness)):
        yield Visit(f"api: deliveries, {what}", f"/api/deliveries?{urlencode(query)}")
    for state, lead in leads.items():
        yield Visit(f"api: an event, {state}", f"/api/events/{lead['event']}?reveal=true")
        yield Visit(f"api: a delivery, {state}", f"/api/deliveries/{lead['id']}")
    yield Visit("api: an event by a beginning of its id", f"/api/events/{leads['dead']['event'][:14]}")
    deep = {"before": fullness.events // 2}
    for what, wanted in (
        ("an e-mail", {"email": FAITHFUL}),
        ("an e-mail of nobody", {"email": "nobody@example.com"}),
        ("a part of e-mails", {"email_part": "rson.77"}),
        ("a part of no e-mail, deep", {"email_part": "zebra", **deep}),
        ("a phone", {"phone": PHONE_ONLY}),
        ("a phone of nobody, deep", {"phone": "+99 999 999 999", **deep}),
    ):
        yield Visit(f"api: search, {what}", "/api/events/search", wanted)
    yield Visit("api: leads as a file", "/api/leads.csv")
    yield Visit("api: reconcile, a month", "/api/reconcile?span=30d")
    for what, chosen in _bulk():
        yield Visit(f"api: preview of a replay, {what}", "/api/bulk/preview", {"action": "replay", **chosen})


def _event_filters(fullness: Fullness) -> Sequence[tuple[str, Mapping[str, object]]]:
    return (
        ("one chatbot", {"chatbot": "hotel"}),
        ("a chatbot of no event", {"chatbot": "gone"}),
        ("a day", _day()),
        ("half way back", {"before": fullness.events // 2}),
        ("at the far end", {"before": 150}),
        ("tests", {"state": "test"}),
        ("unrecognised", {"state": "unrecognised"}),
        ("unrecognised, one chatbot", {"state": "unrecognised", "chatbot": "hotel"}),
    )


def _lead_filters(fullness: Fullness) -> Sequence[tuple[str, Mapping[str, object]]]:
    day = f"{datetime.now(UTC) - timedelta(days=12):%Y-%m-%d}"
    tokyo = {"from": day, "to": day, "zone": "Asia/Tokyo"}
    return (
        ("all", {}),
        ("today", {"days": 1}),
        ("one chatbot, a day in Tokyo", {"chatbot": "hotel", **tokyo}),
        ("one destination, half way back", {"destination": "sheet", "before": fullness.events // 2}),
        ("not delivered, one chatbot and destination, a day", {**_LOST, "from": day, "to": day}),
        ("in the CRM, a day in Tokyo", {"state": "delivered", **tokyo}),
        ("in the CRM, a destination of none", {"state": "delivered", "destination": "gone"}),
        ("waiting, one chatbot", {"state": "pending", "chatbot": "shop"}),
        ("waiting, one chatbot and destination", {"state": "pending", "chatbot": "shop", "destination": "mail"}),
        ("discarded", {"state": "discarded"}),
        ("with a warning, 30 days", {"state": "warning", "days": 30}),
        ("tests, one chatbot", {"state": "test", "chatbot": "hotel"}),
    )


def _delivery_filters(fullness: Fullness) -> Sequence[tuple[str, Mapping[str, object]]]:
    deep = {"before": fullness.events}
    return (
        ("pending", {"state": "pending"}),
        ("pending, one destination", {"state": "pending", "destination": "mail"}),
        ("dead", {"state": "dead"}),
        ("dead, half way back", {"state": "dead", **deep}),
        ("dead, one cause", {"state": "dead", "destination": "hubspot", "reason": "refused"}),
        ("dead, a cause of none", {"state": "dead", "destination": "mail", "reason": "gone"}),
        ("dead, one chatbot", {"state": "dead", "chatbot": "clinic-north"}),
        ("dead, a day", {"state": "dead", **_day()}),
        ("delivered, one chatbot", {"state": "delivered", "chatbot": "hotel"}),
        ("discarded", {"state": "discarded"}),
        ("one destination, half way back", {"destination": "sheet", **deep}),
        ("one chatbot and destination, a day", {"chatbot": "shop", "destination": "mail", **_day()}),
        ("one reason", {"reason": "timeout"}),
    )


def _bulk() -> Sequence[tuple[str, Mapping[str, str]]]:
    return (
        ("all", {}),
        ("one cause", {"destination": "hubspot", "reason": "refused"}),
        ("one chatbot", {"chatbot": "clinic-north"}),
        ("all that waits", {"state": "pending"}),
    )
