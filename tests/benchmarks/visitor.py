"""Somebody who has logged in on the admin listener."""

import contextlib
import http.client
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import orjson

ANSWER_SECONDS: Final = 60.0
FILE_SECONDS: Final = 0.1
"""Until a file is asked for again where there are too many at once."""


class WrongAnswerError(Exception):
    """An answer that is none to what was asked."""


class Visitor:
    """Asks on one connection that is kept. Used by one thread."""

    def __init__(self, port: int, token: str) -> None:
        """Log in. Raises WrongAnswerError."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        self._cookie = ""
        self.ask("/login", {"token": token}, HTTPStatus.SEE_OTHER)
        if 'action="/logout"' not in self.read("/"):
            raise WrongAnswerError("nobody was logged in")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def read(self, path: str) -> str:
        """Give a page."""
        return self.ask(path)[1].decode()

    def know(self, path: str) -> Any:
        """Give what the API says."""
        return orjson.loads(self.ask(path)[1])

    def ask(
        self, path: str, form: Mapping[str, Any] | None = None, expected: int = HTTPStatus.OK
    ) -> tuple[float, bytes]:
        """Ask, or post a form or (to the API) JSON; give the seconds until all was read, and what.

        Of a file only the first bytes are read. Raises WrongAnswerError where the status is another one than expected.
        """
        method, body, headers = "GET", None, {"Cookie": self._cookie}
        if form is not None and path.startswith("/api/"):
            method, body = "POST", orjson.dumps(form)
            headers |= {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
        elif form is not None:
            method, body = "POST", urlencode(form).encode()
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        began = time.perf_counter()
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        is_file = path.partition("?")[0].endswith(".csv")
        content = answer.read1() if is_file else answer.read()
        took = time.perf_counter() - began
        if is_file:
            # The next request opens another connection.
            self._connection.close()
            if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                # The program has not seen yet that the files before were given up.
                time.sleep(FILE_SECONDS)
                return self.ask(path, form, expected)
        if answer.status == HTTPStatus.SEE_OTHER and expected == HTTPStatus.OK:
            # A search leads to its result, as a browser follows it.
            again, content = self.ask(answer.headers["Location"])
            return took + again, content
        if answer.status != expected:
            raise WrongAnswerError(f"{method} {path} was answered {answer.status}: {content[-300:]!r}")
        if cookie := answer.headers["Set-Cookie"]:
            self._cookie = cookie.partition(";")[0]
        return took, content


@contextlib.contextmanager
def visitor(port: int, token: str) -> Iterator[Visitor]:
    """Be one for a while."""
    with contextlib.closing(Visitor(port, token)) as made:
        yield made
