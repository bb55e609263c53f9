"""The API against its own description: what it documents is what it answers, whatever it is asked."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import ignored_auth

from bridge import app
from bridge.config.reload import load_files
from tests.admin.conftest import CONFIG, OPERATOR, VIEWER
from tests.building import KEY, SERIAL

load_all_checks()

AUTHORIZED = {"Authorization": f"Bearer {OPERATOR}"}
HEALTH = list(HealthCheck)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A bridge in a thread, since the client that asks it blocks."""
    folder = tmp_path_factory.mktemp("openapi")
    file = folder / "config.yaml"
    file.write_text(CONFIG.format(folder=folder, url="http://127.0.0.1:9/leads", serial=SERIAL))
    environ = {"ADMIN": OPERATOR, "VIEWER": VIEWER, "CRM_TOKEN": "a-secret-of-the-crm", "KEY": KEY.decode()}
    up, stop, bridges, loops = threading.Event(), asyncio.Event(), [], []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with app.running(*load_files(file, environ)) as bridge:
            bridges.append(bridge)
            up.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert up.wait(20)
    yield schemathesis.openapi.from_url(f"http://{bridges[0].admin}/api/openapi.json", headers=AUTHORIZED)
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(20)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("examples", [3, pytest.param(15, marks=pytest.mark.thorough)])
def test_the_api_does_what_its_document_says(described: Any, mode: GenerationMode, examples: int) -> None:
    answers: Counter[int] = Counter()
    for found in described.get_all_operations():
        strategy = found.ok().as_strategy(generation_mode=mode)

        @settings(max_examples=examples, derandomize=True, database=None, suppress_health_check=HEALTH)
        @given(case=strategy)
        def ask(case: Any) -> None:
            # An empty list or object in the query is not sent at all: then nothing is wrong with the request.
            assume(all(value not in ({}, []) for value in (case.query or {}).values()))
            # Without the check that guesses tokens: that is bounded, and tested by itself.
            answer = case.call_and_validate(headers=AUTHORIZED, excluded_checks=[ignored_auth], timeout=10)
            answers[answer.status_code] += 1

        try:
            ask()
        except Unsatisfiable:
            # There is nothing that it could be asked wrongly.
            assert mode is GenerationMode.NEGATIVE
    # Else it would have been the door that was tested, not what is behind it. Wrong requests may lack the token.
    assert not answers.keys() & ({401, 429} if mode is GenerationMode.POSITIVE else {429})
    assert answers[200 if mode is GenerationMode.POSITIVE else 400] > min(5 * examples, 50)
