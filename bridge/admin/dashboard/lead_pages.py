"""Pages about one lead with its deliveries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from bridge.admin import presentation, request_schemas, schemas
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints, audience, permit_event
from bridge.admin.authentication import Caller, RequestRefusedError
from bridge.admin.dashboard.page import DashboardPage, FormFields, Screen, parse_fields
from bridge.admin.desk import DryRuns
from bridge.config.model import Config
from bridge.operations import events, leads
from bridge.operations.audit import Action, Subject
from bridge.operations.dry_run import FEWER, DryRun, PageBudget, dry_run_stored
from bridge.operations.masking import Audience, personal
from bridge.store import queries
from bridge.store.lane_queries import all_lanes
from bridge.store.queries import EventRow


@dataclass(frozen=True, slots=True, repr=False)
class DeliveryView:
    """A delivery on its lead's page."""

    details: schemas.DeliveryDetailsSchema
    dry_run: DryRun
    link: str | None
    """Link to the record at the destination; only http and https."""


@dataclass(frozen=True, slots=True, repr=False)
class LeadView:
    """The texts of a lead's page about the event and its deliveries."""

    payload: Mapping[str, str] | str
    deliveries: Sequence[DeliveryView]


class LeadPages:
    """The page and its forms."""

    def __init__(
        self,
        api: ReadEndpoints,
        actions: ActionEndpoints,
        screen: Screen,
        dry_runs: DryRuns,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._dry_runs = dry_runs
        self._actions = actions
        self._screen = screen
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the page."""
        show, act = self._screen.show, self._screen.act
        router.add_get("/leads/{id}", show(self._event, scoped=True))
        router.add_post("/leads/{id}", act(self._reveal, scoped=True))
        router.add_post("/leads/{id}/replay", act(self._replay_event, scoped=True))
        router.add_post("/deliveries/{id}/replay", act(self._replay, scoped=True))
        router.add_post("/deliveries/{id}/discard", act(self._discard, scoped=True))

    async def _event(self, caller: Caller, request: web.Request) -> DashboardPage:
        return await self._lead(caller, request, reveal=False)

    async def _reveal(self, caller: Caller, request: web.Request, _: FormFields) -> DashboardPage:
        return await self._lead(caller, request, reveal=True)

    async def _lead(self, caller: Caller, request: web.Request, *, reveal: bool) -> DashboardPage:
        wanted = parse_fields(request_schemas.EventIdRequest, request.match_info)
        await permit_event(self._api.desk, caller, wanted.id)
        event, stories = await self._api.desk.ask(partial(events.show_lead, beginning=wanted.id))
        row = event.row
        names = list(self._api.config().destinations)
        found = await self._api.desk.ask(partial(all_lanes, configured=names, now=self._clock()))
        shown_lanes = {each.name: each for each in found}
        if reveal:
            await self._api.audit.note(caller, Action.REVEAL, Subject.EVENT, row.id)
        work = partial(_shown, row, event.payload, stories, self._api.config(), audience(caller, reveal=reveal))
        shown = await self._dry_runs.lead(work)
        return self._screen.page(
            "lead.html",
            caller,
            now=self._clock(),
            event=presentation.event_schema(row),
            person=leads.person_label(event.payload, audience(caller, reveal=reveal)),
            answers=[leads.delivery_answer(each, shown_lanes) for each in event.deliveries],
            answer=leads.lead_answer(row),
            payload=shown.payload,
            masked=not reveal,
            deliveries=shown.deliveries,
        )

    async def _replay_event(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        wanted = parse_fields(request_schemas.EventIdRequest, request.match_info)
        done = await self._actions.replay_event(caller, wanted)
        return self._screen.say(caller, done.message, "/leads")

    async def _replay(self, caller: Caller, request: web.Request, form: FormFields) -> web.Response:
        done = await self._actions.replay(caller, parse_fields(request_schemas.NumberRequest, request.match_info))
        return self._screen.say(caller, done.message, _back(form))

    async def _discard(self, caller: Caller, request: web.Request, form: FormFields) -> web.Response:
        done = await self._actions.discard(caller, parse_fields(request_schemas.NumberRequest, request.match_info))
        return self._screen.say(caller, done.message, _back(form))


def _shown(
    event: EventRow,
    payload: bytes,
    stories: Sequence[queries.DeliveryDetails],
    config: Config,
    audience: Audience,
) -> LeadView:
    """Return an event and its deliveries within the limits of one page. Call it in a thread: a lead can be large."""
    allowance, known = PageBudget(), personal(payload)
    value = presentation.payload_value(payload, reveal=audience.reveal)
    facts = allowance.facts(value if isinstance(value, dict) else {"": value})
    views = [
        _delivery_view(
            presentation.delivery_details_schema(each, audience, config.destinations, known),
            each,
            event,
            payload,
            config,
            allowance,
        )
        for each in stories
    ]
    return LeadView(facts if isinstance(value, dict) else next(iter(facts.values())), views)


def _delivery_view(
    shown: schemas.DeliveryDetailsSchema,
    story: queries.DeliveryDetails,
    event: EventRow,
    payload: bytes,
    config: Config,
    allowance: PageBudget,
) -> DeliveryView:
    attempts = [
        each if allowance.takes(each.detail or "") else each.model_copy(update={"detail": FEWER})
        for each in shown.attempts
    ]
    shown = shown.model_copy(update={"attempts": attempts})
    url = shown.remote_url or ""
    made = dry_run_stored(story, event, payload, config, allowance, reveal=not shown.masked)
    return DeliveryView(shown, made, url if url.startswith(("https://", "http://")) else None)


def _back(form: FormFields) -> str:
    """Return the path of the lead's page with the form."""
    try:
        return f"/leads/{parse_fields(request_schemas.EventIdRequest, {'id': form.get('event', '')}).id}"
    except RequestRefusedError:
        return "/deliveries"
