"""Pages about chatbots: the list, worst first, and one chatbot."""

from collections.abc import Callable, Sequence
from functools import partial

from aiohttp import web
from sqlalchemy import Connection

from bridge.admin.api import ReadEndpoints, audience
from bridge.admin.authentication import Caller
from bridge.admin.configuration import chatbot_schema
from bridge.admin.dashboard.page import DashboardPage, Screen
from bridge.config.model import Chatbot
from bridge.errors import NotFoundError, did_you_mean
from bridge.operations.chatbots import SILENCE_RULE, ChatbotSummary, list_chatbots
from bridge.operations.lanes import destinations_of
from bridge.operations.leads import list_leads
from bridge.operations.problems import find_problems
from bridge.store.figures import NEWEST
from bridge.store.filter import EventFilter, Scope

NEWEST_LEADS = 10
"""Leads that a chatbot's page shows."""


class ChatbotPages:
    """The pages."""

    def __init__(self, api: ReadEndpoints, screen: Screen, clock: Callable[[], float]) -> None:
        self._api = api
        self._screen = screen
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the pages."""
        router.add_get("/chatbots", self._screen.show(self._list, scoped=True))
        router.add_get("/chatbots/{name}", self._screen.show(self._chatbot, scoped=True))

    async def _list(self, caller: Caller, _: web.Request) -> DashboardPage:
        now, names = self._clock(), list(filter(caller.sees, self._api.config().chatbots))
        return self._screen.page(
            "chatbots.html",
            caller,
            {"chatbots": partial(list_chatbots, names=names, now=now, scope=caller.scope)},
            rule=SILENCE_RULE,
            limit=NEWEST,
            now=now,
        )

    async def _chatbot(self, caller: Caller, request: web.Request) -> DashboardPage:
        chatbot = self._named(caller, request.match_info["name"])
        now, config = self._clock(), self._api.config()

        def summary(connection: Connection) -> ChatbotSummary:
            return list_chatbots(connection, [chatbot.name], now, Scope(frozenset({chatbot.name})))[0]

        newest: Sequence[EventFilter] = [EventFilter(chatbot.name, limit=NEWEST_LEADS)]
        return self._screen.page(
            "chatbot.html",
            caller,
            {
                "found": summary,
                "page": partial(list_leads, criteria=newest, audience=audience(caller)),
                "problems": partial(find_problems, config=config, now=now, scope=Scope(frozenset({chatbot.name}))),
            },
            chatbot=chatbot_schema(chatbot),
            targets=[each.destination for each in chatbot.routes],
            destinations=destinations_of(config, caller.scope),
            rule=SILENCE_RULE,
            now=now,
        )

    def _named(self, caller: Caller, name: str) -> Chatbot:
        chatbots = {key: each for key, each in self._api.config().chatbots.items() if caller.sees(key)}
        if name not in chatbots:
            raise NotFoundError(f"There is no chatbot {name!r}{did_you_mean(name, chatbots)}.")
        return chatbots[name]
