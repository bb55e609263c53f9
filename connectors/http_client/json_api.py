"""Calls to a JSON API. Each returns a document, or the outcome of the call's records if there is none.

It covers what most CRMs have in common and leaves records and answers to the connector. Only the connector decides
whether a document accounts for a record.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from yarl import URL

from connectors.base import Blame, Delivered, Reason, Rejected, Retry
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.http_client.status_table import classify, message_in, shorten, words_in


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """An answer with JSON: a success, or a status whose document may describe each record."""

    status: int
    document: Any
    headers: Mapping[str, str]

    def get(self, *path: str | int) -> Any:
        """Return the value at a path of keys and indexes; None if the document has another shape."""
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
        """Return the id at a path: a non-empty text or a whole number, else None."""
        found = self.get(*path)
        if isinstance(found, bool) or not isinstance(found, str | int):
            return None
        return str(found).strip() or None


class JsonApi:
    """Client of one destination's JSON API. `call` may run in parallel.

    Args:
        session: Sends the requests.
        secrets: Masks secrets that the API repeats in its errors.
        now: Seconds since the epoch.
        headers: Sent with each request.
        per_record_statuses: Statuses besides success whose document is returned because it may describe each record.
    """

    def __init__(
        self,
        session: HttpSession,
        secrets: Secrets,
        now: Callable[[], float],
        *,
        headers: Mapping[str, str] | None = None,
        per_record_statuses: frozenset[int] = frozenset(),
    ) -> None:
        self._session = session
        self._secrets = secrets
        self._now = now
        self._headers = {"Accept": "application/json", **(headers or {})}
        self._per_record_statuses = per_record_statuses

    async def call(
        self, method: str, url: URL, document: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply | Retry | Rejected:
        """Send a request, with a document as JSON if there is one, and read the answer.

        Args:
            method: In capitals.
            url: Absolute.
            document: A JSON value; None for a request without a body.
            headers: Sent besides those of the API.

        Returns:
            The answer if its status is a success and its body is JSON; else the outcome of the call's records, with the
            API's own message if there is one.
        """
        sent = {**self._headers, **(headers or {})}
        body = None
        if document is not None:
            try:
                body = orjson.dumps(document)
            except TypeError:  # a whole number of more than 64 bits
                return Rejected(Reason.MAPPING, "the fields hold a value that JSON does not have", Blame.BATCH)
            sent["Content-Type"] = "application/json"
        result = await self._session.send(method, url, sent, body)
        return result.outcome if isinstance(result, Failure) else self.read(result)

    def read(self, answer: Answer) -> Reply | Retry | Rejected:
        """Read an answer; see `call`. Pure except for the time."""
        outcome = classify(answer.status, answer.headers, self._now(), self._words(answer))
        if not isinstance(outcome, Delivered) and answer.status not in self._per_record_statuses:
            return outcome
        try:
            return Reply(answer.status, answer.json(), answer.headers)
        except ValueError:
            return self.unclear(answer.status, "not with JSON") if isinstance(outcome, Delivered) else outcome

    def refused(self, reply: Reply) -> Retry | Rejected:
        """Return the outcome of an answer whose document does not describe the records, from its status alone."""
        words = self.masked(message_in(reply.document))
        outcome = classify(reply.status, reply.headers, self._now(), words)
        return self.unclear(reply.status, "says nothing of the records") if isinstance(outcome, Delivered) else outcome

    def unclear(self, status: int, why: str) -> Retry:
        """Return the outcome of a success that does not account for the record: it may or may not have been written.

        Args:
            status: Status of the answer.
            why: Rest of the sentence "it answered 200, but ...".
        """
        return Retry(Reason.BAD_ANSWER, f"it answered {status}, but {why}", Blame.UNCLEAR, None, status)

    def masked(self, words: str) -> str:
        """Return a message of the API for use in a detail: without secrets, and not too long."""
        return shorten(self._secrets.mask(words))

    def _words(self, answer: Answer) -> str:
        return self.masked(words_in(answer.body, answer.headers.get("Content-Type", "")))
