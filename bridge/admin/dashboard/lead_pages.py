"""The pages about leads: the list with its search, and one lead with all that became of it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from bridge.admin import request_schemas, rows, schemas
from bridge.admin.api import Api, audience
from bridge.admin.authentication import Caller, RefusedError, Role
from bridge.admin.dashboard.page import Form, Page, Screen, Seen, asked
from bridge.admin.desk import DryRuns, Query
from bridge.admin.orders import Orders
from bridge.config.model import Config
from bridge.errors import NotFoundError
from bridge.event import EventState
from bridge.operations import events
from bridge.operations.audit import Action, Subject
from bridge.operations.dry_run import FEWER, DryRun, PageBudget, dry_run
from bridge.operations.masking import Audience, personal
from bridge.store import queries
from bridge.store.interface import Delivery, DeliveryState
from bridge.store.queries import EventRow
from connectors.base import Reason

SEARCHED = "/events"
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
_WHOLE: Final = (
    "Nothing can be looked for by that. Write the whole e-mail address, at least ten digits of a phone number, or the "
    "first six characters of an id. Leads are not found by name."
)
_UNSEARCHABLE: Final = (
    "Nothing can be looked for by that. Write an e-mail address, or at least three characters of one without a blank; "
    "at least six digits of a phone number; or the first six characters of an id. Leads are not found by name."
)


@dataclass(frozen=True, slots=True, repr=False)
class Told:
    """A delivery on its lead's page."""

    story: schemas.DeliveryStory
    mapped: DryRun
    link: str | None
    """Into the destination; only what a browser opens as a page."""


@dataclass(frozen=True, slots=True, repr=False)
class Shown:
    """The texts of a lead's page about the event and its deliveries."""

    payload: Mapping[str, str] | str
    told: Sequence[Told]


