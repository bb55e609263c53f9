import io
from collections.abc import Iterator

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from bridge import log


@pytest.fixture
def lines() -> Iterator[io.BytesIO]:
    written = io.BytesIO()
    log.configure(written)
    yield written
    structlog.reset_defaults()


def fail(secret: str) -> None:
    raise ValueError(f"cannot use {secret}")


def test_a_line_is_json_with_its_level_and_time(lines: io.BytesIO) -> None:
    structlog.get_logger().info("received", chatbot="acme", deliveries=2)
    written = orjson.loads(lines.getvalue())
    assert (written["event"], written["level"], written["chatbot"]) == ("received", "info", "acme")
    assert written["timestamp"].endswith("Z")


@pytest.mark.parametrize("by", ["exception", "exc_info"])
def test_an_exception_is_written_without_its_message_and_without_variables(lines: io.BytesIO, by: str) -> None:
    try:
        fail("a-secret")
    except ValueError as error:
        if by == "exception":
            structlog.get_logger().exception("connector_failed")
        else:
            structlog.get_logger().error("connector_failed", exc_info=error)
    written = orjson.loads(lines.getvalue())
    assert written["exception"] == "ValueError"
    assert "test_log.py" in written["at"][-1]
    assert b"a-secret" not in lines.getvalue()


def test_the_short_way_of_a_line_writes_what_the_usual_way_writes(lines: io.BytesIO) -> None:
    entry = {"chatbot": 'ac"me', "name": "Zoë", "bytes": 5}
    log.info_logger()("received", **entry)
    structlog.get_logger().info("received", **entry)
    short, usual = (orjson.loads(line) for line in lines.getvalue().splitlines())
    assert short.pop("timestamp")[:10] == usual.pop("timestamp")[:10]
    assert short == usual == {**entry, "event": "received", "level": "info"}


@pytest.mark.usefixtures("lines")
def test_the_short_way_leaves_its_entries_to_a_test() -> None:
    info = log.info_logger()
    with capture_logs() as logged:
        info("received", bytes=5)
    assert logged == [{"event": "received", "bytes": 5, "log_level": "info"}]
