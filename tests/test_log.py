import io
from collections.abc import Iterator

import orjson
import pytest
import structlog

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
