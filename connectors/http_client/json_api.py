"""Calls to an API that takes and gives JSON: what comes back is a document, or an outcome that says why there is none.

What most CRMs have in common, so that a connector is left with its own records and answers. It decides nothing of a
record that was written: whether a document accounts for it is the connector's to say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from yarl import URL

from connectors.base import Blame, Delivered, Reason, Rejected, Retry
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import Session
from connectors.http_client.status_table import classify, message_in, said, shorten


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """An answer with JSON in it, of success or of a status whose document says what became of the records."""

    status: int
    document: Any
    headers: Mapping[str, str]

    def get(self, *path: str | int) -> Any:  # noqa: ANN401 - any JSON value
        """Give what stands at a path of keys and indexes; None where the document is of another shape."""
        found = self.document
        for step in path:
            if isinstance(found, dict) and isinstance(step, str):
                found = found.get(step)
            elif isinstance(found, list) and isinstance(step, int) and step < len(found):
                found = found[step]
            else:
                return None
        return found

    def id_at(self, *path: str | int) -> str | None:
        """Give the id at a path: a text or a whole number that is not empty, else None."""
        found = self.get(*path)
        if isinstance(found, bool) or not isinstance(found, str | int):
            return None
        return str(found).strip() or None


class JsonApi:
    """Calls one destination's API. `call` may be used in parallel.

    Args:
        session: Sends the requests.
        secrets: Masks what the API repeats of them in its errors.
        now: Seconds since the epoch.
        headers: Sent with each request.
        telling: Statuses, besides those of success, whose document is given because it may speak of each record.
    """

    def __init__(
        self,
        session: Session,
        secrets: Secrets,
        now: Callable[[], float],
        *,
        headers: Mapping[str, str] | None = None,
        telling: frozenset[int] = frozenset(),
    ) -> None:
        self._session = session
        self._secrets = secrets
        self._now = now
        self._headers = {"Accept": "application/json", **(headers or {})}
        self._telling = telling

    async def call(
        self, method: str, url: URL, document: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply | Retry | Rejected:
        """Send a request, with a document as JSON if there is one, and read the answer.

        Args:
            method: In capitals.
            url: Absolute.
            document: What JSON can hold; None for a request without a body.
            headers: Sent besides those of the API.

        Returns:
            The answer where its status is one of success and its body is JSON; else what to say of the records of the
            call, in the API's own words as far as it has some.
        """
        sent = {**self._headers, **(headers or {})}
        body = None
        if document is not None:
            try:
                body = orjson.dumps(document)
            except TypeError:  # a whole number of more than 64 bits, half an emoji
                return Rejected(Reason.MAPPING, "the fields hold a value that JSON does not have", Blame.BATCH)
            sent["Content-Type"] = "application/json"
        result = await self._session.send(method, url, sent, body)
        return result.outcome if isinstance(result, Failure) else self.read(result)

    def read(self, answer: Answer) -> Reply | Retry | Rejected:
        """Read an answer; see `call`. Pure but for the time."""
        meant = classify(answer.status, answer.headers, self._now(), self._words(answer))
        if not isinstance(meant, Delivered) and answer.status not in self._telling:
            return meant
        try:
            return Reply(answer.status, answer.json(), answer.headers)
        except ValueError:
            return self.unclear(answer.status, "not with JSON") if isinstance(meant, Delivered) else meant

    def refused(self, reply: Reply) -> Retry | Rejected:
        """Say what an answer means whose document does not speak of the records, by its status alone."""
        words = self.masked(message_in(reply.document))
        meant = classify(reply.status, reply.headers, self._now(), words)
        return self.unclear(reply.status, "says nothing of the records") if isinstance(meant, Delivered) else meant

    def unclear(self, status: int, why: str) -> Retry:
        """Say that an answer of success does not account for the record: it may or may not have been written.

        Args:
            status: The answer's.
            why: The rest of the sentence "it answered 200, but ...".
        """
        return Retry(Reason.BAD_ANSWER, f"it answered {status}, but {why}", Blame.UNCLEAR, None, status)

    def masked(self, words: str) -> str:
        """Give words of the API as a detail can hold them: no secret, not too long."""
        return shorten(self._secrets.mask(words))

    def _words(self, answer: Answer) -> str:
        return self.masked(said(answer.body, answer.headers.get("Content-Type", "")))
