"""Calls to HighLevel's API 2.0, and the quotas that its answers report."""

from yarl import URL

from connectors.base import Context, Quota, Rejected, Retry, SettingError
from connectors.gohighlevel import answers, requests
from connectors.gohighlevel.settings import GoHighLevelSettings
from connectors.http_client.address_guard import check_url
from connectors.http_client.answer import Answer
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession

_NAMING = frozenset({400, 422})  # their documents name the refused fields


class GoHighLevelClient(JsonApi):
    """Client of one location. `call` may run in parallel.

    Raises:
        SettingError: the address cannot be used.
    """

    def __init__(self, settings: GoHighLevelSettings, context: Context) -> None:
        try:
            self.base = URL(settings.base_url)
            check_url(self.base, allow_private=settings.allow_private)
        except ValueError as error:
            raise SettingError(("base_url",), str(error)) from None
        token = settings.access_token.get_secret_value()
        headers = {"Authorization": f"Bearer {token}", "Version": requests.VERSION}
        self._connections = HttpSession(settings, context)
        self._time = context.now
        self.quotas: tuple[Quota, ...] = ()
        """The day's and the burst's allowances, as the last successful answer reported them."""
        super().__init__(
            self._connections,
            Secrets(token),
            context.now,
            headers=headers,
            per_record_statuses=_NAMING,
        )

    def read(self, answer: Answer) -> Reply | Retry | Rejected:
        """Read an answer and the quotas in it."""
        reply = super().read(answer)
        if isinstance(reply, Reply) and reply.status in answers.SUCCESSES:
            self.quotas = tuple(answers.quotas(answer.headers, self._time()))
        return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()
