"""Pages about destinations: the list, those in trouble first, and one with its queue, pause and last deliveries."""

from collections.abc import Callable, Sequence
from functools import partial

from aiohttp import web
from sqlalchemy import Connection

from bridge.admin import request_schemas, schemas
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints, audience
from bridge.admin.authentication import Caller
from bridge.admin.configuration import destination_schema
from bridge.admin.dashboard.page import DashboardPage, FormFields, Screen, parse_fields
from bridge.admin.query_threads import Query
from bridge.errors import NotFoundError, did_you_mean
from bridge.operations.audit import Action, Subject
from bridge.operations.chatbots import WEEK
from bridge.operations.lanes import chatbots_of, destinations_of
from bridge.operations.leads import LeadPage, list_leads
from bridge.operations.tally import destination_totals
from bridge.store.figures import attempt_statistics
from bridge.store.filter import DeliveryFilter
from bridge.store.lane_queries import LaneStatus, past_pauses

NEWEST_LEADS = 20
"""Leads that a destination's page shows."""
PAUSES = 10
"""Past pauses that a destination's page shows."""
_TROUBLE = (LaneStatus.REMOVED, LaneStatus.PAUSED, LaneStatus.UNOWNED, LaneStatus.RUNNING)


class DestinationPages:
    """The pages and their forms."""

    def __init__(
        self, api: ReadEndpoints, actions: ActionEndpoints, screen: Screen, clock: Callable[[], float]
    ) -> None:
        self._api = api
        self._actions = actions
        self._screen = screen
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the pages."""
        show, act = self._screen.show, self._screen.act
        router.add_get("/destinations", show(self._list, scoped=True))
        router.add_post("/destinations", act(self._reveal_all))
        router.add_get("/destinations/{name}", show(self._destination, scoped=True))
        router.add_post("/destinations/{name}", act(self._reveal))
        router.add_post("/destinations/{name}/pause", act(self._pause))
        router.add_post("/destinations/{name}/resume", act(self._resume))

    async def _list(self, caller: Caller, _: web.Request) -> DashboardPage:
        return self._all(caller, reveal=False)

    async def _reveal_all(self, caller: Caller, _: web.Request, __: FormFields) -> DashboardPage:
        await self._api.audit.note(caller, Action.REVEAL, where="lanes")
        return self._all(caller, reveal=True)

    def _all(self, caller: Caller, *, reveal: bool) -> DashboardPage:
        now = self._clock()
        asked: dict[str, Query[object]] = {
            "lanes": self._lanes(caller, reveal=reveal),
            "totals": partial(destination_totals, now=now, days=WEEK, scope=caller.scope),
        }
        return self._screen.page("destinations.html", caller, asked, now=now, masked=not reveal)

    async def _destination(self, caller: Caller, request: web.Request) -> DashboardPage:
        return self._one(caller, request.match_info["name"], reveal=False)

    async def _reveal(self, caller: Caller, request: web.Request, _: FormFields) -> DashboardPage:
        name = request.match_info["name"]
        await self._api.audit.note(caller, Action.REVEAL, Subject.LANE, name)
        return self._one(caller, name, reveal=True)

    def _one(self, caller: Caller, name: str, *, reveal: bool) -> DashboardPage:
        now, config, lanes = self._clock(), self._api.config(), self._lanes(caller, reveal=reveal)

        def lane(connection: Connection) -> schemas.LaneSchema:
            found = lanes(connection)
            named = next((each for each in found if each.name == name), None)
            if named is None:
                raise NotFoundError(f"There is no destination {name!r}{did_you_mean(name, [x.name for x in found])}.")
            return named

        criteria = DeliveryFilter(destination=name, limit=NEWEST_LEADS, scope=caller.scope)
        newest: Query[LeadPage] = partial(list_leads, criteria=criteria, audience=audience(caller))
        configured = config.destinations.get(name)
        return self._screen.page(
            "destination.html",
            caller,
            {
                "lane": lane,
                "page": newest,
                "calls": partial(attempt_statistics, destination=name, scope=caller.scope),
                "totals": partial(destination_totals, now=now, days=WEEK, scope=caller.scope),
                "pauses": partial(past_pauses, name=name, limit=PAUSES),
            },
            name=name,
            settings=destination_schema(configured) if configured else None,
            chatbots=chatbots_of(config, name, caller.scope),
            destinations=destinations_of(config, caller.scope),
            now=now,
            masked=not reveal,
        )

    def _lanes(self, caller: Caller, *, reveal: bool) -> Query[Sequence[schemas.LaneSchema]]:
        """Return the query of all lanes, those in trouble first."""
        query = self._api.lanes_shown(audience(caller, reveal=reveal))

        def ordered(connection: Connection) -> Sequence[schemas.LaneSchema]:
            return sorted(query(connection).lanes, key=_rank)

        return ordered

    async def _pause(self, caller: Caller, request: web.Request, form: FormFields) -> web.Response:
        wanted = parse_fields(request_schemas.PauseRequest, form, name=request.match_info["name"])
        done = await self._actions.pause(caller, wanted)
        return self._screen.say(caller, done.message, f"/destinations/{request.match_info['name']}")

    async def _resume(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        done = await self._actions.resume(caller, parse_fields(request_schemas.LaneRequest, request.match_info))
        return self._screen.say(caller, done.message, f"/destinations/{request.match_info['name']}")


def _rank(lane: schemas.LaneSchema) -> tuple[bool, int, int, int, str]:
    """Order of a list: what delivers nothing, then by dead letters, then by what waits."""
    state = LaneStatus(lane.state)
    return state is LaneStatus.RUNNING, _TROUBLE.index(state), -lane.dead, -lane.pending, lane.name