class LeadPages:
    """Answers with them."""

    def __init__(self, api: Api, orders: Orders, screen: Screen, dry_runs: DryRuns, clock: Callable[[], float]) -> None:
        self._api = api
        self._dry_runs = dry_runs
        self._orders = orders
        self._screen = screen
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add what it answers."""
        show, act = self._screen.show, self._screen.act
        router.add_get(SEARCHED, show(self._events))
        # A search posts what it looks for: addresses end in the logs of proxies and the histories of browsers.
        router.add_post(SEARCHED, act(self._search, role=Role.VIEWER))
        router.add_get("/events/{id}", show(self._event))
        router.add_post("/events/{id}", act(self._reveal))
        router.add_post("/events/{id}/replay", act(self._replay_event))
        router.add_get("/deliveries", show(self._deliveries))
        router.add_post("/deliveries/{id}/replay", act(self._replay))
        router.add_post("/deliveries/{id}/discard", act(self._discard))

    async def _events(self, caller: Caller, request: web.Request) -> Page:
        found = self._api.events_shown(asked(request_schemas.EventsGiven, request.query))
        return self._list(caller, found, dict(request.query), live=True)

    async def _search(self, caller: Caller, _: web.Request, form: Form) -> Seen:
        wanted = form.get("who", "").strip()
        if wanted and "@" not in wanted and not any(each.isspace() or each in "+()-./" for each in wanted):
            found = await self._by_id(wanted)
            if found:
                return web.Response(status=303, headers={"Location": f"/events/{found}"})
        return self._list(caller, await self._of_person(caller, form, wanted), form, live=False)

    async def _of_person(self, caller: Caller, form: Form, wanted: str) -> Query[schemas.EventPage]:
        """Find by phone what has no letters, else by e-mail; where no address is like that, by part of one."""
        if "@" not in wanted and not any(each.isalpha() for each in wanted):
            return await self._api.person_shown(caller, _searched(caller, form, phone=wanted))
        if not _ADDRESS.fullmatch(wanted):
            return await self._api.person_shown(caller, _searched(caller, form, email_part=wanted))
        whole = _searched(caller, form, email=wanted)
        parts = [_searched(caller, form, email_part=wanted)] if caller.may(Role.OPERATOR) else []
        return await self._api.person_shown(caller, whole, *parts)

    async def _by_id(self, wanted: str) -> str | None:
        """Return the id of the only event whose id begins with a text; None if there is no such event."""
        try:
            beginning = asked(request_schemas.EventIdGiven, {"id": wanted.lower()}).id
        except RefusedError:
            return None
        try:
            return (await self._api.desk.ask(partial(events.find_event, beginning=beginning))).id
        except NotFoundError:
            return None

    def _list(self, caller: Caller, page: Query[schemas.EventPage], said: Form, *, live: bool) -> Page:
        kept = {name: said.get(name, "") for name in ("who", "chatbot", "state", "since", "until")}
        return self._screen.page(
            "events.html",
            caller,
            {"page": page},
            said_before=kept,
            live=live and "before" not in said,
            chatbots=list(self._api.config().chatbots),
            states=list(EventState),
        )

    async def _event(self, caller: Caller, request: web.Request) -> Page:
        return await self._lead(caller, request, reveal=False)

    async def _reveal(self, caller: Caller, request: web.Request, _: Form) -> Page:
        return await self._lead(caller, request, reveal=True)

    async def _lead(self, caller: Caller, request: web.Request, *, reveal: bool) -> Page:
        wanted = asked(request_schemas.EventIdGiven, request.match_info)
        event, stories = await self._api.desk.ask(partial(events.show_lead, beginning=wanted.id))
        row = event.row
        if reveal:
            await self._api.audit.note(caller, Action.REVEAL, Subject.EVENT, row.id)
        work = partial(_shown, row, event.payload, stories, self._api.config(), audience(caller, reveal=reveal))
        shown = await self._dry_runs.lead(work)
        return self._screen.page(
            "lead.html",
            caller,
            now=self._clock(),
            event=rows.event_shape(row),
            payload=shown.payload,
            masked=not reveal,
            told=shown.told,
        )

    async def _deliveries(self, caller: Caller, request: web.Request) -> Page:
        page = self._api.deliveries_shown(asked(request_schemas.DeliveriesGiven, request.query))
        names = ("chatbot", "destination", "state", "reason", "since", "until")
        return self._screen.page(
            "deliveries.html",
            caller,
            {"page": page},
            said_before={name: request.query.get(name, "") for name in names},
            chatbots=list(self._api.config().chatbots),
            destinations=sorted({*self._api.config().destinations, *request.query.getall("destination", [])}),
            states=list(DeliveryState),
            reasons=list(Reason),
        )

    async def _replay_event(self, caller: Caller, request: web.Request, _: Form) -> web.Response:
        wanted = asked(request_schemas.EventIdGiven, request.match_info)
        done = await self._orders.replay_event(caller, wanted)
        return self._screen.say(caller, done.message, "/events")

    async def _replay(self, caller: Caller, request: web.Request, form: Form) -> web.Response:
        done = await self._orders.replay(caller, asked(request_schemas.NumberGiven, request.match_info))
        return self._screen.say(caller, done.message, _back(form))

    async def _discard(self, caller: Caller, request: web.Request, form: Form) -> web.Response:
        done = await self._orders.discard(caller, asked(request_schemas.NumberGiven, request.match_info))
        return self._screen.say(caller, done.message, _back(form))


def _shown(
    event: EventRow,
    payload: bytes,
    stories: Sequence[queries.DeliveryDetails],
    config: Config,
    audience: Audience,
) -> Shown:
    """Show an event and its deliveries, within what one page may hold. For a thread: a lead can be large."""
    allowance, known = PageBudget(), personal(payload)
    value = rows.payload_value(payload, reveal=audience.reveal)
    facts = allowance.facts(value if isinstance(value, dict) else {"": value})
    told = [
        _told(rows.delivery_story(each, audience, config.destinations, known), each, event, payload, config, allowance)
        for each in stories
    ]
    return Shown(facts if isinstance(value, dict) else next(iter(facts.values())), told)


def _told(
    shown: schemas.DeliveryStory,
    story: queries.DeliveryDetails,
    event: EventRow,
    payload: bytes,
    config: Config,
    allowance: PageBudget,
) -> Told:
    row = story.row
    delivery = Delivery(
        row.id,
        row.event_id,
        row.chatbot or "",
        payload,
        event.received_at,
        row.route,
        row.attempts,
        row.failures,
        story.failing_since,
        story.memo,
        event.verified_by,
    )
    attempts = [
        each if allowance.takes(each.detail or "") else each.model_copy(update={"detail": FEWER})
        for each in shown.attempts
    ]
    shown = shown.model_copy(update={"attempts": attempts})
    url = shown.remote_url or ""
    made = dry_run(delivery, row.destination, config, allowance, reveal=not shown.masked)
    return Told(shown, made, url if url.startswith(("https://", "http://")) else None)


def _back(form: Form) -> str:
    """Give the lead's page that the form was on."""
    try:
        return f"/events/{asked(request_schemas.EventIdGiven, {'id': form.get('event', '')}).id}"
    except RefusedError:
        return "/deliveries"


def _searched(caller: Caller, form: Form, **by: str) -> request_schemas.SearchGiven:
    """Make what the search is asked of the form. Raises RefusedError, in a salesperson's words for what they wrote."""
    try:
        asked(request_schemas.SearchGiven, by)
    except RefusedError:
        raise RefusedError(400, _UNSEARCHABLE if caller.may(Role.OPERATOR) else _WHOLE) from None
    searched: request_schemas.SearchGiven = asked(request_schemas.SearchGiven, {**form, **by})
    return searched
